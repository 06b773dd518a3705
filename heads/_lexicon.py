"""A trivial predictor of entities: every mention of the training rows is a mention."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from heads._tags import TypedSpan
from heads._words import overlapped, words_of
from heads.rows import Span, SpanRow

DECIDES_RESULTS = False

_Key = tuple[str, ...]
"""The words of a mention in lower case."""


class AnnotatedRow(NamedTuple):
    """A row, its gold mentions, and the entity types that were annotated in it."""

    row: SpanRow
    gold: list[TypedSpan]
    types: tuple[str, ...]


class Lexicon:
    """Finds the mentions of training rows in other rows: the longest match at each word, ignoring case.

    A mention is a sequence of words, and has its most frequent type. Mentions that match the training rows more often
    outside the annotation than as an entity are left out.
    """

    def __init__(self, rows: Sequence[AnnotatedRow]) -> None:
        types = _types_of_mentions(rows)
        self._fill(types)
        balance = self._balance(rows)
        self._fill({key: kind for key, kind in types.items() if balance[key] >= 0})

    def find(self, row: SpanRow) -> list[TypedSpan]:
        """The mentions in the row, as spans of characters that do not overlap."""
        return [span for _, span in self._match(row)]

    def _fill(self, types: dict[_Key, str]) -> None:
        self._types = types
        self._lengths: dict[str, list[int]] = {}  # lengths of the mentions by first word, longest first
        for length, first in sorted({(len(key), key[0]) for key in types}, reverse=True):
            self._lengths.setdefault(first, []).append(length)

    def _balance(self, rows: Sequence[AnnotatedRow]) -> Counter[_Key]:
        """By how many each mention has more matches that are annotated than matches that are not."""
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
        matches = []
        first = 0
        while first < len(words):
            keys = (text[first : first + length] for length in self._lengths.get(text[first], ()))
            key = next((key for key in keys if key in self._types), None)
            if key is not None:
                end = words[first + len(key) - 1][1]
                matches.append((key, TypedSpan(words[first][0], end, self._types[key])))
            first += 1 if key is None else len(key)
        return matches


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
