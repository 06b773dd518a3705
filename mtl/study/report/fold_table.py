"""The table of a cross-validated study: scores of the predictions on all folds, and means over folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mtl.study.report.conclusions import mean_and_sd
from mtl.study.report.presentation import score, short
from mtl.study.statistics.findings import Findings

if TYPE_CHECKING:
    from rich.table import Table


class FoldLine(NamedTuple):
    """A line of the table: single-task scores of a target.

    Args:
        target: The task.
        n: Number of seeds.
        pooled: Mean over seeds of the score of all test folds together.
        pooled_sd: Its standard deviation over seeds.
        mean: Mean over seeds of the mean over folds.
        mean_sd: Its standard deviation over seeds.
    """

    target: str
    n: int
    pooled: float
    pooled_sd: float
    mean: float
    mean_sd: float


def fold_lines(findings: Findings) -> list[FoldLine]:
    """The lines of the table; empty without cross-validation."""
    return [FoldLine(one.target, *mean_and_sd(one.pooled), *mean_and_sd(one.means)[1:]) for one in findings.folds]


def fold_table(findings: Findings) -> Table:
    """The table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    made = Table("task", "all folds together (SD)", "mean of the folds (SD)", title="Folds", title_justify="left")
    for column in made.columns[1:]:
        column.justify = "right"
    for line in fold_lines(findings):
        cells = (f"{score(mean)} ({score(sd)})" for mean, sd in (line[2:4], line[4:6]))
        made.add_row(Text(short(line.target)), *cells)
    return made
