"""Checks of the mentions and sentences of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from heads.rows import Span, SpanRow


def check_mentions(row: SpanRow) -> str | None:
    """The first problem of the entities and sentences of a row in the form "rule, got value", or None.

    >>> from heads.rows import Entity
    >>> check_mentions(SpanRow("1", "d", "Aspirin helps.", entities=(Entity("T1", "Drug", ((0, 17),)),)))
    'an entity must have parts in text order and inside the text, got T1 at 0-17 in a text of 14 characters'
    """
    twice = [name for name, times in Counter(entity.id for entity in row.entities).items() if times > 1]
    if twice:
        return f"entity ids must be unique within a row, got {twice[0]} more than once"
    length = len(row.text)
    for entity in row.entities:
        if not _in_order(entity.spans, length):
            rule = "an entity must have parts in text order and inside the text"
            return f"{rule}, got {entity.id} at {_wording(entity.spans)} in a text of {length} characters"
    for start, end in row.sentences or ():
        if not 0 <= start < end <= length:
            return f"a sentence must lie inside the text, got {start}-{end} in a text of {length} characters"
    return None


def _in_order(spans: Sequence[Span], length: int) -> bool:
    edges = [0, *(edge for span in spans for edge in span), length]
    return bool(spans) and edges == sorted(edges) and all(start < end for start, end in spans)


def _wording(spans: Sequence[Span]) -> str:
    return ", ".join(f"{start}-{end}" for start, end in spans) or "no position"
