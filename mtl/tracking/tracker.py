"""Writes a run to its folder and to MLflow.

The folder comes first: every number, parameter and report is on disk before it is queued for MLflow, so a training step
never waits for a database or a network. Texts of rows, host names and user names are never sent.
"""

from __future__ import annotations

import atexit
import os
import posixpath
import sys
import time
import uuid
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mtl.distributed import is_rank_zero
from mtl.files import make_folder, not_writable
from mtl.problems import InputError
from mtl.tracking.mlflow_client import default_uri, find_experiment, open_store, prepare_mlflow, run_with_token, ui_hint
from mtl.tracking.mlflow_run import MLflowRun, Number, flattened, mlflow_table
from mtl.tracking.outages import Outages, is_refusal
from mtl.tracking.points import Points
from mtl.tracking.run_folder import RunFolder
from mtl.tracking.send_queue import Send, SendQueue
from mtl.tracking.system_metrics import SystemMetrics
from mtl.tracking.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

EXPERIMENT = "biomtl"
STATUS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MLflowTracker(Logger):
    """A Lightning logger that writes a run to its folder and to MLflow.

    The run starts with the first logged value, and is reopened by values logged after `finalize` (Lightning finalizes
    after fit and after test). A run that is open when the process ends is FAILED. Only rank 0 logs anything.

    Args:
        folder: Folder of the run.
        experiment: Name of the MLflow experiment; ``MLFLOW_EXPERIMENT_NAME`` overrides the default name.
        run_name: Name of the run in MLflow, such as mixture and seed.
        run_id: MLflow run to resume. If the store does not have it, a new run names it in a tag.
        tracking_uri: Address of MLflow; None takes MLflow's own setting (``MLFLOW_TRACKING_URI``,
            ``mlflow.set_tracking_uri``), else ``mlflow.db`` in the working folder, which plain ``mlflow ui`` shows.
        tags: Tags of the run.
        sends: Whether MLflow gets a metric, by its name; None sends all. `metrics.jsonl` gets all in any case.
        samples_load: Whether to sample the load of the machine; MLflow's own variable
            ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` overrides it.
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
        sends: Callable[[str], bool] | None = None,
        samples_load: bool = False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.experiment_name = _experiment_name(experiment)
        self._run_name, self._run_id = run_name, run_id
        self._given_uri = tracking_uri
        self._sends = sends or (lambda _: True)
        self._samples_load = samples_load
        self._tags = {"mlflow.source.name": "mtl", "folder": f"{folder.path.parent.name}/{folder.path.name}", **tags}
        self._started = _now()
        self._step = 0
        self._num_resumed = 0
        self._params: dict[str, str] = {}
        self._open = self._closed_once = False
        self.keeps_status = False
        """Whether to keep the status of the run: the outcome of an evaluation says nothing about the training."""
        self._run: MLflowRun | None = None
        self._load: SystemMetrics | None = None

    # --- Lightning's logger ---------------------------------------------------------------------------------------

    @classmethod
    def reopened(cls, folder: RunFolder) -> MLflowTracker | None:
        """The tracker of a finished run, whose status stays; None if the run was not tracked.

        Args:
            folder: Folder of the run.
        """
        tracked = folder.info.get("mlflow")
        if not tracked or "run_id" not in tracked:
            return None
        tracker = cls(folder, experiment=tracked["experiment"], run_name=folder.path.name, run_id=tracked["run_id"])
        tracker.keeps_status = True
        return tracker

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
            self._queue.wake()  # an evaluation has ended, so send its scores now

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Records parameters, with dotted names for nested ones.

        Parameters that a resumed run already has are skipped; different values go to the tag ``resumed.<n>.<name>``.
        """
        if not self._is_active():
            return
        flat = dict(flattened(vars(params) if isinstance(params, Namespace) else params))
        self._params |= flat
        self.folder.write_json("params.json", self._params)
        self._put("parameters", lambda run: self._send_params(run, flat))

    def finalize(self, status: str) -> None:
        """Sends the rest and ends the run, or keeps its status if `keeps_status` is set.

        Args:
            status: success, failed or killed. Lightning also passes failed after an interrupt, which is killed here.
        """
        if not self._is_active():
            return
        ended, when = STATUS["killed" if status == "failed" and _was_interrupted() else status], _now()
        if (self.folder.path / "metrics.json").is_file():
            self.log_artifact(self.folder.path / "metrics.json")
        if self.keeps_status:
            kept = str(self.folder.info["status"])
            self._put("status", lambda run: run.set_status(kept))
        else:
            self._begin()
            self.folder.finish(ended, _iso(when))
            self._put("status", lambda run: self._send_end(run, ended, when))
        atexit.unregister(self._at_exit)
        self._open, self._closed_once = False, True
        self._queue.close()

    # --- other records of a run -----------------------------------------------------------------------------------

    @property
    def run_id(self) -> str | None:
        """MLflow id of the run; waits for the first attempt to connect, None if it failed."""
        if not self._is_active():
            return self._run_id or self.folder.info.get("mlflow", {}).get("run_id")
        if not self._closed_once:  # this opens a run that has not started, but not one that has ended
            self._begin()
            self._queue.wait_connected()
        return self._run_id

    @cached_property
    def tracking_uri(self) -> str:
        """Address of MLflow. It may contain a password; `ui_hint` and files never do."""
        return self._given_uri or default_uri()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        pairs = {name: str(value) for name, value in tags.items()}
        self._put("tags", lambda run: run.set_tags(pairs))

    def log_text(self, text: str, path: str) -> None:
        """Stores a text as an artifact at this path."""
        if self._is_active():
            self.folder.write_text(f"artifacts/{path}", text)
            self._send_artifact(path)

    def log_dict(self, content: Mapping[str, Any], path: str) -> None:
        """Stores a mapping as a JSON artifact at this path."""
        if self._is_active():
            self.folder.write_json(f"artifacts/{path}", content)
            self._send_artifact(path)

    def log_table(self, columns: Mapping[str, Sequence[Any]], path: str) -> None:
        """Stores columns of equal length as a table that MLflow displays; `path` must end with .json."""
        if self._is_active():
            content = mlflow_table(columns)
            self.folder.write_json(f"artifacts/{path}", content)
            self._put(path, lambda run: run.log_table(content, path))

    def log_figure(self, figure: Figure, path: str) -> None:
        """Stores a figure, in the format of the extension of `path`."""
        if self._is_active():
            target = self.folder.artifacts / path
            make_folder(target.parent)
            try:
                figure.savefig(target, dpi=150, bbox_inches="tight")
            except OSError as error:
                raise not_writable(target, error) from error
            self._send_artifact(path)

    def log_artifact(self, path: Path, artifact_folder: str | None = None) -> None:
        """Stores an existing file as an artifact."""
        self._put(path.name, lambda run: run.log_file(path, artifact_folder))

    def log_dataset(self, name: str, split: str, fingerprint: str, rows: int, source: str) -> None:
        """Records a data set that the run reads.

        Args:
            name: Name of the task.
            split: train, dev or test.
            fingerprint: Fingerprint of the rows. MLflow stores the first 36 characters as the digest, and all of it in
                the profile.
            rows: Number of rows.
            source: File or folder of the data.
        """
        record = {"name": name, "split": split, "fingerprint": fingerprint, "rows": rows, "source": source}
        if self._is_active():
            self.folder.append_line("datasets.jsonl", record)
        self._put("data sets", lambda run: run.log_dataset(record))

    def log_versions(self, device: str = "") -> dict[str, str]:
        """Records versions, git commit, device and threads as parameters, and returns them.

        Args:
            device: Device of the trainer; empty takes the name of the GPU if there is one, else cpu.
        """
        found = versions(device)
        self.log_hyperparams(found)
        if "git.commit" in found:
            self.set_tags({"mlflow.source.git.commit": found["git.commit"]})
        return found

    def ui_hint(self) -> str:
        """Returns the command that opens MLflow, or its address."""
        return ui_hint(self.tracking_uri, self._run)

    # --- details --------------------------------------------------------------------------------------------------

    def _is_active(self) -> bool:
        return is_rank_zero() and getattr(rank_zero_only, "rank", 0) == 0

    @cached_property
    def _earlier(self) -> Points:
        """The points that earlier processes have written."""
        return Points(self.folder.path / "metrics.jsonl")

    @cached_property
    def _queue(self) -> SendQueue:
        kept = f"The complete run is in {self.folder.path} (metrics.json, metrics.jsonl, params.json, artifacts)."
        outages = Outages("tracking", self.tracking_uri, kept, self._note)
        return SendQueue(self._connect, outages, self._sample_load)

    def _put(self, what: str, send: Send) -> None:
        if self._is_active():
            self._begin()
            self._queue.put(what, send)

    def _begin(self) -> None:
        if self._open:
            return
        self._open = True
        prepare_mlflow()
        _ = self._earlier  # read before the first new point is written
        atexit.register(self._at_exit)
        if not self.keeps_status:
            self.folder.update_info(status="RUNNING")
        self._note(tracking_uri=self._queue.outages.place, experiment=self.experiment_name)
        self._queue.open()
        if self._closed_once and not self.keeps_status:
            self._queue.put("status", lambda run: run.set_status("RUNNING"))

    def _at_exit(self) -> None:
        if self._open:
            self.finalize("failed")

    def _connect(self) -> MLflowRun:
        client = open_store(self.tracking_uri)
        run = self._resume(client)
        if run is None:
            experiment = find_experiment(client, self.experiment_name, self.tracking_uri)
            run = self._create(client, experiment)
        self._run = MLflowRun(client, run)
        self._run_id = self._run.run_id
        self._load = SystemMetrics(self.tracking_uri, self._run_id, run.info.start_time, is_on=self._samples_load)
        self._note(run_id=self._run_id, state="ok")
        # Where `metrics.jsonl` is lost, only MLflow knows which points a resumed training computes again.
        self._run.skips_sent = not len(self._earlier) and not self.keeps_status
        if len(self._earlier):  # a killed process may not have sent its last points
            unsent = self._earlier.after(self._run.latest_steps)
            self._run.log_metrics([number for number in unsent if self._sends(number.name)])
        return self._run

    def _resume(self, client: MlflowClient) -> Any:
        if self._run_id is None:
            return None
        try:
            run = client.get_run(self._run_id)
            if run.info.lifecycle_stage == "deleted":
                raise FileNotFoundError(self._run_id)
            self._num_resumed = int(run.data.tags.get("resumed", "0"))
            if not self.keeps_status:
                self._num_resumed += 1
                client.update_run(self._run_id, status="RUNNING")
                client.set_tag(self._run_id, "resumed", str(self._num_resumed))
        except Exception as error:  # stores raise different errors
            if not is_refusal(error):
                raise
            self._tags |= {"resumed.from": self._run_id}
            self._queue.outages.say(f"MLflow has no run {self._run_id}; a new run is used instead.")
            return None
        return run

    def _create(self, client: MlflowClient, experiment: str) -> Any:
        """A new run in MLflow, or the one that an earlier attempt created without recording its id."""
        token = self.folder.info.get("mlflow", {}).get("token")
        if token is not None and (run := run_with_token(client, experiment, token)) is not None:
            if not self.keeps_status:
                client.update_run(run.info.run_id, status="RUNNING")
            return run
        token = token or uuid.uuid4().hex
        self._note(token=token)
        return client.create_run(experiment, self._started, {**self._tags, "token": token}, self._run_name)

    def _write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        when = _now()
        values = {name: float(value) for name, value in metrics.items()}
        # A resumed training computes points again; an evaluation of another checkpoint has new ones at the same step.
        values = self._earlier.new(values, step, only_same=self.keeps_status)
        if not values:
            return
        self.folder.append_line("metrics.jsonl", {"step": step, "time": when / 1000, "metrics": values})
        self._queue.add([Number(name, value, when, step) for name, value in values.items() if self._sends(name)])

    def _sample_load(self, closing: bool) -> None:
        if self._load is not None and (sample := self._load.sample(closing=closing)):
            with suppress(InputError):  # a full disk stops training elsewhere, but must not stop this thread
                self._write_metrics(*sample)

    def _send_params(self, run: MLflowRun, params: Mapping[str, str]) -> None:
        prefix = f"resumed.{self._num_resumed}" if self._num_resumed and not self.keeps_status else "changed"
        run.set_tags({f"{prefix}.{name}": value for name, value in run.log_params(params).items()})

    def _send_artifact(self, path: str) -> None:
        self.log_artifact(self.folder.artifacts / path, posixpath.dirname(path) or None)

    def _send_end(self, run: MLflowRun, status: str, when: int) -> None:
        run.end(status, when)
        with suppress(InputError):
            self.folder.mlflow_has_status()

    def _note(self, **values: str) -> None:
        """Writes the place of the run in MLflow, and whether it is complete, to `run.json`."""
        with suppress(InputError):
            self.folder.note_tracking(**values)


def _experiment_name(name: str) -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or name if name == EXPERIMENT else name


def _was_interrupted() -> bool:
    """Whether the current exception, or the one that ended the program, is a request to stop."""
    error = sys.exc_info()[1] or getattr(sys, "last_value", None)
    return isinstance(error, KeyboardInterrupt | SIGTERMException)


def _now() -> int:
    return int(time.time() * 1000)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000).astimezone().isoformat()
