"""A study in MLflow: one parent run, a nested run per training, and everything that a report needs to be made again.

Results are on disk first, in the ledger. They are sent in order beside the training; what MLflow has not got when a
command ends is sent by the next one.
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
from mtl.tracking.mlflow_client import creation_lock, find_experiment, ui_hint
from mtl.tracking.mlflow_run import MLflowRun, Number, table
from mtl.tracking.outages import Outages, is_refusal, reason
from mtl.tracking.send_queue import Send, SendQueue

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec

T = TypeVar("T")


class StudyTracker:
    """Sends a study to MLflow, and asks for what other commands sent. Whatever MLflow does, the study goes on.

    Args:
        study: Name of the study.
        experiment: Experiment of the parent and its runs.
        uri: Where MLflow is; None takes what MLflow was told, else `mlflow.db` in the working folder.
    """

    def __init__(self, study: str, experiment: str = "biomtl-studies", uri: str | None = None) -> None:
        self._reader = StudyReader(study, uri)
        self._study, self._experiment, self._uri = study, experiment, self._reader.uri
        kept = "Results are on disk; the next `mtl study run` sends what MLflow lacks."
        self._outages = Outages("study", self._uri, kept)
        self._queue = SendQueue(self._connect, self._outages)
        self._parent: MLflowRun | None = None
        self._queued: set[str] = set()
        self._has_begun = False

    # --- reading --------------------------------------------------------------------------------------------------

    def finished(self) -> dict[str, str] | None:
        """MLflow's id of every finished run of any study, by key; None where MLflow gives no answer."""
        return self._ask(self._reader.finished)

    def fetch(self, run_id: str, key: str, ledger: Ledger) -> bool:
        """Brings a finished run into the ledger, without its encoder; False, which it reports, where that fails."""
        found = self._reader.result(run_id)
        if found is not None:
            ledger.finish(key, found.result, found.counts)
        return found is not None

    def known_description(self) -> dict[str, Any]:
        """What the study was when it was last described; empty where it was not, or MLflow gives no answer."""
        return self._ask(self._reader.known_description) or {}

    def _ask(self, question: Callable[[], T]) -> T | None:
        try:
            answer = question()
        except Exception as error:  # stores differ in what they raise
            if is_refusal(error):
                self._outages.say(f"MLflow at {self._outages.place} can't answer ({reason(error)}).")
            else:
                self._outages.lost(error)
            return None
        self._outages.over()
        return answer

    # --- writing --------------------------------------------------------------------------------------------------

    def publish(self, orders: Sequence[RunSpec], ledger: Ledger) -> None:
        """Queues the finished runs that MLflow has not got; of several drivers one sends each.

        Args:
            orders: Runs of the study.
            ledger: Where their results are.
        """
        for order in orders:
            if order.key not in self._queued and ledger.is_finished(order.key):
                self._queued.add(order.key)
                send = partial(self._publish, order=order, folder=ledger.run_folder(order.key))
                self._put(f"run '{order.name}'", send)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Queues what the study is for its parent, so that a report can be made of MLflow alone."""
        self._put("description", partial(self._describe, description=description))

    def report(self, outcome: Outcome, files: Sequence[Path]) -> None:
        """Queues the findings for the parent, and its end.

        Args:
            outcome: What stands beside the files.
            files: Files of the report; they become the parent's artifacts.
        """
        now = int(time.time() * 1000)
        numbers = [Number(name, value, now, 0) for name, value in outcome.metrics.items()]

        def send(parent: MLflowRun) -> None:
            parent.log_metrics(numbers)
            for file in files:  # and not their folder, which may hold more than the report
                parent.log_file(file)
            for path, columns in outcome.tables.items():
                parent.log_table(table(columns), path)
            parent.set_tags({"mlflow.note.content": outcome.note})
            parent.end("FINISHED" if outcome.is_whole else "FAILED")

        self._put("report", send)

    def end(self, status: str) -> None:
        """Queues the status of the parent, where this command has sent anything: FINISHED, FAILED or KILLED."""
        if self._has_begun:
            self._put("status", lambda parent: parent.end(status))

    def close(self) -> None:
        """Waits until MLflow has everything, or makes no progress for a while; then says what it lacks."""
        self._queue.close()

    def ui_hint(self) -> str:
        """The command that opens MLflow, or the address of the parent."""
        return ui_hint(self._uri, self._parent)

    # --- details --------------------------------------------------------------------------------------------------

    def _put(self, what: str, send: Send) -> None:
        self._has_begun = True
        self._queue.open()
        self._queue.put(what, send)
        self._queue.wake()

    def _connect(self) -> MLflowRun:
        """Finds the parent, or makes it where there is none."""
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

    def _publish(self, parent: MLflowRun, order: RunSpec, folder: Path) -> None:
        """Sends a run that MLflow has not got."""
        marker = folder / "published.json"
        place = self._outages.place
        if read_json(marker).get(place) in self._there:
            return
        with FileLock(marker.with_suffix(".lock")):
            run_id = send_run(parent, self._study, order, folder)
            with suppress(InputError):  # on a full disk; without a marker the next command finds the run by its key
                write_json(marker, {**read_json(marker), place: run_id})

    @cached_property
    def _there(self) -> set[str]:
        """The finished runs that MLflow had when this was asked first; somebody may have deleted some."""
        return set(self._reader.finished().values())

    def _describe(self, parent: MLflowRun, description: Mapping[str, Any]) -> None:
        parent.set_status("RUNNING")
        parent.log_json(description, DESCRIPTION)
        self._mark_superseded(parent, description["runs"])
        parent.log_params(description["versions"])

    def _mark_superseded(self, parent: MLflowRun, keys: Container[str]) -> None:
        """Tags the runs of the study that no longer belong to it, as after a change of its mixture."""
        for run in self._reader.runs(f"tags.kind = '{RUN}' and tags.\"mlflow.parentRunId\" = '{parent.run_id}'"):
            is_tagged = "superseded" in run.data.tags
            if is_tagged and run.data.tags["key"] in keys:
                parent.client.delete_tag(run.info.run_id, "superseded")
            elif not is_tagged and run.data.tags["key"] not in keys:
                parent.client.set_tag(run.info.run_id, "superseded", "true")
