"""A study in MLflow: one parent run, a nested run per training, and everything that a report needs to be made again.

Results are on disk first, in the ledger. What MLflow can't take now is sent by the next command.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from mtl.faults import Fault, InputError
from mtl.mlflow_store import (
    allowed_name,
    chunks,
    creation_lock,
    default_uri,
    find_experiment,
    is_shown_by_bare_ui,
    mark_as_table,
    without_password,
)
from mtl.study.ledger import Ledger, read_counts
from mtl.versions import versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mtl.study.training import Order

STUDY, RUN = "study", "study_run"
"""What the tag `kind` says of a parent, and of a nested run."""

FILES = ("result.json", "counts.npz")
AT_ONCE = 8
"""Downloads at once."""


class Finished(NamedTuple):
    """A run's result and its counts by target."""

    result: dict[str, Any]
    counts: dict[str, dict[str, Any]]


class StudyTracker:
    """Writes a study to MLflow and reads it back.

    Args:
        study: Its name.
        experiment: Of the parent and its runs.
        uri: Where MLflow is; None takes what MLflow was told, else `mlflow.db` in the working folder.
    """

    def __init__(self, study: str, experiment: str, uri: str | None = None) -> None:
        self.study, self.experiment = study, experiment
        self.uri = uri or default_uri()
        self._is_lost = False

    @cached_property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        with creation_lock(self.uri):
            client = MlflowClient(self.uri)
            find_experiment(client, self.experiment, self.uri)
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

    def fetch(self, run_id: str, key: str, ledger: Ledger) -> None:
        """Brings a finished run into the ledger; its encoder isn't kept in MLflow."""
        with TemporaryDirectory() as folder:
            result = self._download(run_id, folder)
            ledger.finish(key, result.result, result.counts)

    def description(self) -> dict[str, Any]:
        """What the study is: `study.json` of its parent.

        Raises:
            InputError: MLflow has no such study.
        """
        parent = self._parent()
        if parent is None:
            names = sorted({run.data.tags[STUDY] for run in self._runs(f"tags.kind = '{STUDY}'")})
            message = f"MLflow at {without_password(self.uri)} has no study '{self.study}'."
            raise InputError(Fault("study", message, f"It has: {', '.join(names) or 'none'}."))
        with TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent, "study.json", folder)
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            return content

    def results(self, keys: Iterable[str]) -> dict[str, Finished]:
        """The finished runs among these, by key."""
        there = self.finished()
        wanted = {key: there[key] for key in keys if key in there}

        def read(run_id: str) -> Finished:
            with TemporaryDirectory() as folder:
                return self._download(run_id, folder)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(read, wanted.values()), strict=True))

    # --- writing --------------------------------------------------------------------------------------------------

    def publish(self, orders: Sequence[Order], ledger: Ledger) -> None:
        """Sends the finished runs that MLflow hasn't got; of several drivers one sends each."""
        for order in orders:
            marker = ledger.run_folder(order.key) / "published.json"
            if ledger.is_finished(order.key) and self._place not in _read(marker):
                with FileLock(marker.with_suffix(".lock")):
                    known = _read(marker)
                    if self._place in known or not self._tell(lambda order=order: self._send(order, ledger)):
                        continue
                    marker.write_text(json.dumps({**known, self._place: True}), encoding="utf-8")

    def is_complete(self, orders: Sequence[Order], ledger: Ledger) -> bool:
        """Whether MLflow has every finished run."""
        finished = [order for order in orders if ledger.is_finished(order.key)]
        return all(self._place in _read(ledger.run_folder(order.key) / "published.json") for order in finished)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Writes what the study is to its parent, so that a report can be made of MLflow alone."""
        self._tell(lambda: self._describe(description))

    def report(
        self, metrics: Mapping[str, float], tables: Mapping[str, Mapping[str, Sequence[Any]]], folder: Path
    ) -> None:
        """Writes the findings to the parent.

        Args:
            metrics: Such as ``gain/<target>/<partner>``.
            tables: By path, ending with .json: columns.
            folder: Whose files become the parent's artefacts.
        """
        self._tell(lambda: self._report(metrics, tables, folder))

    def ui_hint(self) -> str:
        """The line that opens MLflow, or its address."""
        if self.uri.startswith("http"):
            return without_password(self.uri)
        return "mlflow ui" if is_shown_by_bare_ui(self.uri) else f'mlflow ui --backend-store-uri "{self.uri}"'

    # --- details --------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return without_password(self.uri)

    def _tell(self, send: Callable[[], Any]) -> bool:
        """Sends; False, and one line on stderr, where MLflow can't be reached."""
        try:
            send()
        except Exception as error:  # whatever a server or a network does, the study goes on
            if not self._is_lost:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                sys.stderr.write(
                    f"mtl: study: MLflow at {self._place} can't be reached ({reason}). Results are kept on disk; the"
                    " next `mtl study run` sends them.\n"
                )
            self._is_lost = True
            return False
        self._is_lost = False
        return True

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
        found = sorted(
            self._runs(f"tags.kind = '{STUDY}' and tags.study = '{self.study}'"), key=lambda run: run.info.start_time
        )
        return str(found[-1].info.run_id) if found else None

    @cached_property
    def parent(self) -> str:
        """MLflow's id of the parent, made where there is none."""
        with creation_lock(self.uri):
            found = self._parent()
            if found is not None:
                return found
            tags = {"kind": STUDY, "study": self.study, "mlflow.source.name": "mtl"}
            experiment = find_experiment(self.client, self.experiment, self.uri)
            made = self.client.create_run(experiment, run_name=self.study, tags=tags)
            return str(made.info.run_id)

    def _send(self, order: Order, ledger: Ledger) -> None:
        from mlflow.entities import Metric

        if order.key in self._known:
            return
        result = ledger.result(order.key)
        assert result is not None
        now = int(time.time() * 1000)
        cost = result["cost"]
        experiment = find_experiment(self.client, self.experiment, self.uri)
        run = self.client.create_run(
            experiment, start_time=now - int(1000 * cost["seconds"]), run_name=order.name, tags=self._tags(order)
        )
        run_id = run.info.run_id
        numbers = [Metric(allowed_name(name), value, now, step) for name, value, step in _numbers(result)]
        for chunk in chunks(numbers, 500):
            self.client.log_batch(run_id, metrics=chunk, synchronous=True)
        for name in FILES:
            self.client.log_artifact(run_id, str(ledger.run_folder(order.key) / name))
        self.client.set_terminated(run_id, "FINISHED", now)
        self._known[order.key] = run_id

    @cached_property
    def _known(self) -> dict[str, str]:
        return self.finished()

    def _tags(self, order: Order) -> dict[str, str]:
        partner = order.source and order.name.partition(" then ")[0]
        others = [task for task in order.tasks if len(order.tasks) > 1]
        return {
            "kind": RUN,
            "mlflow.parentRunId": self.parent,
            "mlflow.source.name": "mtl",
            "study": self.study,
            "design": ", ".join(order.designs),
            "target": ", ".join(order.targets),
            "partner": partner or ", ".join(others),
            "seed": str(order.seed),
            "key": order.key,
        }

    def _describe(self, description: Mapping[str, Any]) -> None:
        self.client.log_dict(self.parent, dict(description), "study.json")
        known = self.client.get_run(self.parent).data.params
        for name, value in versions().items():
            if name not in known:
                self.client.log_param(self.parent, name, value)

    def _report(
        self, metrics: Mapping[str, float], tables: Mapping[str, Mapping[str, Sequence[Any]]], folder: Path
    ) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = [Metric(allowed_name(name), value, now, 0) for name, value in metrics.items()]
        for chunk in chunks(numbers, 500):
            self.client.log_batch(self.parent, metrics=chunk, synchronous=True)
        self.client.log_artifacts(self.parent, str(folder))
        for path, columns in tables.items():
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            self.client.log_dict(self.parent, {"columns": list(columns), "data": rows}, path)
            mark_as_table(self.client, self.parent, path)
        self.client.set_terminated(self.parent, "FINISHED", now)

    def _download(self, run_id: str, folder: str) -> Finished:
        paths = [Path(self.client.download_artifacts(run_id, name, folder)) for name in FILES]
        return Finished(json.loads(paths[0].read_text(encoding="utf-8")), read_counts(paths[1]))


def finished_runs(orders: Iterable[Order], ledger: Ledger) -> dict[str, Finished]:
    """The finished runs among these from the ledger, by key."""
    found = {order.key: ledger.result(order.key) for order in orders}
    return {key: Finished(result, ledger.counts(key)) for key, result in found.items() if result is not None}


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
