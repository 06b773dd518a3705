"""Scores of groups of rows, such as those of one site, sex or year, and the gaps between groups.

The groups of a field are the values that a key of the rows' `meta` has. Each is scored like the whole split, from the
same predictions and with the same counts, so the counts of groups of whole documents add up to those of the whole.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from heads import Head, Prediction, Row
from heads.scores import undefined_as
from mtl.evaluation.baselines import usable_rows
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.intervals import ScoreInterval, score_intervals
from mtl.evaluation.resampling_units import Units
from mtl.evaluation.scoring import score_rows
from mtl.files import finite

DECIDES_RESULTS = False

MOST_GROUPS = 50
"""A field with more values has no groups: it may be an identifier or free text, which must not become a name."""


class GroupScores(NamedTuple):
    """The scores of one group.

    Args:
        result: Scores and counts per document.
        intervals: 95% intervals of the scores.
        num_units: Number of documents, or of the patients or other units that are resampled instead.
        undefined: The metrics that its rows leave undefined, such as the F1 of mentions where there are none. Their
            scores are NaN, and they have no interval.
    """

    result: TaskResult
    intervals: Mapping[str, ScoreInterval]
    num_units: int
    undefined: frozenset[str] = frozenset()


class Gap(NamedTuple):
    """The largest difference of a metric between two groups.

    Args:
        size: The difference.
        lowest: The group with the lowest value.
        highest: The group with the highest value.
    """

    size: float
    lowest: str
    highest: str


class FieldScores(NamedTuple):
    """The scores of a task by the groups of one field.

    Args:
        field: Key of `meta`.
        metric: Primary metric of the task.
        groups: Scores of each group that is large enough, in the order of the names.
        small: Number of rows of each group that is not.
        num_without: Number of rows that have no value.
        num_values: Number of values; with more than `MOST_GROUPS`, there are neither groups nor small ones.
    """

    field: str
    metric: str
    groups: Mapping[str, GroupScores]
    small: Mapping[str, int]
    num_without: int
    num_values: int

    def gaps(self) -> dict[str, Gap]:
        """The largest gap of each metric between two groups, without metrics that fewer than two groups define."""
        names = dict.fromkeys(name for one in self.groups.values() for name in one.result.scores)
        found = {name: self._gap(name) for name in names}
        return {name: gap for name, gap in found.items() if gap is not None}

    def _gap(self, metric: str) -> Gap | None:
        values = {group: one.result.scores[metric] for group, one in self.groups.items() if metric not in one.undefined}
        if len(values) < 2:
            return None
        lowest, highest = min(values, key=values.__getitem__), max(reversed(values), key=values.__getitem__)
        return Gap(values[highest] - values[lowest], lowest, highest)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the counts as JSON types."""
        groups = {
            name: {
                "rows": one.result.num_rows,
                "documents": len(one.result.documents),
                "units": one.num_units,
                "scores": finite(one.result.scores),
                "intervals": {metric: interval._asdict() for metric, interval in one.intervals.items()},
            }
            for name, one in self.groups.items()
        }
        return {
            "groups": groups,
            "small": dict(self.small),
            "without": self.num_without,
            "values": self.num_values,
            "gaps": {metric: gap._asdict() for metric, gap in self.gaps().items()},
        }


def scores_by_group(
    head: Head,
    rows: Iterable[Row],
    predictions: Mapping[str, Prediction],
    field: str,
    *,
    min_rows: int,
    units: Units | None = None,
) -> FieldScores:
    """The scores of a task by the groups of a field.

    Args:
        head: Head of the task.
        rows: Rows of the split; those without gold are left out.
        predictions: Predictions by row id; rows without one are left out.
        field: Key of `meta`.
        min_rows: Number of rows below which a group is not scored.
        units: The unit of each document for the intervals; None resamples documents.
    """
    of_group: defaultdict[str, list[Row]] = defaultdict(list)
    num_without = 0
    for row in usable_rows(head, rows):
        if row.id not in predictions:
            continue
        value = row.meta.get(field, "")
        if value:
            of_group[value].append(row)
        else:
            num_without += 1
    shown = of_group if len(of_group) <= MOST_GROUPS else {}
    results = {
        name: score_rows(head, ((row, predictions[row.id]) for row in shown[name]))
        for name in sorted(shown)
        if len(shown[name]) >= min_rows
    }
    return FieldScores(
        field,
        head.primary_metric,
        {name: _group_scores(head, result, units) for name, result in results.items()},
        {name: len(shown[name]) for name in sorted(shown) if name not in results},
        num_without,
        len(of_group),
    )


def _group_scores(head: Head, result: TaskResult, units: Units | None) -> GroupScores:
    with undefined_as(1.0):
        others = head.score(head.combined(result.counts))
    missing = frozenset(name for name, value in result.scores.items() if others.get(name, value) != value)
    scores = {name: math.nan if name in missing else value for name, value in result.scores.items()}
    intervals = score_intervals(head, result, units=units)
    known = {name: interval for name, interval in intervals.items() if name not in missing}
    documents = result.documents
    num_units = len(documents if units is None else {units[document] for document in documents})
    return GroupScores(dataclasses.replace(result, scores=scores), known, num_units, missing)
