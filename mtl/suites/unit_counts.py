"""What the counts of a data set count: mentions, candidate pairs, sentences and so on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

from heads import Head, Row, SpanRow
from mtl.readers._parts import num_undivided

Unit = Literal[
    "mentions",
    "undivided_mentions",
    "labelled_words",
    "candidate_pairs",
    "positive_relations",
    "sentences",
    "sentence_pairs",
    "questions",
    "notes",
    "abstracts",
]


def count_units(unit: Unit, head: Head, rows: Collection[Row]) -> int:
    """The number of units in a split.

    Args:
        unit: What is counted.
        head: Head of the task, whose labels and candidate pairs count.
        rows: Rows of the split.
    """
    return _COUNTS[unit](head, rows)


def _mentions(head: Head, rows: Collection[Row]) -> int:
    return sum(sum(head.label_counts(row).values()) for row in rows)


def _undivided_mentions(head: Head, rows: Collection[Row]) -> int:
    """Mentions as they were before the reader divided discontinuous ones."""
    return sum(num_undivided(row.entities, head.labels) for row in rows if isinstance(row, SpanRow))


def _labelled_words(head: Head, rows: Collection[Row]) -> int:
    """Words of the source that a mention covers; a word in mentions of two types counts twice."""
    return sum(len(_covered(row, head)) for row in rows if isinstance(row, SpanRow))


def _covered(row: SpanRow, head: Head) -> set[tuple[str, int]]:
    return {
        (entity.type, index)
        for entity in row.entities
        if entity.type in head.labels
        for index, (start, end) in enumerate(row.words or ())
        if any(start < last and first < end for first, last in entity.spans)
    }


def _candidate_pairs(head: Head, rows: Collection[Row]) -> int:
    """Pairs that are classified, masked ones included. A sentence that already has placeholders is one pair."""
    pairing = head.pairing
    return sum(len(pairing.candidates(row)) if isinstance(row, SpanRow) and pairing is not None else 1 for row in rows)


def _positive_relations(head: Head, rows: Collection[Row]) -> int:
    return sum(n for row in rows for label, n in head.label_counts(row).items() if label != head.negative)


def _rows(head: Head, rows: Collection[Row]) -> int:
    return len(rows)


def _documents(head: Head, rows: Collection[Row]) -> int:
    return len({row.document for row in rows})


_COUNTS: Mapping[Unit, Callable[[Head, Collection[Row]], int]] = {
    "mentions": _mentions,
    "undivided_mentions": _undivided_mentions,
    "labelled_words": _labelled_words,
    "candidate_pairs": _candidate_pairs,
    "positive_relations": _positive_relations,
    "sentences": _rows,
    "sentence_pairs": _rows,
    "questions": _rows,
    "notes": _rows,
    "abstracts": _documents,
}
