"""The table of the arms: test scores next to published ones, and whether both put the arms in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from scipy import stats

from mtl.markdown import MISSING
from mtl.study.design.designs import ARMS
from mtl.study.design.pretraining import PRETRAINING_ARMS
from mtl.study.report.conclusions import OrderAgreement, mean_and_sd
from mtl.study.report.presentation import score, short
from mtl.study.statistics.findings import Findings, Gain

if TYPE_CHECKING:
    from rich.table import Table


class ArmLine(NamedTuple):
    """A line of the table.

    Args:
        target: The task.
        arm: Name of the arm.
        n: Number of seeds.
        mean: Mean test score over seeds.
        sd: Standard deviation over seeds.
        rank: Place of the mean among the arms of the target, from 1; None if it is unknown.
        gain: Difference from the first arm; None for the first arm.
        published: Published score in percent; None if there is none.
        published_rank: Place of the published score, from 1; None if there is none.
        source: Where it was published.
    """

    target: str
    arm: str
    n: int
    mean: float
    sd: float
    rank: int | None
    gain: Gain | None
    published: float | None
    published_rank: int | None
    source: str


def arm_lines(findings: Findings) -> list[ArmLine]:
    """The lines of the table, by target; empty without a design that compares arms with the first."""
    families = (findings.family(name) for name in (ARMS, PRETRAINING_ARMS))
    gains = {(gain.target, gain.partner): gain for family in families if family for gain in family.gains}
    lines = []
    for target in dict.fromkeys(one.target for one in findings.arms):
        arms = [one for one in findings.arms if one.target == target]
        cells = [mean_and_sd(one.scores) for one in arms]
        ranks = _ranks([mean for _, mean, _ in cells])
        published = _ranks([math.nan if one.published is None else one.published for one in arms])
        for one, cell, rank, published_rank in zip(arms, cells, ranks, published, strict=True):
            gain = gains.get((target, one.arm))
            lines.append(ArmLine(target, one.arm, *cell, rank, gain, one.published, published_rank, one.source))
    return lines


def order_agreements(findings: Findings) -> Iterator[OrderAgreement]:
    """The agreement with the published order, for each target with published scores of at least two arms."""
    for target in dict.fromkeys(one.target for one in findings.arms):
        lines = [line for line in arm_lines(findings) if line.target == target]
        both = [(line.mean, line.published) for line in lines if line.published is not None and line.n]
        if len(both) > 1:
            signs = [(one[0] - other[0]) * (one[1] - other[1]) for one, other in combinations(both, 2)]
            differing = [sign for sign in signs if sign]
            tau = float(stats.kendalltau(*zip(*both, strict=True)).statistic)
            yield OrderAgreement(target, len(both), len(differing), sum(sign > 0 for sign in differing), tau)


def arm_columns(findings: Findings) -> dict[str, list[Any]]:
    """The table as columns, for MLflow."""
    names = [name for name in ArmLine._fields if name != "gain"]
    lines = arm_lines(findings)
    return {name: [getattr(line, name) for line in lines] for name in names}


def arm_table(findings: Findings) -> Table:
    """The table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    made = Table("task", "arm", "score (SD)", "rank", "published, %", "rank", title="Arms", title_justify="left")
    for column in made.columns[2:]:
        column.justify = "right"
    for line in arm_lines(findings):
        text = f"{score(line.mean)} ({score(line.sd)})"
        published = MISSING if line.published is None else f"{line.published:.2f}"
        ranks = (MISSING if rank is None else str(rank) for rank in (line.rank, line.published_rank))
        made.add_row(Text(short(line.target)), Text(short(line.arm)), text, next(ranks), published, next(ranks))
    return made


def _ranks(values: Sequence[float]) -> list[int | None]:
    """The places from the highest value, which is 1; equal values share the best place, and NaN has none."""
    return [None if math.isnan(value) else 1 + sum(other > value for other in values) for value in values]
