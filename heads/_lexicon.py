"""The trivial predictor of entities: what was a mention in training is a mention."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from heads._tags import TypedSpan
from heads._words import overlapped, words_of
from heads.rows import Span, SpanRow

DECIDES_RESULTS = False

_Key = tuple[str, ...]
"""A mention as words in lower case."""


class AnnotatedRow(NamedTuple):
    """A row, its gold mentions, and the types that were looked for."""

    row: SpanRow
    gold: list[TypedSpan]
    types: tuple[str, ...]


class Lexicon:
    """Finds the mentions of training rows in other rows, the longest first, whatever their case.

    A mention is a sequence of words; its type is its most frequent one. It is dropped where, on the training rows, it
    is matched more often outside the annotation than as an entity.
    """

    def __init__(self, rows: Sequence[AnnotatedRow]) -> None:
        types = _types_of_mentions(rows)
        self._fill(types)
        balance = self._balance(rows)
        self._fill({key: kind for key, kind in types.items() if balance[key] >= 0})

    def find(self, row: SpanRow) -> list[TypedSpan]:
        """The mentions of the row, in characters; none overlap."""
        return [span for _, span in self._match(row)]

    def _fill(self, types: dict[_Key, str]) -> None:
        self._types = types
        self._lengths: dict[str, list[int]] = {}  # of the mentions that begin with a word, the longest first
        for length, first in sorted({(len(key), key[0]) for key in types}, reverse=True):
            self._lengths.setdefault(first, []).append(length)

    def _balance(self, rows: Sequence[AnnotatedRow]) -> Counter[_Key]:
        """How many more matches of each mention are annotated than not."""
        balance: Counter[_Key] = Counter()
        for row, gold, types in rows:
            entities = {(span.start, span.end) for span in gold}
            for key, span in self._match(row):
                if span.type in types:
                    balance[key] += 1 if (span.start, span.end) in entities else -1
        return balance

    def _match(self, row: SpanRow) -> list[tuple[_Key, TypedSpan]]:
        words = words_of(row)
        text = _key(row, words)
        found = []
        first = 0
        while first < len(words):
            keys = (text[first : first + length] for length in self._lengths.get(text[first], ()))
            key = next((key for key in keys if key in self._types), None)
            if key is not None:
                end = words[first + len(key) - 1][1]
                found.append((key, TypedSpan(words[first][0], end, self._types[key])))
            first += 1 if key is None else len(key)
        return found


def _types_of_mentions(rows: Sequence[AnnotatedRow]) -> dict[_Key, str]:
    counts: defaultdict[_Key, Counter[str]] = defaultdict(Counter)
    for row, gold, _ in rows:
        words = words_of(row)
        for span, covered in zip(gold, overlapped(gold, words), strict=True):
            if covered:
                counts[_key(row, words[covered.start : covered.stop])][span.type] += 1
    return {key: of_types.most_common(1)[0][0] for key, of_types in counts.items()}


def _key(row: SpanRow, words: Sequence[Span]) -> _Key:
    return tuple(row.text[start:end].lower() for start, end in words)
