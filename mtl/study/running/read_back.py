"""A study's findings from MLflow alone: no ledger, no data, and nothing to train."""

from __future__ import annotations

from mtl.study.running.study_tracker import StudyTracker
from mtl.study.statistics.analysis import find
from mtl.study.statistics.findings import Findings


def read_study(name: str, uri: str | None = None) -> Findings:
    """What the finished runs of a study support.

    Args:
        name: Of the study.
        uri: Where MLflow is; None takes what MLflow was told, else `mlflow.db` in the working folder.

    Raises:
        InputError: MLflow has no such study.
    """
    tracker = StudyTracker(name, uri=uri)
    description = tracker.description()
    return find(description, tracker.results(description["runs"]))
