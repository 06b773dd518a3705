"""Published scores of the arms of a study, from a table next to it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl.config.mixture import Mixture, TaskSpec, build_head
from mtl.evaluation.metric_variants import variants_of
from mtl.problems import InputError, Problem, did_you_mean


class PublishedArm(NamedTuple):
    """A published score of an arm.

    Args:
        task: Task of the study.
        arm: Arm of the study that corresponds to the published setting.
        variant: What the score is, of the variants of metrics: that of the task's primary metric.
        score: The score in percent.
        source: Where it was published.
    """

    task: str
    arm: str
    variant: str
    score: float
    source: str


def read_published_arms(file: Path, mixture: Mixture, arms: Collection[str]) -> tuple[PublishedArm, ...]:
    """The rows of a CSV table with the columns task, arm, variant, score (in percent) and source.

    Args:
        file: The table.
        mixture: The tasks of the study.
        arms: Names of its arms.

    Raises:
        InputError: The table cannot be read, or rows are invalid; the error lists all of them.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            header, *rows = csv.reader(lines)
    except OSError as error:
        message = f"'{file.name}' cannot be read: {error.strerror}."
        raise InputError(Problem("published", message, "Write its path relative to the study file.")) from None
    except ValueError:  # no line, or not UTF-8
        header, rows = [], []
    if tuple(header) != PublishedArm._fields:
        raise InputError(Problem(f"{file.name}:1", f"The columns must be {', '.join(PublishedArm._fields)}."))
    variants = {name: _variant(spec) for name, spec in mixture.tasks.items()}
    problems = [
        problem
        for number, row in enumerate(rows, start=2)
        for problem in _row_problems(f"{file.name}:{number}", row, variants, arms)
    ]
    if problems:
        raise InputError(problems)
    return tuple(PublishedArm(task, arm, variant, float(score), source) for task, arm, variant, score, source in rows)


def _row_problems(
    place: str, row: Sequence[str], variants: Mapping[str, str], arms: Collection[str]
) -> Iterator[Problem]:
    if len(row) != len(PublishedArm._fields):
        yield Problem(place, f"A row must have {len(PublishedArm._fields)} fields, got {len(row)}.")
        return
    task, arm, variant, score, source = row
    if task not in variants:
        yield Problem(place, f"There is no task '{task}'.", did_you_mean(task, variants))
    elif variant != variants[task]:
        message = f"'{task}' is scored by {variants[task]}, which cannot be compared with a score in '{variant}'."
        yield Problem(place, message, "Remove the row, or set primary_metric of the task.")
    if arm not in arms:
        yield Problem(place, f"There is no arm '{arm}'.", did_you_mean(arm, arms))
    if not source:
        yield Problem(place, "A published score must have a source.")
    if not _is_percent(score):
        yield Problem(place, f"The score must be a number of percent, got {score[:20]!r}.")


def _variant(spec: TaskSpec) -> str:
    """The variant of a task's primary metric; a metric without named variants is its own."""
    metric: str = build_head(spec, hidden_size=8).primary_metric
    return variants_of(spec.head, spec.options).get(metric, metric)


def _is_percent(score: str) -> bool:
    try:
        return -100 <= float(score) <= 100
    except ValueError:
        return False
