"""Calibrates tasks of a finished run on dev, checks them on test, and keeps both in the run's folder and in MLflow.

    calibration.json                     temperatures and all numbers, for one checkpoint
    metrics.json                         the numbers, under `calibration`
    artifacts/calibration/<task>.png     the reliability diagram of a run that is tracked

In MLflow, the metrics of the run are called ``calibration/<task>/<measure>_before`` and ``…_after``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mtl.calibration.outcomes import num_outcomes
from mtl.calibration.reliability_figure import reliability_figure
from mtl.calibration.saved import save_calibration
from mtl.calibration.task_calibration import TaskCalibration, calibrated, pooled
from mtl.calibration.temperature import known_mask
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.evaluation.resampling_units import unit_numbers, units_of
from mtl.problems import InputError, Problem
from mtl.tracking.tracker import MLflowTracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heads import Decisions
    from mtl.data.examples import SplitData
    from mtl.prediction.finished_run import FinishedRun


def calibrate(run: FinishedRun, tasks: Sequence[str] | None = None) -> dict[str, TaskCalibration]:
    """Fits the temperature of tasks on dev, and measures probabilities on test before and after.

    Args:
        run: The run.
        tasks: Names of the tasks; None takes all tasks with probabilities.

    Raises:
        InputError: There is no such task, or a task has no probabilities or no gold on dev.
    """
    names = list(dict.fromkeys(tasks)) if tasks else [n for n in run.mixture.tasks if run.head(n).has_probabilities]
    for name in names:
        run.require(name)
    problems = [problem for name in names if (problem := _problem(run, name)) is not None]
    if not names:
        problems = [Problem("RUN", "has no task with probabilities.", "Regression and generation have none.")]
    if problems:
        raise InputError(problems)
    found = {name: _calibrated(run, name) for name in names}
    save_calibration(run.folder, run.model.checkpoint, found)
    run.folder.write_metrics("calibration", {name: one.metrics() for name, one in found.items()})
    _track(run, found)
    return found


def _problem(run: FinishedRun, task: str) -> Problem | None:
    if not run.head(task).has_probabilities:
        message = f"The task '{task}' has the head '{run.mixture.tasks[task].head}', which gives no probabilities."
        return Problem(f"tasks.{task}.head", message, "Leave it out with --task.")
    return None if "dev" in _splits(run, task) else Problem(f"tasks.{task}.data", "has no split dev.", _ADVICE)


_ADVICE = "Temperatures are fitted on dev: add labelled rows for it, or leave the task out with --task."


def _splits(run: FinishedRun, task: str) -> set[str]:
    return set(read_rows(run.mixture.tasks[task].data, f"tasks.{task}.data", Store()))


def _calibrated(run: FinishedRun, task: str) -> TaskCalibration:
    head, content = run.head(task), run.split(task, "dev")
    # Predictions have a place for sets where a text has one label, not for those of pairs of mentions or of mentions.
    has_sets = head.pairing is None and head.labelling is None
    dev = _decisions(run, task, content)
    if not dev.num_rows:
        message = "has no annotated row on dev."
        raise InputError(Problem(f"tasks.{task}.data", message, _ADVICE))
    if "test" not in _splits(run, task):
        found = calibrated(pooled(dev.by_row), dev.num_rows, None, has_sets=has_sets)
    else:
        content = run.split(task, "test")
        units = units_of(content.rows, run.mixture.evaluation.unit, f"{task}, test")
        test = _decisions(run, task, content)
        numbers = np.repeat(unit_numbers(test.documents, units), [num_outcomes(one) for one in test.by_row])
        of_test = pooled(test.by_row) if test.num_rows else None
        found = calibrated(pooled(dev.by_row), dev.num_rows, of_test, numbers, has_sets=has_sets)
    return replace(found, thresholds=head.calibrated_thresholds(found.temperature))


class _Found(NamedTuple):
    """The decisions in a split by row, the document of each row, and the number of rows that have some with gold."""

    by_row: list[Decisions]
    documents: list[str]
    num_rows: int


def _decisions(run: FinishedRun, task: str, content: SplitData) -> _Found:
    head = run.head(task)
    outputs = [one for one in run.outputs(task, content) if head.is_labelled(one.row)]
    found = [head.decisions(*one) for one in outputs]
    num_rows = sum(bool(known_mask(one).any()) for one in found)
    return _Found(found, [one.row.document for one in outputs], num_rows)


def _track(run: FinishedRun, found: Mapping[str, TaskCalibration]) -> None:
    """Adds the numbers and diagrams to the run in MLflow, if it was tracked."""
    tracker = MLflowTracker.reopened(run.folder)
    if tracker is None:
        return
    for task, one in found.items():
        prefix = f"calibration/{task}"
        tracker.log_metrics({f"{prefix}/{name}": value for name, value in one.metrics().items()}, step=0)
        if one.before is not None and one.after is not None:
            tracker.log_figure(reliability_figure(one.before, one.after, f"{task}, test"), f"{prefix}.png")
    tracker.finalize("success")
