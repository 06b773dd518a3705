"""Rows with weak labels: which of them are used, with which weight, and that none of them is scored.

A label is gold if its row has no `source`, or one that is said to be gold. In train, the rows of a source may be
weighed and need a minimum score. In dev and test, only gold counts: rows with weak labels are left out and counted, and
gold rows have neither weights nor soft labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from heads import Row, TextRow

if TYPE_CHECKING:
    from mtl.config.mixture import LabelSourceSpec

DECIDES_RESULTS = False


class WeakLabels:
    """The rule of one split, with its counts.

    Args:
        sources: How the rows of each source are used; sources that are not named have the weight 1 and need no score.
        is_train: Whether the split is train; otherwise its rows are scored.
    """

    def __init__(self, sources: Mapping[str, LabelSourceSpec], *, is_train: bool) -> None:
        self._sources, self._is_train = sources, is_train
        self.left_out: Counter[str] = Counter()
        """Rows that were left out, by reason."""
        self.kept: Counter[str] = Counter()
        """Rows with a source that were kept, by source."""
        self.met: set[str] = set()
        """The sources of all rows."""

    def applied(self, row: Row) -> Row | None:
        """The row as it is used; None if it is left out."""
        if row.source is not None:
            self.met.add(row.source)
        if not self._is_train:
            return self._scored(row)
        if row.source is None:
            return row
        rule = self._sources.get(row.source)
        if rule is not None and rule.min_score is not None and (row.score is None or row.score < rule.min_score):
            why = "without a score" if row.score is None else "below the minimum score"
            self.left_out[f"weak labels {why}"] += 1
            return None
        self.kept[row.source] += 1
        return row if rule is None else replace(row, weight=row.weight * rule.weight)

    def _scored(self, row: Row) -> Row | None:
        rule = None if row.source is None else self._sources.get(row.source)
        has_gold = row.source is None or (rule is not None and rule.gold)
        if not has_gold or (isinstance(row, TextRow) and row.label is None and row.probabilities is not None):
            self.left_out["weak labels, which are not scored"] += 1
            return None
        row = replace(row, weight=1.0)
        return replace(row, probabilities=None)
