"""A finished study in MLflow, for the fixture `finished`, and what tests ask MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

NAME = "kind's study"
"""With a quote, which means something in MLflow's queries."""

SEEDS = (0, 1)


class Finished(NamedTuple):
    """A study of `tests.five_tasks`.

    Args:
        folder: Working folder of the command, with MLflow's store.
        parent: MLflow's run of the study.
        nested: MLflow's runs of the trainings.
        findings: Content of the report's findings.json.
    """

    folder: Path
    parent: Any
    nested: list[Any]
    findings: dict[str, Any]

    @property
    def store(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def report(self) -> Path:
        return self.folder / "runs" / "studies" / NAME / "report"


def client(place: Path | str) -> Any:
    """A client of the server with this address, or of the store that is this file."""
    from mlflow import MlflowClient

    return MlflowClient(str(place) if "://" in str(place) else f"sqlite:///{place}")


def runs(place: Path | str, kind: str, study: str | None = None) -> list[Any]:
    """MLflow's runs of a kind, of one study where its name is given."""
    found = client(place)
    experiments = [experiment.experiment_id for experiment in found.search_experiments()]
    every = found.search_runs(experiments, f"tags.kind = '{kind}'")
    return [run for run in every if study in (None, run.data.tags["study"])]


def artifacts(place: Path | str, run: Any) -> set[str]:
    """The artifacts of a run, without folders' contents."""
    return {item.path for item in client(place).list_artifacts(run.info.run_id)}
