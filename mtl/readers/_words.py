"""Texts of words that a file gives without the spaces between them."""

from __future__ import annotations

from collections.abc import Sequence

from heads.rows import Span


def word_spans(words: Sequence[str]) -> tuple[Span, ...]:
    """The spans of words in a text that joins them with one space.

    >>> word_spans(["Low", "fever"])
    ((0, 3), (4, 9))
    """
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return tuple(spans)
