"""Scores of groups of rows at the end of an evaluation: for the terminal, for `metrics.json` and for MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtl.evaluation.resampling_units import units_of_split
from mtl.evaluation.subgroups import MOST_GROUPS, FieldScores, GroupScores, scores_by_group
from mtl.hashed_ids import are_hashed, shown_id
from mtl.markdown import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from mtl.batching.data_module import MixtureData
    from mtl.evaluation.predictions import PredictionFiles

DECIDES_RESULTS = False

_NOT_IN_NAMES = re.compile(r"[^\w.\- :]")
"""Characters that MLflow does not allow in names of metrics, and those that would divide a name."""


def groups_of(data: MixtureData, split: str, kept: PredictionFiles | None) -> dict[str, list[FieldScores]]:
    """The scores of each task by `evaluation.groups`, without fields that its rows do not have.

    Args:
        data: The data of the run.
        split: Split that was evaluated.
        kept: The predictions of this evaluation; None if they were not kept, which gives no scores.
    """
    spec = data.mixture.evaluation
    if kept is None or not spec.groups:
        return {}
    units = units_of_split(data.tasks, split, spec.unit)
    found: dict[str, list[FieldScores]] = {}
    for task, head in data.heads.items():
        content = data.tasks[task].get(split)
        if content is None:
            continue
        predictions = dict(kept.records(task))
        fields = [
            scores_by_group(head, content.rows, predictions, field, min_rows=spec.min_group_rows, units=units[task])
            for field in spec.groups
        ]
        known = [one for one in fields if one.num_values]
        found |= {task: known} if known else {}
    return found


def group_table(groups: Mapping[str, Sequence[FieldScores]]) -> Table:
    """A table of the primary metric by group, and its largest gap."""
    from rich.table import Table

    table = Table("task", "group", "metric", title="groups")
    for name in ("rows", "documents", "units", "score", "95% interval"):
        table.add_column(name, justify="right")
    for task, fields in groups.items():
        for one in fields:
            _add_field(table, task, one)
    return table


def _add_field(table: Table, task: str, one: FieldScores) -> None:
    from rich.text import Text

    for name, group in one.groups.items():
        interval = group.intervals.get(one.metric)
        shown = MISSING if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
        sizes = map(str, _sizes(group))
        value = "undefined" if one.metric in group.undefined else f"{group.result.scores[one.metric]:.3f}"
        table.add_row(task, Text(f"{one.field}: {_shared(name)}"), one.metric, *sizes, value, shown)
    for name, num_rows in one.small.items():
        cells = (one.metric, f"{num_rows}", MISSING, MISSING, MISSING, "too few rows")
        table.add_row(task, Text(f"{one.field}: {_shared(name)}"), *cells)
    if one.num_without:
        table.add_row(task, Text(f"{one.field}: none"), "", f"{one.num_without}", MISSING, MISSING, MISSING, "no value")
    if one.metric in (gaps := one.gaps()):
        gap = gaps[one.metric]
        which = Text(f"{_shared(gap.lowest)} to {_shared(gap.highest)}")
        table.add_row(task, Text(f"{one.field}: largest gap"), one.metric, "", "", "", f"{gap.size:.3f}", which)


def group_columns(fields: Iterable[FieldScores]) -> dict[str, list[Any]]:
    """The scores of a task by group as columns: a line for each field, group and metric."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("field", "group", "rows", "documents", "units", "metric", "value", "low", "high")
    }
    for one in fields:
        for name, group in one.groups.items():
            for metric, value in group.result.scores.items():
                interval = group.intervals.get(metric)
                ends = (None, None) if interval is None else (interval.low, interval.high)
                number = None if metric in group.undefined else value
                cells = (one.field, _shared(name), *_sizes(group), metric, number, *ends)
                for column, cell in zip(columns, cells, strict=True):
                    columns[column].append(cell)
    return columns


def _sizes(group: GroupScores) -> tuple[int, int, int]:
    """The numbers of rows, of documents and of the units that intervals resample."""
    return group.result.num_rows, len(group.result.documents), group.num_units


def group_metrics(prefix: str, fields: Iterable[FieldScores]) -> dict[str, float]:
    """The primary metric by group and its largest gap, as numbers for the loggers.

    >>> group_metrics("test/notes", [FieldScores("site", "f1", {}, {"A": 3}, 0, 1)])
    {}
    """
    found: dict[str, float] = {}
    for one in fields:
        place = f"{prefix}/by_{_name(one.field)}"
        scores = {_name(_shared(name)): group.result.scores for name, group in one.groups.items()}
        found |= {f"{place}/{name}/{one.metric}": own[one.metric] for name, own in scores.items()}
        found |= {f"{place}/gap/{name}": gap.size for name, gap in one.gaps().items() if name == one.metric}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def group_cautions(wanted: Iterable[str], groups: Mapping[str, Sequence[FieldScores]]) -> list[str]:
    """What is wrong with the fields of `evaluation.groups`, in words."""
    fields = [(task, one) for task, own in groups.items() for one in own]
    missing = [field for field in wanted if field not in {one.field for _, one in fields}]
    found = [
        f"evaluation.groups: no row has '{field}' in its meta; name it in the `meta` of the reader."
        for field in missing
    ]
    return found + [
        f"evaluation.groups: '{one.field}' has {one.num_values} values in {task}, more than {MOST_GROUPS}: no groups."
        for task, one in fields
        if one.num_values > MOST_GROUPS
    ]


def _shared(name: str) -> str:
    """The name of a group as it leaves the folder of a run; with hashed ids it may be that of a patient."""
    return shown_id(name) if are_hashed() else name


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)
