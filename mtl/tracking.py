"""What a run leaves in MLflow.

The run's folder comes first: every number, parameter and report is on disk before it is sent. A thread of its own
sends them in order, so a step never waits for a database or a network; while MLflow is away they wait, and training
goes on. The loss is told once, on stderr and in `run.json`.

No text of a row, no host name and no user name is ever sent.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import math
import os
import platform
import posixpath
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mtl.faults import InputError
from mtl.runs import RunFolder, is_rank_zero

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

EXPERIMENT = "biomtl"
SEND_EVERY = 5.0
"""Seconds between two sends."""

FINAL_WAIT = 30.0
"""Seconds that the end of a run waits for MLflow."""

PARAM_LENGTH = 6000  # MLflow 3 cuts longer values in silence (mlflow.utils.validation.MAX_PARAM_VAL_LENGTH)
BATCH = 500  # metrics per request; MLflow takes 1000, and 1 MB
STATUS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
PACKAGES = ("biomtl", "torch", "pytorch-lightning", "transformers", "torchmetrics", "datasets", "numpy", "mlflow")

Operation = Callable[["MlflowClient", str], None]
Number = tuple[str, float, int, int]
"""A metric's name, value, time in ms and step."""


class MLflowTracker(Logger):
    """A Lightning logger that writes a run to its folder and to MLflow.

    It opens with the first thing logged, and again with anything logged after `finalize` (Lightning finalizes after
    fit and after test); a run that is open when the process ends is FAILED. Only rank 0 does anything.

    Args:
        folder: The run's folder.
        experiment: MLflow's experiment; the default gives way to ``MLFLOW_EXPERIMENT_NAME``.
        run_name: The run's name in MLflow, such as the mixture's name and the seed.
        run_id: An MLflow run to go on with. Where the store does not know it, a new run names it in a tag.
        tracking_uri: Where MLflow is; None takes what MLflow was told (``MLFLOW_TRACKING_URI``,
            ``mlflow.set_tracking_uri``), else ``mlflow.db`` in the working folder, which a bare ``mlflow ui`` shows.
        tags: Tags of the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        experiment: str = EXPERIMENT,
        run_name: str,
        run_id: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] = {},
    ) -> None:
        super().__init__()
        self.folder = folder
        self.experiment_name = _experiment_name(experiment)
        self._run_name, self._run_id, self._experiment_id = run_name, run_id, ""
        self._given_uri = tracking_uri
        self._tags = {"mlflow.source.name": "mtl", "folder": f"{folder.path.parent.name}/{folder.path.name}", **tags}
        self._started = _now()
        self._step = 0
        self._num_resumed = 0
        self._known_params: dict[str, str] = {}
        self._params: dict[str, str] = {}
        self._told: set[str] = set()
        self._noting = threading.Lock()
        self._open = self._closed_once = False
        self._outbox = _Outbox(self._connect, self._lost, self._back, self._refused, self._system_metrics)
        self._system: _SystemMetrics | None = None

    # --- Lightning's logger ---------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.experiment_name

    @property
    def version(self) -> str:
        return self.folder.path.name

    @property
    def save_dir(self) -> str:
        return str(self.folder.path)

    @property
    def log_dir(self) -> str:
        return str(self.folder.path)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes numbers to `metrics.jsonl` and queues them for MLflow."""
        if not self._is_active():
            return
        self._begin()
        self._step = self._step if step is None else step
        self._write_metrics(metrics, self._step)
        if any(not name.startswith("train/") for name in metrics):
            self._outbox.wake()  # an evaluation has ended: show it now

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Records parameters, flattened with dots.

        A value that is too long for MLflow is stored whole as the artefact ``params/<name>.txt``. What a resumed run
        already has is skipped; what it has with another value goes to the tag ``resumed.<n>.<name>``.
        """
        if not self._is_active():
            return
        flat = dict(_flatten(vars(params) if isinstance(params, Namespace) else params))
        self._params |= flat
        self.folder.write_json("params.json", self._params)
        short = {name: self._shortened(name, value) for name, value in flat.items()}
        self._put(lambda client, run_id: self._send_params(client, run_id, short))

    def finalize(self, status: str) -> None:
        """Sends what is left and ends the run.

        Args:
            status: success, failed or killed. Lightning says failed for an interrupt, too; that is killed.
        """
        if not self._is_active():
            return
        ended, when = STATUS["killed" if status == "failed" and _was_interrupted() else status], _now()
        if (self.folder.path / "metrics.json").is_file():
            self.log_artifact(self.folder.path / "metrics.json")
        self._begin()
        self._outbox.put(lambda client, run_id: client.set_terminated(run_id, ended, when))
        self.folder.update_info(status=ended, ended=_iso(when))
        atexit.unregister(self._at_exit)
        self._open, self._closed_once = False, True
        if not self._outbox.close(FINAL_WAIT):
            self._tell_unsent()

    # --- what else a run leaves -----------------------------------------------------------------------------------

    @property
    def run_id(self) -> str | None:
        """MLflow's name of the run; waits for the first connection, None where there is none."""
        if not self._is_active():
            return self._run_id or self.folder.info.get("mlflow", {}).get("run_id")
        if not self._closed_once:  # asking opens a run that has not begun, but not one that has ended
            self._begin()
            self._outbox.wait_connected(FINAL_WAIT)
        return self._run_id

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is. It may hold a password; `ui_hint` and files never do."""
        if self._given_uri is None:
            self._given_uri = _default_uri()
        return self._given_uri

    def flush(self) -> None:
        """Asks for a send now, without waiting for it."""
        self._outbox.wake()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        pairs = {_name(key): str(value) for key, value in tags.items()}
        self._put(lambda client, run_id: _send_tags(client, run_id, pairs))

    def log_text(self, text: str, path: str) -> None:
        """Stores a text under a path of the run's artefacts."""
        if self._is_active():
            self.folder.write_text(f"artifacts/{path}", text)
            self._send_artifact(path)

    def log_dict(self, content: Mapping[str, Any], path: str) -> None:
        """Stores a mapping as JSON."""
        if self._is_active():
            self.folder.write_json(f"artifacts/{path}", content)
            self._send_artifact(path)

    def log_table(self, columns: Mapping[str, Sequence[Any]], path: str) -> None:
        """Stores columns of one length as a table that MLflow's page shows; `path` ends with .json."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.log_dict({"columns": list(columns), "data": rows}, path)
        self._put(lambda client, run_id: _mark_as_table(client, run_id, path))

    def log_figure(self, figure: Figure, path: str) -> None:
        """Stores a picture; the ending of `path` says in which format."""
        if self._is_active():
            target = self.folder.artifacts / path
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=150, bbox_inches="tight")
            self._send_artifact(path)

    def log_artifact(self, path: Path, artifact_folder: str | None = None) -> None:
        """Stores a file that is already on disk."""
        self._put(lambda client, run_id: client.log_artifact(run_id, str(path), artifact_folder))

    def log_dataset(self, name: str, split: str, fingerprint: str, rows: int, source: str) -> None:
        """Names a data set that the run reads.

        Args:
            name: Of the task.
            split: train, dev or test.
            fingerprint: Of its rows. MLflow keeps the first 36 characters as the digest, and all in the profile.
            rows: How many there are.
            source: The file or folder, without rows.
        """
        record = {"name": name, "split": split, "fingerprint": fingerprint, "rows": rows, "source": source}
        if self._is_active():
            self.folder.append_line("datasets.jsonl", record)
        self._put(lambda client, run_id: _send_dataset(client, run_id, record))

    def log_versions(self, device: str = "") -> dict[str, str]:
        """Records versions, git commit, device and threads as parameters, and gives them back.

        Args:
            device: What the trainer computes on; empty takes the GPU's name where there is one, else cpu.
        """
        found = versions(device)
        self.log_hyperparams(found)
        if "git.commit" in found:
            self.set_tags({"mlflow.source.git.commit": found["git.commit"]})
        return found

    def ui_hint(self) -> str:
        """The line that opens MLflow, or its address."""
        uri = self.tracking_uri
        if urlsplit(uri).scheme in ("http", "https"):
            place = f"/#/experiments/{self._experiment_id}/runs/{self._run_id}" if self._experiment_id else ""
            return _without_password(uri).rstrip("/") + place
        return "mlflow ui" if _is_shown_by_bare_ui(uri) else f'mlflow ui --backend-store-uri "{_without_password(uri)}"'

    # --- details --------------------------------------------------------------------------------------------------

    def _is_active(self) -> bool:
        return is_rank_zero() and getattr(rank_zero_only, "rank", 0) == 0

    def _put(self, operation: Operation) -> None:
        if self._is_active():
            self._begin()
            self._outbox.put(operation)

    def _begin(self) -> None:
        if self._open:
            return
        self._open = True
        _prepare_mlflow()
        atexit.register(self._at_exit)
        self.folder.update_info(status="RUNNING")
        self._note(tracking_uri=self._place(), experiment=self.experiment_name)
        self._outbox.open()
        if self._closed_once:
            self._outbox.put(lambda client, run_id: client.update_run(run_id, status="RUNNING"))

    def _at_exit(self) -> None:
        if self._open:
            self.finalize("failed")

    def _connect(self) -> tuple[MlflowClient, str]:
        """Finds or makes experiment and run. Two processes that make one SQLite store at once break its migration."""
        from mlflow import MlflowClient

        with _creation_lock(self.tracking_uri):
            client = MlflowClient(self.tracking_uri)
            run = self._resume(client) or client.create_run(
                _find_experiment(client, self.experiment_name, self.tracking_uri),
                start_time=self._started,
                run_name=self._run_name,
                tags=self._tags,
            )
        self._run_id, self._experiment_id = run.info.run_id, run.info.experiment_id
        self._known_params = dict(run.data.params)
        self._system = _SystemMetrics(self.tracking_uri, run.info.run_id, run.info.start_time)
        self._note(run_id=run.info.run_id, state="ok")
        return client, run.info.run_id

    def _resume(self, client: MlflowClient) -> Any:
        if self._run_id is None:
            return None
        try:
            run = client.get_run(self._run_id)
            self._num_resumed = int(run.data.tags.get("resumed", "0")) + 1
            client.update_run(self._run_id, status="RUNNING")
            client.set_tag(self._run_id, "resumed", str(self._num_resumed))
        except Exception as error:
            if not _is_refusal(error):
                raise
            self._tags |= {"resumed.from": self._run_id}
            self._tell(f"MLflow at {self._place()} does not know run {self._run_id}; a new run goes on from it.")
            return None
        return run

    def _write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        when = _now()
        values = {name: float(value) for name, value in metrics.items()}
        self.folder.append_line("metrics.jsonl", {"step": step, "time": when / 1000, "metrics": values})
        self._outbox.add((_name(name), value, when, step) for name, value in values.items())

    def _system_metrics(self, *, starting: bool, closing: bool) -> None:
        if self._system is not None and (sample := self._system.sample(starting=starting, closing=closing)):
            self._write_metrics(*sample)

    def _shortened(self, name: str, value: str) -> str:
        if len(value) <= PARAM_LENGTH:
            return value
        path = f"params/{_name(name)}.txt"
        self.log_text(value, path)
        return f"see artifact {path} ({len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()})"

    def _send_params(self, client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        named = {_name(key): value for key, value in params.items()}
        new = [(key, value) for key, value in named.items() if key not in self._known_params]
        for chunk in _chunks(new, 100):
            client.log_batch(run_id, params=[Param(key, value) for key, value in chunk], synchronous=True)
            self._known_params.update(chunk)
        prefix = f"resumed.{self._num_resumed}" if self._num_resumed else "changed"
        changed = {_name(f"{prefix}.{k}"): v for k, v in named.items() if self._known_params[k] != v}
        _send_tags(client, run_id, changed)

    def _send_artifact(self, path: str) -> None:
        self.log_artifact(self.folder.artifacts / path, posixpath.dirname(path) or None)

    def _place(self) -> str:
        return _without_password(self.tracking_uri)

    def _lost(self, error: Exception) -> None:
        reason = _reason(error)
        self._note(state="lost", error=reason)
        if "lost" not in self._told:
            self._told.add("lost")
            self._tell(
                f"MLflow at {self._place()} can't be reached ({reason}). Training goes on; "
                f"everything is kept in {self.folder.path} and sent when MLflow is back."
            )

    def _back(self) -> None:
        self._note(state="ok")
        self._tell(f"MLflow at {self._place()} is back; it has everything so far.")

    def _refused(self, error: Exception) -> None:
        self._note(refused=_reason(error))
        if "refused" not in self._told:
            self._told.add("refused")
            self._tell(f"MLflow refused something ({_reason(error)}); it is in {self.folder.path} only.")

    def _tell_unsent(self) -> None:
        self._note(state="incomplete")
        self._tell(
            f"MLflow at {self._place()} does not have all of this run: it could not be reached at the end. "
            f"The whole run is in {self.folder.path} (metrics.json, metrics.jsonl, params.json, artifacts)."
        )

    def _tell(self, message: str) -> None:
        sys.stderr.write(f"mtl: tracking: {message}\n")

    def _note(self, **values: str) -> None:
        """Writes where MLflow has the run, and whether it has all of it, to `run.json`."""
        with self._noting, suppress(InputError):  # a full disk stops the training elsewhere, not the sending thread
            self.folder.update_info(mlflow={**self.folder.info.get("mlflow", {}), **values})


class _Outbox:
    """Operations on their way to MLflow: sent in order by a thread, and kept until they arrive.

    An operation that MLflow refuses is dropped and told; any other failure means MLflow is away.
    """

    def __init__(
        self,
        connect: Callable[[], tuple[MlflowClient, str]],
        lost: Callable[[Exception], None],
        back: Callable[[], None],
        refused: Callable[[Exception], None],
        sample: Callable[..., None],
    ) -> None:
        self._connect, self._lost, self._back, self._refused, self._sample = connect, lost, back, refused, sample
        self._operations: deque[Operation] = deque()
        self._numbers: list[Number] = []
        self._lock = threading.RLock()
        self._wake, self._tried = threading.Event(), threading.Event()
        self._link: tuple[MlflowClient, str] | None = None
        self._thread: threading.Thread | None = None
        self._is_lost = self._closing = False

    def open(self) -> None:
        """Starts the thread, or keeps one from ending that is about to."""
        with self._lock:
            self._closing = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mtl-tracking", daemon=True)
                self._thread.start()

    def put(self, operation: Operation) -> None:
        with self._lock:
            self._seal()
            self._operations.append(operation)

    def add(self, numbers: Iterator[Number]) -> None:
        with self._lock:
            self._numbers.extend(numbers)

    def wake(self) -> None:
        self._wake.set()

    def wait_connected(self, timeout: float) -> None:
        """Waits for the first attempt to reach MLflow, whatever came of it."""
        self._tried.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Sends what is left and ends the thread; False where something is left after all."""
        with self._lock:
            self._closing, thread = True, self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
        return not self._operations and not self._numbers

    def _run(self) -> None:
        self._sample(starting=True, closing=False)
        while True:
            if self._link is not None or self._is_lost:  # the first connection is not waited for
                self._wake.wait(SEND_EVERY)
            self._wake.clear()
            closing = self._closing
            self._sample(starting=False, closing=closing)
            if not self._send() and closing:  # such as a database that another process holds for a moment
                time.sleep(1.0)
                self._send()
            with self._lock:
                if closing and self._closing:
                    self._thread = None
                    return

    def _send(self) -> bool:
        """Sends all there is; False where MLflow is away."""
        try:
            if self._link is None:
                self._link = self._connect()
                self._sample(starting=True, closing=False)
            while operation := self._next():
                self._perform(operation)
                self._operations.popleft()
            self._found()
        except Exception as error:
            self._is_lost = True
            self._lost(error)
        finally:
            self._tried.set()
        return not self._is_lost

    def _perform(self, operation: Operation) -> None:
        assert self._link is not None
        try:
            operation(*self._link)
        except Exception as error:
            if not _is_refusal(error):
                raise
            self._refused(error)

    def _found(self) -> None:
        if self._is_lost:
            self._is_lost = False
            self._back()

    def _next(self) -> Operation | None:
        with self._lock:
            self._seal()
            return self._operations[0] if self._operations else None

    def _seal(self) -> None:
        """Turns the numbers so far into operations, so that they keep their place in the order."""
        for chunk in _chunks(self._numbers, BATCH):
            self._operations.append(_metrics_operation(chunk))
        self._numbers = []


class _SystemMetrics:
    """Load of processors, memory, disk, network and GPU, as MLflow's own monitors read them.

    MLflow's thread for this asks the server at every sample and ends at its first silence, so it is not started.
    """

    def __init__(self, uri: str, run_id: str, started: int) -> None:
        from mlflow.system_metrics import system_metrics_monitor

        untyped: Any = system_metrics_monitor
        self._monitor = untyped.SystemMetricsMonitor(run_id, tracking_uri=uri)
        self._is_on = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() not in ("false", "0")
        self._started, self._last = started, -math.inf

    def sample(self, *, starting: bool, closing: bool) -> tuple[dict[str, float], int] | None:
        """The load by name, and the seconds since the run began as its step; None where none is due yet."""
        now = time.monotonic()
        if not self._is_on or not (starting or closing or now - self._last >= self._monitor.sampling_interval):
            return None
        self._last = now
        self._monitor.collect_metrics()
        metrics = {f"system/{name}": value for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        # The first reading of the processors covers no time, and only sets their clocks.
        return None if starting else (metrics, (_now() - self._started) // 1000)


def versions(device: str = "") -> dict[str, str]:
    """Packages, git commits, device and threads: what besides seed and data decides the last digits of a result."""
    import torch

    if not device:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {"version.python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[f"version.{package}"] = metadata.version(package)
    found |= {
        "machine.system": f"{platform.system()} {platform.machine()}",
        "machine.cpus": str(os.cpu_count()),
        "machine.device": device,
        "machine.threads": str(torch.get_num_threads()),
    }
    found |= {f"git.{key}": value for key, value in _git(Path.cwd()).items()}
    return found | {f"git.biomtl.{key}": value for key, value in _git(Path(__file__).parent).items()}


def _git(folder: Path) -> dict[str, str]:
    """Commit of the repository that holds a folder, and whether tracked files were changed since."""
    git = shutil.which("git")
    if git is None:
        return {}

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)  # noqa: S603, PLW1510

    with suppress(OSError, subprocess.TimeoutExpired):
        commit = ask("rev-parse", "HEAD")
        # An environment inside a repository is ignored by it: its packages are not of that commit.
        if commit.returncode == 0 and ask("check-ignore", "-q", ".").returncode == 1:
            dirty = ask("status", "--porcelain", "--untracked-files=no").stdout.strip() != ""
            return {"commit": commit.stdout.strip(), "dirty": str(dirty).lower()}
    return {}


def _prepare_mlflow() -> None:
    """Loads MLflow in this thread, with a short patience and without its own voice; what the user set stays."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 by default: four minutes for one number
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing goes out that was not asked for
    import mlflow  # noqa: F401

    # What MLflow does with its own libraries is not the user's business, even where warnings are errors.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mlflow\.")
    for name in ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells every retry


def _default_uri() -> str:
    _prepare_mlflow()
    from mlflow import tracking

    untyped: Any = tracking
    return tracking.get_tracking_uri() if untyped.is_tracking_uri_set() else f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def _experiment_name(given: str) -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or given if given == EXPERIMENT else given


def _find_experiment(client: MlflowClient, name: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    database = _database(uri)  # MLflow's own default is the working folder, which need not be where the store is
    location = None if database is None else str(database.parent / "mlruns" / _name(name).replace("/", "_"))
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was faster
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)


def _database(uri: str) -> Path | None:
    """The file behind an SQLite address."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(match[1]).absolute() if match and match[1] != ":memory:" else None


def _creation_lock(uri: str) -> AbstractContextManager[Any]:
    database = _database(uri)
    if database is None:
        return nullcontext()
    from filelock import FileLock

    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock", timeout=120)


def _is_shown_by_bare_ui(uri: str) -> bool:
    """`mlflow ui` reads ./mlflow.db, unless it is told otherwise or finds runs that older versions left in ./mlruns."""
    has_old_runs = any(Path("mlruns").glob("[0-9]*/meta.yaml"))
    is_default = _database(uri) == Path.cwd() / "mlflow.db"
    return is_default and not has_old_runs and "MLFLOW_BACKEND_STORE_URI" not in os.environ


def _is_refusal(error: Exception) -> bool:
    """Whether trying again later can't help."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code in {
            "INVALID_PARAMETER_VALUE",
            "BAD_REQUEST",
            "MALFORMED_REQUEST",
            "RESOURCE_ALREADY_EXISTS",
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_STATE",
        }
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError | SQLAlchemyError)


def _metrics_operation(numbers: Sequence[Number]) -> Operation:
    def send(client: MlflowClient, run_id: str) -> None:
        from mlflow.entities import Metric

        client.log_batch(run_id, metrics=[Metric(*number) for number in numbers], synchronous=True)

    return send


def _send_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    for chunk in _chunks(list(tags.items()), 100):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in chunk], synchronous=True)


def _send_dataset(client: MlflowClient, run_id: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=record["name"],
        digest=record["fingerprint"][:36],
        source_type="local",
        source=json.dumps({"uri": record["source"]}),
        profile=json.dumps({"rows": record["rows"], "fingerprint": record["fingerprint"]}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", record["split"])])])


def _mark_as_table(client: MlflowClient, run_id: str, path: str) -> None:
    """What `MlflowClient.log_table` does after it wrote; itself it would append to the table of a resumed run."""
    key = "mlflow.loggedArtifacts"
    tables = json.loads(client.get_run(run_id).data.tags.get(key, "[]"))
    entry = {"path": path, "type": "table"}
    if entry not in tables:
        client.set_tag(run_id, key, json.dumps([*tables, entry]))


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Mapping | list | tuple):
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)
        else:
            yield f"{prefix}{key}", str(value)


def _name(name: str) -> str:
    """A name that MLflow takes: its signs, its length, and no path that could be shortened.

    >>> _name("val/ddi/f1 (int|effect)")
    'val/ddi/f1 _int_effect_'
    """
    name = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("./")
    if len(name) > 250:
        name = f"{name[:230]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name or "_"


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _without_password(uri: str) -> str:
    """The address without user and password.

    >>> _without_password("https://me:secret@host:5000/x")
    'https://host:5000/x'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _reason(error: Exception) -> str:
    without_password = re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))
    return without_password[:200] or type(error).__name__


def _was_interrupted() -> bool:
    """Whether the exception that is being handled, or that ended the program, is a request to stop."""
    error = sys.exc_info()[1] or getattr(sys, "last_value", None)
    return isinstance(error, KeyboardInterrupt | SIGTERMException)


def _now() -> int:
    return int(time.time() * 1000)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000).astimezone().isoformat()
