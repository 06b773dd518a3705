"""The words of a row, and the words that a mention covers."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from heads._invisible import JOINER, MARK, simplified
from heads._tags import TypedSpan
from heads.rows import Span, SpanRow

# In a simplified text. A mark is not a character of \w, and neither is a joiner.
_WORD = re.compile(rf"[^\W_](?:{JOINER}*[^\W_]|{JOINER}*{MARK})*|[^\w\s{JOINER}{MARK}]{MARK}*|_{MARK}*")


def words_of(row: SpanRow) -> Sequence[Span]:
    """The row's own words if it has any, otherwise runs of letters and digits, and every other visible character alone.

    Accents and other marks belong to the character before them. Soft hyphens and other joiners belong to the word that
    they are inside of; outside of words they are left out like blanks.

    >>> words_of(SpanRow("1", "d", "IL-2 (10mg)."))
    [(0, 2), (2, 3), (3, 4), (5, 6), (6, 10), (10, 11), (11, 12)]
    """
    return row.words if row.words is not None else [match.span() for match in _WORD.finditer(simplified(row.text))]


def words_problem(row: SpanRow) -> str | None:
    """The first problem of the row's own words in the form "rule, got value", or None."""
    before = 0
    for start, end in row.words or ():
        if not before <= start < end <= len(row.text):
            return (
                "words must be in text order, inside the text and not empty, got"
                f" {start}-{end} after {before} in a text of {len(row.text)} characters"
            )
        before = end
    return None


def overlapped(targets: Iterable[Span | TypedSpan], spans: Sequence[Span]) -> list[range]:
    """The indices of the spans that each target overlaps; the spans must be in order.

    >>> overlapped([(0, 3), (4, 6), (7, 9)], [(0, 2), (2, 5), (5, 7)])
    [range(0, 2), range(1, 3), range(3, 3)]
    """
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    return [range(bisect_right(ends, target[0]), bisect_left(starts, target[1])) for target in targets]


def flat(mentions: Sequence[TypedSpan], words: Sequence[Span]) -> list[TypedSpan]:
    """Mentions (in characters) as spans of words, without mentions that share a word with a longer one.

    Of equally long mentions the first in the text is kept, then the first in the list.

    >>> flat([TypedSpan(0, 3, "A"), TypedSpan(0, 7, "B"), TypedSpan(8, 9, "A")], [(0, 3), (4, 7), (8, 11)])
    [TypedSpan(start=0, end=2, type='B'), TypedSpan(start=2, end=3, type='A')]
    """
    pairs = list(zip(mentions, overlapped(mentions, words), strict=True))
    taken: set[int] = set()
    spans = []
    for mention, covered in sorted(pairs, key=lambda pair: (pair[0].start - pair[0].end, pair[0].start)):
        if covered and taken.isdisjoint(covered):
            taken.update(covered)
            spans.append(TypedSpan(covered.start, covered.stop, mention.type))
    return spans


def typed_words(mentions: Iterable[TypedSpan], words: Sequence[Span]) -> defaultdict[str, set[int]]:
    """The indices of the words that the mentions of each type cover."""
    mentions = list(mentions)
    covered: defaultdict[str, set[int]] = defaultdict(set)
    for mention, own in zip(mentions, overlapped(mentions, words), strict=True):
        covered[mention.type].update(own)
    return covered
