"""Scores of models on a suite, next to published scores with the same variant.

A published score is next to ours only if its variant is that of the column and its line does not set it apart. All
others are listed apart, with the reason. All scores are in percent.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mtl.suites.aggregate import SuiteScore, suite_score
from mtl.suites.published import PublishedScore
from mtl.suites.suite_spec import SuiteSpec


class SeedScore(NamedTuple):
    """A score of one training.

    Args:
        model: Name of the model.
        task: Name of the task.
        variant: Metric variant.
        seed: Seed of the training.
        value: The score as the head computes it, 1 for a perfect one.
    """

    model: str
    task: str
    variant: str
    seed: int
    value: float


class ScoreColumn(NamedTuple):
    """What the scores below each other have in common."""

    task: str
    variant: str


class ScoreCell(NamedTuple):
    """A score over seeds.

    Args:
        mean: Mean in percent.
        sd: Standard deviation over seeds (n - 1), in percent; None for one seed, or if it is not stated.
        seeds: Number of seeds; None if it is not stated.
        secondary: Whether a published score was not read where those who measured it print it.
    """

    mean: float
    sd: float | None
    seeds: int | None
    secondary: bool = False


class ModelScores(NamedTuple):
    """The scores of one model.

    Args:
        model: Name of the model.
        source: Key of its publication; None for ours.
        cells: Scores by column; columns without a score are left out.
        suite: Its score on the suite, from those of the tasks' own variants.
    """

    model: str
    source: str | None
    cells: dict[ScoreColumn, ScoreCell]
    suite: SuiteScore


class Apart(NamedTuple):
    """A published score that cannot be compared with ours, with the reason."""

    score: PublishedScore
    reason: str


class SuiteComparison(NamedTuple):
    """A table of models and tasks.

    Args:
        columns: Tasks with their variants, in the order of the suite.
        ours: Lines of our models, in the order in which their scores come.
        published: Lines of published models.
        apart: Published scores that are in no line.
    """

    columns: tuple[ScoreColumn, ...]
    ours: tuple[ModelScores, ...]
    published: tuple[ModelScores, ...]
    apart: tuple[Apart, ...]


def compare(spec: SuiteSpec, scores: Iterable[SeedScore], published: Sequence[PublishedScore]) -> SuiteComparison:
    """The table of a suite.

    Args:
        spec: The suite.
        scores: Scores of our models.
        published: Published scores.

    Raises:
        ValueError: A score of ours is of no column, or is given twice.
    """
    columns = columns_of(spec)
    ours = [ModelScores(m, None, cells, _suite_score(spec, cells)) for m, cells in _cells(columns, scores).items()]
    by_model: dict[tuple[str, str], list[PublishedScore]] = defaultdict(list)
    apart = []
    for one in published:
        if one.apart:
            apart.append(Apart(one, one.apart))
        elif ScoreColumn(one.task, one.variant) in columns:
            by_model[one.source, one.model].append(one)
        elif one.task != spec.name:
            ours_are = " and ".join(spec.tasks[one.task].variants)
            apart.append(Apart(one, f"its variant is {one.variant}, not {ours_are}"))
    lines = [_published_line(spec, *place, found) for place, found in by_model.items()]
    is_complete = {(line.source, line.model): line.suite.score.is_complete for line in lines}
    apart += [
        Apart(one, "not all scores that it is the mean of have our variants")
        for one in published
        if one.task == spec.name and not one.apart and not is_complete.get((one.source, one.model), False)
    ]
    return SuiteComparison(columns, tuple(ours), tuple(lines), tuple(apart))


def columns_of(spec: SuiteSpec) -> tuple[ScoreColumn, ...]:
    """The tasks of a suite with each of their variants."""
    return tuple(ScoreColumn(name, variant) for name, task in spec.tasks.items() for variant in task.variants)


def _cells(columns: Sequence[ScoreColumn], scores: Iterable[SeedScore]) -> dict[str, dict[ScoreColumn, ScoreCell]]:
    """The mean over seeds, by model and column."""
    found: dict[str, dict[ScoreColumn, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        column = ScoreColumn(score.task, score.variant)
        if column not in columns:
            raise ValueError(f"the suite has no score {score.variant} of the task {score.task}")
        if score.seed in found[score.model][column]:
            raise ValueError(f"the task {score.task} has two scores of {score.model} with seed {score.seed}")
        found[score.model][column][score.seed] = 100 * score.value
    return {
        model: {column: _cell(list(own[column].values())) for column in columns if column in own}
        for model, own in found.items()
    }


def _cell(values: Sequence[float]) -> ScoreCell:
    return ScoreCell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _published_line(spec: SuiteSpec, source: str, model: str, found: Sequence[PublishedScore]) -> ModelScores:
    cells = {
        ScoreColumn(one.task, one.variant): ScoreCell(
            float(one.score), None if one.sd is None else float(one.sd), one.seeds, one.secondary
        )
        for one in found
    }
    return ModelScores(model, source, cells, _suite_score(spec, cells))


def _suite_score(spec: SuiteSpec, cells: Mapping[ScoreColumn, ScoreCell]) -> SuiteScore:
    own = {
        column.task: cell.mean for column, cell in cells.items() if column.variant == spec.tasks[column.task].variant
    }
    return suite_score(spec, own)
