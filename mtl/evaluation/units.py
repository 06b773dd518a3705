"""The unit of a split: the change of a score below which a difference means nothing."""

from __future__ import annotations

from collections.abc import Iterable

from heads import Head, Row
from mtl.evaluation.baselines import usable_rows

DECIDES_RESULTS = False


def unit_of(head: Head, rows: Iterable[Row]) -> float:
    """One unit of a split: 1 / N, where N is the number of its gold labels.

    Gold labels are labelled texts, mentions or candidate pairs, as the head counts them, and labelled texts for
    numbers. For accuracy this is exactly the change due to one more correct prediction. For F1, one mention more or
    less changes the score by about as much. A correlation has no smallest change, so the same convention is used.

    Args:
        head: Head of the task.
        rows: Rows of the split.

    Returns:
        The unit, or NaN without any gold label.
    """
    usable = usable_rows(head, rows)
    number = sum(sum(head.label_counts(row).values()) for row in usable) or len(usable)
    return 1 / number if number else float("nan")
