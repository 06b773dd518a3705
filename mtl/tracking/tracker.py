"""What a run leaves in MLflow.

The run's folder comes first: every number, parameter and report is on disk before it is sent. A thread of its own
sends them in order, so a step never waits for a database or a network; while MLflow is away they wait, and training
goes on. The loss is told once, on stderr and in `run.json`.

No text of a row, no host name and no user name is ever sent.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import posixpath
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mtl.distributed import is_rank_zero
from mtl.problems import InputError
from mtl.tracking.mlflow_client import (
    PARAM_LENGTH,
    Operation,
    SystemMetrics,
    allowed_name,
    chunks,
    creation_lock,
    default_uri,
    find_experiment,
    flattened,
    is_refusal,
    mark_as_table,
    prepare_mlflow,
    reason,
    send_dataset,
    send_tags,
    ui_hint,
    without_password,
)
from mtl.tracking.outbox import Outbox
from mtl.tracking.run_folder import RunFolder
from mtl.tracking.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

EXPERIMENT = "biomtl"
FINAL_WAIT = 30.0
"""Seconds that the end of a run waits for MLflow."""

STATUS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


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
        self.keeps_status = False
        """Whether the run's status stays what it is: how an evaluation ends says nothing of the training before."""
        self._outbox = Outbox(self._connect, self._lost, self._back, self._refused, self._system_metrics)
        self._system: SystemMetrics | None = None

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
        flat = dict(flattened(vars(params) if isinstance(params, Namespace) else params))
        self._params |= flat
        self.folder.write_json("params.json", self._params)
        short = {name: self._shortened(name, value) for name, value in flat.items()}
        self._put(lambda client, run_id: self._send_params(client, run_id, short))

    def finalize(self, status: str) -> None:
        """Sends what is left and ends the run, or leaves its status where that is kept.

        Args:
            status: success, failed or killed. Lightning says failed for an interrupt, too; that is killed.
        """
        if not self._is_active():
            return
        ended, when = STATUS["killed" if status == "failed" and _was_interrupted() else status], _now()
        if (self.folder.path / "metrics.json").is_file():
            self.log_artifact(self.folder.path / "metrics.json")
        self._begin()
        if self.keeps_status:
            kept = str(self.folder.info["status"])
            self._outbox.put(lambda client, run_id: client.update_run(run_id, status=kept))
        else:
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
            self._given_uri = default_uri()
        return self._given_uri

    def flush(self) -> None:
        """Asks for a send now, without waiting for it."""
        self._outbox.wake()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        pairs = {allowed_name(key): str(value) for key, value in tags.items()}
        self._put(lambda client, run_id: send_tags(client, run_id, pairs))

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
        self._put(lambda client, run_id: mark_as_table(client, run_id, path))

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
        self._put(lambda client, run_id: send_dataset(client, run_id, record))

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
        place = f"/#/experiments/{self._experiment_id}/runs/{self._run_id}" if self._experiment_id else ""
        return ui_hint(self.tracking_uri, place)

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
        prepare_mlflow()
        atexit.register(self._at_exit)
        if not self.keeps_status:
            self.folder.update_info(status="RUNNING")
        self._note(tracking_uri=self._place(), experiment=self.experiment_name)
        self._outbox.open()
        if self._closed_once and not self.keeps_status:
            self._outbox.put(lambda client, run_id: client.update_run(run_id, status="RUNNING"))

    def _at_exit(self) -> None:
        if self._open:
            self.finalize("failed")

    def _connect(self) -> tuple[MlflowClient, str]:
        """Finds or makes experiment and run. Two processes that make one SQLite store at once break its migration."""
        from mlflow import MlflowClient

        with creation_lock(self.tracking_uri):
            client = MlflowClient(self.tracking_uri)
            run = self._resume(client) or client.create_run(
                find_experiment(client, self.experiment_name, self.tracking_uri),
                start_time=self._started,
                run_name=self._run_name,
                tags=self._tags,
            )
        self._run_id, self._experiment_id = run.info.run_id, run.info.experiment_id
        self._known_params = dict(run.data.params)
        self._system = SystemMetrics(self.tracking_uri, run.info.run_id, run.info.start_time)
        self._note(run_id=run.info.run_id, state="ok")
        return client, run.info.run_id

    def _resume(self, client: MlflowClient) -> Any:
        if self._run_id is None:
            return None
        try:
            run = client.get_run(self._run_id)
            self._num_resumed = int(run.data.tags.get("resumed", "0"))
            if not self.keeps_status:
                self._num_resumed += 1
                client.update_run(self._run_id, status="RUNNING")
                client.set_tag(self._run_id, "resumed", str(self._num_resumed))
        except Exception as error:  # stores differ in what they raise; `is_refusal` tells an answer from a failure
            if not is_refusal(error):
                raise
            self._tags |= {"resumed.from": self._run_id}
            self._tell(f"MLflow at {self._place()} does not know run {self._run_id}; a new run goes on from it.")
            return None
        return run

    def _write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        when = _now()
        values = {name: float(value) for name, value in metrics.items()}
        self.folder.append_line("metrics.jsonl", {"step": step, "time": when / 1000, "metrics": values})
        self._outbox.add((allowed_name(name), value, when, step) for name, value in values.items())

    def _system_metrics(self, *, starting: bool, closing: bool) -> None:
        if self._system is not None and (sample := self._system.sample(starting=starting, closing=closing)):
            self._write_metrics(*sample)

    def _shortened(self, name: str, value: str) -> str:
        if len(value) <= PARAM_LENGTH:
            return value
        path = f"params/{allowed_name(name)}.txt"
        self.log_text(value, path)
        return f"see artifact {path} ({len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()})"

    def _send_params(self, client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        named = {allowed_name(key): value for key, value in params.items()}
        new = [(key, value) for key, value in named.items() if key not in self._known_params]
        for chunk in chunks(new, 100):
            client.log_batch(run_id, params=[Param(key, value) for key, value in chunk], synchronous=True)
            self._known_params.update(chunk)
        prefix = f"resumed.{self._num_resumed}" if self._num_resumed and not self.keeps_status else "changed"
        changed = {allowed_name(f"{prefix}.{k}"): v for k, v in named.items() if self._known_params[k] != v}
        send_tags(client, run_id, changed)

    def _send_artifact(self, path: str) -> None:
        self.log_artifact(self.folder.artifacts / path, posixpath.dirname(path) or None)

    def _place(self) -> str:
        return without_password(self.tracking_uri)

    def _lost(self, error: Exception) -> None:
        why = reason(error)
        self._note(state="lost", error=why)
        if "lost" not in self._told:
            self._told.add("lost")
            self._tell(
                f"MLflow at {self._place()} can't be reached ({why}). Training goes on; "
                f"everything is kept in {self.folder.path} and sent when MLflow is back."
            )

    def _back(self) -> None:
        self._note(state="ok")
        self._tell(f"MLflow at {self._place()} is back; it has everything so far.")

    def _refused(self, error: Exception) -> None:
        self._note(refused=reason(error))
        if "refused" not in self._told:
            self._told.add("refused")
            self._tell(f"MLflow refused something ({reason(error)}); it is in {self.folder.path} only.")

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


def _experiment_name(given: str) -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or given if given == EXPERIMENT else given


def _was_interrupted() -> bool:
    """Whether the exception that is being handled, or that ended the program, is a request to stop."""
    error = sys.exc_info()[1] or getattr(sys, "last_value", None)
    return isinstance(error, KeyboardInterrupt | SIGTERMException)


def _now() -> int:
    return int(time.time() * 1000)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000).astimezone().isoformat()
