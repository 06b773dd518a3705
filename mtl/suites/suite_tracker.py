"""A suite in MLflow: one run with the report, the scores as a table and as metrics, and the results of each model.

The trainings are in MLflow as the runs of studies, in the same experiment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mtl.redaction import reason
from mtl.suites.model_results import ModelResults
from mtl.suites.suite_studies import EXPERIMENT
from mtl.tracking.mlflow_client import creation_lock, default_uri, find_experiment, open_store, prepare_mlflow
from mtl.tracking.mlflow_run import MLflowRun, Number, mlflow_table
from mtl.tracking.outages import is_refusal
from mtl.tracking.parent_run import ParentRun

SUITE = "suite"
"""Value of the tag `kind`."""

MODELS = "models"
"""Folder of the artifacts with the results of the models."""


class SuiteTracker(ParentRun):
    """Sends the report of a suite to MLflow, and reads the results of models. Problems with MLflow stop nothing.

    Args:
        suite: Name of the suite.
        uri: Where MLflow is; None takes MLflow's own setting, else `mlflow.db` in the working folder.
    """

    def __init__(self, suite: str, uri: str | None = None) -> None:
        prepare_mlflow()
        self._suite = suite
        super().__init__("suite", uri or default_uri(), "Results are on disk; the next report sends them again.")

    def report(
        self,
        metrics: Mapping[str, float],
        columns: Mapping[str, Sequence[Any]],
        means: Mapping[str, Any],
        files: Sequence[Path],
        models: Sequence[ModelResults],
        *,
        note: str,
    ) -> None:
        """Queues a report, and the end of the run.

        Args:
            metrics: Metrics by name.
            columns: Scores as columns of a table.
            means: Scores of the suite and its groups by model, with the numbers of tasks that have scores.
            files: Files of the report.
            models: Results of the models.
            note: Description of the run, in Markdown.
        """
        now = int(time.time() * 1000)
        numbers = [Number(name, value, now, 0) for name, value in metrics.items()]

        def send(run: MLflowRun) -> None:
            run.log_metrics(numbers)
            run.log_table(mlflow_table(columns), "scores.json")
            run.log_json(dict(means), "means.json")
            for file in files:
                run.log_file(file)
            for one in models:
                run.log_json(one.to_dict(), f"{MODELS}/{one.file_name}")
            run.set_tags({"mlflow.note.content": note})
            run.end("FINISHED")

        self._put("report", send)

    def models(self) -> list[ModelResults]:
        """The results of the models that MLflow has, none if it has none or cannot be read."""
        try:
            return list(self._models())
        except Exception as error:  # stores raise different errors
            if is_refusal(error):
                self._outages.say(f"MLflow at {self._outages.place} cannot answer ({reason(error)}).")
            else:
                self._outages.lost(error)
            return []

    def _models(self) -> Iterator[ModelResults]:
        client = open_store(self._uri)
        for run in self._runs(client):
            for artifact in client.list_artifacts(run.info.run_id, MODELS):
                with TemporaryDirectory() as folder:
                    path = Path(client.download_artifacts(run.info.run_id, artifact.path, folder))
                    yield ModelResults.from_dict(json.loads(path.read_text(encoding="utf-8")))

    def _runs(self, client: Any) -> list[Any]:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        found = client.search_runs([experiment.experiment_id], f"tags.kind = '{SUITE}'", order_by=["start_time"])
        return [run for run in found if run.data.tags["suite"] == self._suite]

    def _connect(self) -> MLflowRun:
        """Finds the run of the suite, or creates it."""
        client = open_store(self._uri)
        with creation_lock(self._uri):
            experiment = find_experiment(client, EXPERIMENT, self._uri)
            found = self._runs(client)
            tags = {"kind": SUITE, "suite": self._suite, "mlflow.source.name": "mtl"}
            run = found[0] if found else client.create_run(experiment, run_name=self._suite, tags=tags)
        self._parent = MLflowRun(client, run)
        return self._parent
