"""The table of `refine_finetune`: test scores before and after its stages, by task and as means over tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mtl.study.report.conclusions import mean_and_sd
from mtl.study.report.presentation import score
from mtl.study.statistics.findings import Findings

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS: Mapping[str, str] = {
    "single": "single-task",
    "refined": "refined",
    "refined_alone": "as many updates alone",
    "finetuned": "fine-tuned",
    "finetuned_alone": "as many updates alone, in two stages",
}
"""The fields of `StageScores` with their headings."""


class StageCell(NamedTuple):
    """The score of one training: number of seeds, mean and standard deviation."""

    n: int
    mean: float
    sd: float


class StageLine(NamedTuple):
    """A line of the table.

    Args:
        name: Name of the task or the mean; a mean that lacks tasks is named incomplete.
        metric: Metric of the task; empty for a mean.
        cells: Scores by the names of `COLUMNS`.
        is_complete: Whether no task of a mean is left out.
    """

    name: str
    metric: str
    cells: Mapping[str, StageCell]
    is_complete: bool = True


def stage_lines(findings: Findings) -> list[StageLine]:
    """The lines of the table: the tasks, then the means over tasks; empty if the study has no `refine_finetune`."""
    tasks = [
        StageLine(one.target, findings.targets[one.target].metric, {c: _cell(getattr(one, c)) for c in COLUMNS})
        for one in findings.stages
    ]
    return [*tasks, *_means(findings)] if tasks else []


def stage_columns(findings: Findings) -> dict[str, list[Any]]:
    """The table as columns, for MLflow; unknown numbers are NaN."""
    found = stage_lines(findings)
    columns: dict[str, list[Any]] = {"row": [line.name for line in found], "metric": [line.metric for line in found]}
    for name in COLUMNS:
        cells = [line.cells[name] for line in found]
        columns |= {f"{name}_{field}": [getattr(cell, field) for cell in cells] for field in StageCell._fields}
    return columns


def stage_metrics(findings: Findings) -> dict[str, float]:
    """Mean scores for MLflow: ``<column>/<task>``, and ``average/<name>/<column>`` of complete means."""
    found: dict[str, float] = {}
    for line in stage_lines(findings):
        if line.metric:
            found |= {f"{name}/{line.name}": cell.mean for name, cell in line.cells.items()}
        elif line.is_complete:
            found |= {f"average/{line.name}/{name}": cell.mean for name, cell in line.cells.items()}
    return found


def stage_table(findings: Findings) -> Table:
    """The table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    made = Table("task", *COLUMNS.values(), title="Test scores, mean (SD) over seeds", title_justify="left")
    for column in made.columns[1:]:
        column.justify = "right"
    for line in stage_lines(findings):
        cells = (f"{score(cell.mean)} ({score(cell.sd)})" for cell in line.cells.values())
        made.add_row(Text(line.name), *cells)
    return made


def _means(findings: Findings) -> Iterator[StageLine]:
    scores = {one.target: one for one in findings.stages}
    for name, tasks in findings.averages.items():
        present = [task for task in tasks if task in scores]
        cells = {}
        for column in COLUMNS:
            by_task = np.array([getattr(scores[task], column) for task in present])  # [T, S]
            cells[column] = _cell(by_task.mean(axis=0).tolist() if present else [])
        is_complete = len(present) == len(tasks)
        which = f", mean of {', '.join(present)}" if present else ""
        label = name if is_complete else f"{name}: incomplete ({len(present)} of {len(tasks)} tasks){which}"
        yield StageLine(label, "", cells, is_complete)


def _cell(scores: Any) -> StageCell:
    return StageCell(*mean_and_sd(scores))
