"""Checks of the annotation of a row from which relations are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from heads._text import describe
from heads.rows import Entity, Span, SpanRow


def check_span_row(row: SpanRow, labels: Sequence[str], level: Literal["mention", "concept"]) -> str | None:
    """The first problem of a row in the form "rule, got value", or None.

    Args:
        row: The row.
        labels: Allowed relation types.
        level: Whether relations join mentions or concepts.

    >>> row = SpanRow("1", "d", "Aspirin helps.", entities=(Entity("T1", "Drug", ((0, 17),)),))
    >>> check_span_row(row, ["treats", "none"], "mention")
    'an entity must have parts in text order and inside the text, got T1 at 0-17 in a text of 14 characters'
    """
    twice = [name for name, times in Counter(entity.id for entity in row.entities).items() if times > 1]
    if twice:
        return f"entity ids must be unique within a row, got {twice[0]} more than once"
    return _wrong_offsets(row) or _wrong_relation(row, labels, level)


def _wrong_offsets(row: SpanRow) -> str | None:
    length = len(row.text)
    for entity in row.entities:
        if not _in_order(entity.spans, length):
            rule = "an entity must have parts in text order and inside the text"
            return f"{rule}, got {entity.id} at {_wording(entity.spans)} in a text of {length} characters"
    for start, end in row.sentences or ():
        if not 0 <= start < end <= length:
            return f"a sentence must lie inside the text, got {start}-{end} in a text of {length} characters"
    return None


def _wrong_relation(row: SpanRow, labels: Sequence[str], level: Literal["mention", "concept"]) -> str | None:
    ids = _argument_ids(row.entities, level)
    for relation in row.relations:
        if relation.type is not None and relation.type not in labels:
            return f"the type of a relation must be one of: {', '.join(labels)}; got {describe(relation.type, labels)}"
        for argument in (relation.head, relation.tail):
            if argument not in ids:
                kind = "entities" if level == "mention" else "concepts"
                return f"a relation must join ids of {kind} of the row, got {describe(argument)}"
    return None


def _argument_ids(entities: Sequence[Entity], level: Literal["mention", "concept"]) -> set[str]:
    if level == "mention":
        return {entity.id for entity in entities}
    return {concept for entity in entities for concept in entity.concepts}


def _in_order(spans: Sequence[Span], length: int) -> bool:
    edges = [0, *(edge for span in spans for edge in span), length]
    return bool(spans) and edges == sorted(edges) and all(start < end for start, end in spans)


def _wording(spans: Sequence[Span]) -> str:
    return ", ".join(f"{start}-{end}" for start, end in spans) or "no position"
