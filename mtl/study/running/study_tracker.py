"""A study in MLflow: a parent run, a nested run for each run, and everything that a report needs.

Results are first stored on disk, in the ledger. They are sent in order while training continues; what MLflow lacks when
a command ends is sent by the next command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from mtl.files import read_json, write_json
from mtl.problems import InputError
from mtl.study.report.outcome import Outcome
from mtl.study.running.ledger import Ledger
from mtl.study.running.nested_run import send_run
from mtl.study.running.read_back import DESCRIPTION, RUN, STUDY, StudyReader
from mtl.tracking.mlflow_client import creation_lock, find_experiment
from mtl.tracking.mlflow_run import MLflowRun, Number, mlflow_table
from mtl.tracking.outages import is_refusal, reason
from mtl.tracking.parent_run import ParentRun

if TYPE_CHECKING:
    from mlflow.entities import RunInfo

    from mtl.study.design.run_spec import RunSpec

T = TypeVar("T")


class StudyTracker(ParentRun):
    """Sends a study to MLflow, and reads what other commands sent. Problems with MLflow never stop the study.

    Args:
        study: Name of the study.
        experiment: Experiment of the parent and its runs.
        uri: Where MLflow is; None takes MLflow's own setting, else `mlflow.db` in the working folder.
    """

    def __init__(self, study: str, experiment: str = "biomtl-studies", uri: str | None = None) -> None:
        self._reader = StudyReader(study, uri)
        self._study, self._experiment = study, experiment
        kept = "Results are on disk; the next `mtl study run` sends what MLflow lacks."
        super().__init__("study", self._reader.uri, kept)
        self._queued: set[str] = set()

    # --- reading --------------------------------------------------------------------------------------------------

    def finished(self) -> dict[str, RunInfo] | None:
        """Returns where MLflow has the finished runs of all studies, by key; None if MLflow does not answer."""
        return self._ask(self._reader.finished)

    def fetch(self, run: RunInfo, key: str, ledger: Ledger) -> bool:
        """Copies a finished run to the ledger, without its encoder; False, after a message, if that fails."""
        found = self._reader.result(run)
        if found is not None:
            ledger.finish(key, found.result, found.counts)
        return found is not None

    def known_description(self) -> dict[str, Any]:
        """Returns the last description of the study; empty if there is none or MLflow does not answer."""
        return self._ask(self._reader.known_description) or {}

    def _ask(self, question: Callable[[], T]) -> T | None:
        try:
            answer = question()
        except Exception as error:  # stores raise different errors
            if is_refusal(error):
                self._outages.say(f"MLflow at {self._outages.place} cannot answer ({reason(error)}).")
            else:
                self._outages.lost(error)
            return None
        self._outages.over()
        return answer

    # --- writing --------------------------------------------------------------------------------------------------

    def publish(self, run_specs: Sequence[RunSpec], ledger: Ledger) -> None:
        """Queues the finished runs that MLflow does not have; if there are several drivers, one of them sends each run.

        Args:
            run_specs: Specs of the runs of the study.
            ledger: Ledger with their results.
        """
        for run_spec in run_specs:
            if run_spec.key not in self._queued and ledger.is_finished(run_spec.key):
                self._queued.add(run_spec.key)
                send = partial(self._publish, run_spec=run_spec, folder=ledger.run_folder(run_spec.key))
                self._put(f"run '{run_spec.name}'", send)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Queues the description of the study, so that a report can be written from MLflow alone."""
        self._put("description", partial(self._describe, description=description))

    def report(self, outcome: Outcome, files: Sequence[Path]) -> None:
        """Queues the findings for the parent run, and its end.

        Args:
            outcome: Metrics, tables and note of the study.
            files: Files of the report, which become artifacts of the parent run.
        """
        now = int(time.time() * 1000)
        numbers = [Number(name, value, now, 0) for name, value in outcome.metrics.items()]

        def send(parent: MLflowRun) -> None:
            parent.log_metrics(numbers)
            for file in files:  # not their folder, which may contain other files
                parent.log_file(file)
            for path, columns in outcome.tables.items():
                parent.log_table(mlflow_table(columns), path)
            parent.set_tags({"mlflow.note.content": outcome.note})
            parent.end("FINISHED" if outcome.is_whole else "FAILED")

        self._put("report", send)

    # --- details --------------------------------------------------------------------------------------------------

    def _connect(self) -> MLflowRun:
        """Finds the parent run, or creates it."""
        client = self._reader.client
        with creation_lock(self._uri):
            found = self._reader.parent()
            if found is None:
                experiment = find_experiment(client, self._experiment, self._uri)
                tags = {"kind": STUDY, "study": self._study, "mlflow.source.name": "mtl"}
                own = client.create_run(experiment, run_name=self._study, tags=tags)
                found = self._reader.parent()
                if found.info.run_id != own.info.run_id:  # a driver on another machine was faster
                    client.delete_run(own.info.run_id)
        self._parent = MLflowRun(client, found)
        return self._parent

    def _publish(self, parent: MLflowRun, run_spec: RunSpec, folder: Path) -> None:
        """Sends a run that MLflow does not have."""
        marker = folder / "published.json"
        place = self._outages.place
        if read_json(marker).get(place) in self._there:
            return
        with FileLock(marker.with_suffix(".lock")):
            run_id = send_run(parent, self._study, run_spec, folder)
            with suppress(InputError):  # disk full; without a marker, the next command finds the run by its key
                write_json(marker, {**read_json(marker), place: run_id})

    @cached_property
    def _there(self) -> set[str]:
        """The finished runs in MLflow when first queried; runs may have been deleted since they were sent."""
        return {run.run_id for run in self._reader.finished().values()}

    def _describe(self, parent: MLflowRun, description: Mapping[str, Any]) -> None:
        parent.set_status("RUNNING")
        parent.log_json(description, DESCRIPTION)
        self._mark_superseded(parent, description["runs"])
        parent.log_params(description["versions"])

    def _mark_superseded(self, parent: MLflowRun, keys: Container[str]) -> None:
        """Tags runs that no longer belong to the study, for example after a change of its mixture."""
        for run in self._reader.runs(f"tags.kind = '{RUN}' and tags.\"mlflow.parentRunId\" = '{parent.run_id}'"):
            is_tagged = "superseded" in run.data.tags
            if is_tagged and run.data.tags["key"] in keys:
                parent.client.delete_tag(run.info.run_id, "superseded")
            elif not is_tagged and run.data.tags["key"] not in keys:
                parent.client.set_tag(run.info.run_id, "superseded", "true")
