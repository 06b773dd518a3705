"""Reads studies from MLflow: the finished runs, and the findings of a study without ledger, data or training."""

from __future__ import annotations

import json
import posixpath
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mtl.problems import InputError, Problem
from mtl.study.design.run_spec import Finished
from mtl.study.running.ledger import read_counts
from mtl.study.statistics.analysis import findings_of
from mtl.study.statistics.findings import Findings
from mtl.tracking.mlflow_client import default_uri, open_store, prepare_mlflow, without_password
from mtl.tracking.outages import reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import RunInfo

STUDY, RUN = "study", "study_run"
"""Values of the tag `kind` of parent runs and of nested runs."""

DESCRIPTION = "study.json"
"""Artifact of the parent run that describes the study."""

FILES = ("result.json", "counts.npz")
"""Artifacts of a nested run, the same files as in the ledger."""

AT_ONCE = 8
"""Number of parallel downloads."""


class StudyReader:
    """A study as stored in MLflow.

    Args:
        study: Name of the study.
        uri: Where MLflow is; None takes MLflow's own setting, else `mlflow.db` in the working folder.
    """

    def __init__(self, study: str, uri: str | None = None) -> None:
        prepare_mlflow()
        self.study, self.uri = study, uri or default_uri()

    @cached_property
    def client(self) -> MlflowClient:
        """Client of the store; a missing store is created."""
        return open_store(self.uri)

    def runs(self, query: str) -> Iterator[Any]:
        """Yields the runs of all experiments that match an MLflow query."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        token = None
        while True:
            page = self.client.search_runs(experiments, query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def parent(self) -> Any:
        """Returns the parent run; None if there is none.

        The oldest one counts, so that drivers that create one at the same time all agree.
        """
        # Not by name in the query, because names may contain quotes.
        runs = [run for run in self.runs(f"tags.kind = '{STUDY}'") if run.data.tags["study"] == self.study]
        return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)

    def finished(self) -> dict[str, RunInfo]:
        """Returns where MLflow has the finished runs of all studies, by key."""
        found = self.runs(f"tags.kind = '{RUN}' and attributes.status = 'FINISHED'")
        return {run.data.tags["key"]: run.info for run in found}

    def known_description(self) -> dict[str, Any]:
        """Returns the last description of the study; empty if there is none."""
        parent = self.parent()
        if parent is None:
            return {}
        with TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent.info.run_id, DESCRIPTION, folder)
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            return content

    def description(self) -> dict[str, Any]:
        """Returns the description of the study.

        Raises:
            InputError: MLflow has no such study.
        """
        if found := self.known_description():
            return found
        names = sorted({run.data.tags["study"] for run in self.runs(f"tags.kind = '{STUDY}'")})
        message = f"MLflow at {without_password(self.uri)} has no study '{self.study}'."
        raise InputError(Problem("study", message, f"Available studies: {', '.join(names) or 'none'}."))

    def results(self, keys: Iterable[str]) -> dict[str, Finished]:
        """Returns the finished runs among these keys; runs whose artifacts cannot be read are reported and omitted."""
        there = self.finished()
        wanted = {key: there[key] for key in keys if key in there}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = zip(wanted, pool.map(self.result, wanted.values()), strict=True)
            return {key: result for key, result in found if result is not None}

    def result(self, run: RunInfo) -> Finished | None:
        """Returns the result of a finished run; None, after a message, if its artifacts cannot be read."""
        from mlflow.artifacts import download_artifacts

        try:
            with TemporaryDirectory() as folder:
                # By address: given an id, MLflow looks the run up for each file, which takes longer than the download.
                places = [posixpath.join(run.artifact_uri, name) for name in FILES]
                files = [Path(download_artifacts(place, dst_path=folder, tracking_uri=self.uri)) for place in places]
                return Finished(json.loads(files[0].read_text(encoding="utf-8")), read_counts(files[1]))
        except Exception as error:  # a problem with one run must not affect the others
            message = f"The artifacts of MLflow run {run.run_id} cannot be read ({reason(error)})."
            sys.stderr.write(f"mtl: study: {message}\n")
            return None


def read_study(name: str, uri: str | None = None) -> Findings:
    """Returns the findings of a study from its finished runs.

    Args:
        name: Name of the study.
        uri: Where MLflow is; None takes MLflow's own setting, else `mlflow.db` in the working folder.

    Raises:
        InputError: MLflow has no such study.
    """
    reader = StudyReader(name, uri)
    description = reader.description()
    return findings_of(description, reader.results(description["runs"]))
