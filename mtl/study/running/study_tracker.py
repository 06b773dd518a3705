"""A study in MLflow: one parent run, a nested run per training, and everything that a report needs to be made again.

Results are on disk first, in the ledger. What MLflow can't take now is sent by the next command.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mtl.files import write_json
from mtl.problems import InputError, Problem
from mtl.study.design.run_spec import Finished
from mtl.study.report.outcome import Outcome
from mtl.study.running.ledger import Ledger, read_counts
from mtl.tracking.mlflow_client import (
    PARAM_LENGTH,
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
    ui_hint,
    without_password,
)
from mtl.tracking.versions import versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mtl.study.design.run_spec import RunSpec

STUDY, RUN = "study", "study_run"
"""What the tag `kind` says of a parent, and of a nested run."""

FILES = ("result.json", "counts.npz")
AT_ONCE = 8
"""Downloads at once."""

PAUSE = 30.0
"""Seconds for which MLflow isn't asked again between two runs, once it could not be reached."""


class StudyTracker:
    """Writes a study to MLflow and reads it back.

    Args:
        study: Its name.
        experiment: Of the parent and its runs, where they are to be made.
        uri: Where MLflow is; None takes what MLflow was told, else `mlflow.db` in the working folder.
    """

    def __init__(self, study: str, experiment: str = "biomtl-studies", uri: str | None = None) -> None:
        prepare_mlflow()
        self.study, self.experiment = study, experiment
        self.uri = uri or default_uri()
        self._lost_at: float | None = None
        self._refused: set[str] = set()
        self._sent: set[str] = set()
        self._known: set[str] | None = None

    @cached_property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        with creation_lock(self.uri):
            client = MlflowClient(self.uri)
            client.get_experiment_by_name(self.experiment)  # makes the store where there is none
        return client

    # --- reading --------------------------------------------------------------------------------------------------

    def finished(self) -> dict[str, str]:
        """MLflow's id of every finished run of any study, by key."""
        found = self._runs(f"tags.kind = '{RUN}' and attributes.status = 'FINISHED'")
        return {run.data.tags["key"]: run.info.run_id for run in found}

    def finished_or_none(self) -> dict[str, str] | None:
        """The same, or None where MLflow can't be reached, which is told."""
        found: list[dict[str, str]] = []
        return found[0] if self._tell(lambda: found.append(self.finished())) else None

    def fetch(self, run_id: str, key: str, ledger: Ledger) -> bool:
        """Brings a finished run into the ledger, without its encoder; False, which is told, where that fails."""
        result = self._read_run(run_id)
        if result is not None:
            ledger.finish(key, result.result, result.counts)
        return result is not None

    def known_description(self) -> dict[str, Any]:
        """What the study was when it was described last; empty where it wasn't."""
        found: dict[str, Any] = {}
        self._tell(lambda: found.update(self.description() if self._parent() else {}))
        return found

    def description(self) -> dict[str, Any]:
        """What the study is: `study.json` of its parent.

        Raises:
            InputError: MLflow has no such study.
        """
        parent = self._parent()
        if parent is None:
            names = sorted({run.data.tags[STUDY] for run in self._runs(f"tags.kind = '{STUDY}'")})
            message = f"MLflow at {without_password(self.uri)} has no study '{self.study}'."
            raise InputError(Problem("study", message, f"It has: {', '.join(names) or 'none'}."))
        with TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent, "study.json", folder)
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            return content

    def results(self, keys: Iterable[str]) -> dict[str, Finished]:
        """The finished runs among these, by key; without those whose artefacts can't be read, which is told."""
        there = self.finished()
        wanted = {key: there[key] for key in keys if key in there}

        with ThreadPoolExecutor(AT_ONCE) as pool:
            read_ones = zip(wanted, pool.map(self._read_run, wanted.values()), strict=True)
            return {key: result for key, result in read_ones if result is not None}

    # --- writing --------------------------------------------------------------------------------------------------

    def publish(self, orders: Sequence[RunSpec], ledger: Ledger, *, between_runs: bool = False) -> None:
        """Sends the finished runs that MLflow hasn't got; of several drivers one sends each.

        Args:
            orders: Of the study.
            ledger: Where their results are.
            between_runs: Whether training waits for it; then MLflow is left alone for a while after a failure.
        """
        if between_runs and self._lost_at is not None and time.monotonic() - self._lost_at < PAUSE:
            return
        for order in orders:
            if order.key in self._refused or not ledger.is_finished(order.key):
                continue
            if not self._publish(order, ledger):
                if self._lost_at is not None:
                    return
                self._refused.add(order.key)

    def _publish(self, order: RunSpec, ledger: Ledger) -> bool:
        """Sends a run that MLflow hasn't got; False where that fails."""
        marker = ledger.run_folder(order.key) / "published.json"
        if order.key in self._sent or _read(marker).get(self._place) in self._there():
            return True
        with FileLock(marker.with_suffix(".lock")):
            sent: list[str] = []
            if not self._tell(lambda: sent.append(self._send(order, ledger))):
                return False
            write_json(marker, {**_read(marker), self._place: sent[0]})
        self._sent.add(order.key)
        return True

    def _there(self) -> set[str]:
        """The finished runs that MLflow had when this was asked first; somebody may have deleted some."""
        if self._known is None and (found := self.finished_or_none()) is not None:
            self._known = set(found.values())
        return self._known or set()

    def describe(self, description: Mapping[str, Any]) -> None:
        """Writes what the study is to its parent, so that a report can be made of MLflow alone."""
        self._tell(lambda: self._describe(description))

    def report(self, outcome: Outcome, files: Sequence[Path]) -> None:
        """Writes the findings to the parent, and ends it.

        Args:
            outcome: What stands beside the files.
            files: Of the report; they become the parent's artefacts.
        """
        if self._tell(lambda: self._report(outcome, files)):
            self.end("FINISHED" if outcome.is_whole else "FAILED")

    def end(self, status: str) -> None:
        """Sets the status of the parent, where there is one: FINISHED, FAILED or KILLED."""
        if "parent" in vars(self):
            self._tell(lambda: self.client.set_terminated(self.parent, status))

    def ui_hint(self) -> str:
        """The line that opens MLflow, or the address of the parent."""
        place = f"/#/experiments/{self._experiment}/runs/{self.parent}" if "parent" in vars(self) else ""
        return ui_hint(self.uri, place)

    # --- details --------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return without_password(self.uri)

    def _tell(self, send: Callable[[], Any]) -> bool:
        """Sends; False where MLflow refuses it or can't be reached, which is told once for each outage."""
        try:
            send()
        except Exception as error:  # whatever a server or a network does, the study goes on
            self._failed(error)
            return False
        self._lost_at = None
        return True

    def _failed(self, error: Exception) -> None:
        why = reason(error)
        if is_refusal(error):
            sys.stderr.write(f"mtl: study: MLflow at {self._place} refused what it was sent ({why}).\n")
            return
        if self._lost_at is None:
            sys.stderr.write(
                f"mtl: study: MLflow at {self._place} can't be reached ({why}). Results are kept on disk; the"
                " next `mtl study run` sends them.\n"
            )
        self._lost_at = time.monotonic()

    def _runs(self, query: str) -> Iterator[Any]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        token = None
        while True:
            page = self.client.search_runs(experiments, query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _parent(self) -> str | None:
        """The oldest: of drivers that made one each at the same moment, all take the same."""
        runs = [run for run in self._runs(f"tags.kind = '{STUDY}'") if run.data.tags[STUDY] == self.study]
        found = sorted((run.info.start_time, run.info.run_id) for run in runs)
        return str(found[0][1]) if found else None

    @cached_property
    def parent(self) -> str:
        """MLflow's id of the parent, made where there is none."""
        with creation_lock(self.uri):
            found = self._parent()
            if found is not None:
                return found
            tags = {"kind": STUDY, "study": self.study, "mlflow.source.name": "mtl"}
            made = self.client.create_run(self._experiment, run_name=self.study, tags=tags)
            own, oldest = str(made.info.run_id), self._parent()
            if oldest is None or oldest == own:
                return own
            self.client.delete_run(own)  # a driver on another machine was faster
            return oldest

    @cached_property
    def _experiment(self) -> str:
        return find_experiment(self.client, self.experiment, self.uri)

    def _send(self, order: RunSpec, ledger: Ledger) -> str:
        from mlflow.entities import Metric, Param

        result = ledger.result(order.key)
        assert result is not None
        # Its own time, so that numbers which are sent again are the same numbers to MLflow.
        ended = int(1000 * (ledger.run_folder(order.key) / FILES[0]).stat().st_mtime)
        begun = self._begun(order)
        if begun is not None and begun.info.status == "FINISHED":  # another driver was faster
            return str(begun.info.run_id)
        started = ended - int(1000 * result["cost"]["seconds"])
        run_id = str(begun.info.run_id) if begun is not None else self._begin(order, started)
        if "taken_over" in result:
            self.client.set_tag(run_id, "taken_over", result["taken_over"]["from"])
        known = begun.data.params if begun is not None else {}
        params = {name: value for name, value in _params(order, result).items() if name not in known}
        for chunk in chunks([Param(*param) for param in params.items()], 100):
            self.client.log_batch(run_id, params=chunk, synchronous=True)
        numbers = [Metric(allowed_name(name), value, ended, step) for name, value, step in _numbers(result)]
        for chunk in chunks(numbers, 500):
            self.client.log_batch(run_id, metrics=chunk, synchronous=True)
        for name in FILES:
            self.client.log_artifact(run_id, str(ledger.run_folder(order.key) / name))
        self.client.set_terminated(run_id, "FINISHED", ended)
        return run_id

    def _begin(self, order: RunSpec, started: int) -> str:
        tags = self._tags(order)
        made = self.client.create_run(self._experiment, start_time=started, run_name=order.name, tags=tags)
        return str(made.info.run_id)

    def _begun(self, order: RunSpec) -> Any:
        """MLflow's run with this key: sent by another driver, or half sent when MLflow was lost; None where none is."""
        query = f"tags.kind = '{RUN}' and tags.key = '{order.key}'"
        found = self.client.search_runs([self._experiment], query, order_by=["attributes.status ASC"])
        return next((run for run in found if run.info.status in ("FINISHED", "RUNNING")), None)

    def _tags(self, order: RunSpec) -> dict[str, str]:
        source = order.company.partition(" then ")[0] if order.source else ""
        copies = [task for task in order.tasks if task not in order.targets]
        others = copies or [task for task in order.tasks if len(order.tasks) > 1]
        return {
            "kind": RUN,
            "mlflow.parentRunId": self.parent,
            "mlflow.source.name": "mtl",
            "study": self.study,
            "design": ", ".join(order.designs),
            "target": ", ".join(order.targets),
            "partner": source or ", ".join(others),
            "seed": str(order.seed),
            "key": order.key,
        }

    def _describe(self, description: Mapping[str, Any]) -> None:
        self.client.update_run(self.parent, status="RUNNING")
        self.client.log_dict(self.parent, dict(description), "study.json")
        self._mark_superseded(description["runs"])
        known = self.client.get_run(self.parent).data.params
        for name, value in versions().items():
            if name not in known:
                self.client.log_param(self.parent, name, value)

    def _mark_superseded(self, keys: Container[str]) -> None:
        """Tags the runs of the study that don't belong to it any more, as after a change of its mixture."""
        for run in self._runs(f"tags.kind = '{RUN}' and tags.\"mlflow.parentRunId\" = '{self.parent}'"):
            is_tagged = "superseded" in run.data.tags
            if is_tagged and run.data.tags["key"] in keys:
                self.client.delete_tag(run.info.run_id, "superseded")
            elif not is_tagged and run.data.tags["key"] not in keys:
                self.client.set_tag(run.info.run_id, "superseded", "true")

    def _report(self, outcome: Outcome, files: Sequence[Path]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = [Metric(allowed_name(name), value, now, 0) for name, value in outcome.metrics.items()]
        for chunk in chunks(numbers, 500):
            self.client.log_batch(self.parent, metrics=chunk, synchronous=True)
        for file in files:  # and not their folder, which may hold more than the report
            self.client.log_artifact(self.parent, str(file))
        for path, columns in outcome.tables.items():
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            self.client.log_dict(self.parent, {"columns": list(columns), "data": rows}, path)
            mark_as_table(self.client, self.parent, path)
        self.client.set_tag(self.parent, "mlflow.note.content", outcome.note)

    def _read_run(self, run_id: str) -> Finished | None:
        """What a finished run gave; None, which is told, where its artefacts can't be read."""
        try:
            with TemporaryDirectory() as folder:
                paths = [Path(self.client.download_artifacts(run_id, name, folder)) for name in FILES]
                return Finished(json.loads(paths[0].read_text(encoding="utf-8")), read_counts(paths[1]))
        except Exception as error:  # whatever became of its files, the other runs are there
            sys.stderr.write(f"mtl: study: The artefacts of MLflow's run {run_id} can't be read ({reason(error)}).\n")
            return None


def finished_runs(orders: Iterable[RunSpec], ledger: Ledger) -> dict[str, Finished]:
    """The finished runs among these from the ledger, by key."""
    found = {order.key: ledger.result(order.key) for order in orders}
    return {key: Finished(result, ledger.counts(key)) for key, result in found.items() if result is not None}


def _params(order: RunSpec, result: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a run and what it was trained on; what is too long for MLflow is in the study's `study.json`."""
    labels = ("key", "name", "company", "designs", "seed")  # which are tags
    settings = {name: value for name, value in order.to_dict().items() if name not in labels}
    found = dict(flattened({**settings, **result.get("versions", {})}))
    long = [name for name, value in found.items() if len(value) > PARAM_LENGTH]
    found |= {name: f"{len(found[name])} characters, see study.json" for name in long}
    return {allowed_name(name): value for name, value in found.items()}


def _numbers(result: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of what MLflow shows of a run: curves over own updates, test scores, costs."""
    for point in result["curve"]:
        for target, scores in point["dev"].items():
            for name, value in scores.items():
                if value is not None:
                    yield f"val/{target}/{name}", value, point["updates"][target]
    for target, scores in result["test"].items():
        for name, value in scores.items():
            if value is not None:
                yield f"test/{target}/{name}", value, 0
    for name, value in result["cost"].items():
        yield f"cost/{name}", value, 0


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
