"""The sentences of a text that comes without any, and whether a task learned from single sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from heads import Head, Row, Span, SpanRow
from mtl.data.text_keys import sentences

DECIDES_RESULTS = False

SAMPLE = 500
"""Largest number of rows, spread over all, that decide whether a task learned from single sentences."""

_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:e\.g|i\.e|cf|vs|ca|approx|al|resp|Dr|Mr|Mrs|Ms|Prof|Fig|Figs|Ref|Refs|sp|spp)\.$"
)
_LONGEST = 10  # characters that the pattern may need


def sentence_spans(text: str, mentions: Iterable[Span] = ()) -> tuple[Span, ...]:
    r"""The sentences of a text, without blanks at their ends.

    A sentence ends at a full stop, question mark or exclamation mark before a blank and anything but a lower-case
    letter, and at a line break. It continues after an abbreviation such as "e.g.", on a line that starts with a
    lower-case letter if the line before ended without punctuation, and as long as a mention does.

    Args:
        text: The text.
        mentions: First and last character of mentions, which are never divided.

    >>> text = "Rash after Dr. Roe gave\naspirin. No fever\nMood: good"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Rash after Dr. Roe gave\naspirin.', 'No fever', 'Mood: good']
    >>> [text[start:end] for start, end in sentence_spans(text, [(36, 46)])]
    ['Rash after Dr. Roe gave\naspirin.', 'No fever\nMood: good']
    """
    spans = list(mentions)
    found: list[Span] = []
    for start, end in _parts(text):
        if found and (_continues(text, found[-1], (start, end)) or _is_inside(spans, found[-1][1], start)):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return tuple(found)


def with_sentences(row: SpanRow) -> SpanRow:
    """The row; one without sentences gets those of `sentence_spans`, none of which divides a mention.

    >>> with_sentences(SpanRow("1", "1", "No fever. Rash.")).sentences
    ((0, 9), (10, 15))
    """
    return row if row.sentences is not None else replace(row, sentences=sentence_spans(row.text, mention_hulls(row)))


def reads_sentences(head: Head) -> bool:
    """Whether a head pairs or reads mentions within a sentence."""
    rules = head.pairing or head.labelling
    return rules is not None and rules.scope == "sentence"


def are_single_sentences(rows: Sequence[Row]) -> bool:
    """Whether most rows have sentences, or are one by the rule of `sentence_spans`.

    >>> rows = [SpanRow("1", "1", "No fever."), SpanRow("2", "2", "Rash."), SpanRow("3", "3", "No rash. No fever.")]
    >>> are_single_sentences(rows), are_single_sentences(rows[2:])
    (True, False)
    """
    sample = rows[:: -(-len(rows) // SAMPLE)]
    return 2 * sum(not has_several_sentences(row) for row in sample) > len(sample)


def has_several_sentences(row: Row) -> bool:
    """Whether a row comes without sentences, and has more than one by the rule of `sentence_spans`."""
    if not isinstance(row, SpanRow):
        return len(sentence_spans(row.text)) > 1
    return row.sentences is None and len(sentence_spans(row.text, mention_hulls(row))) > 1


def mention_hulls(row: SpanRow) -> list[Span]:
    """First and last character of each mention of a row."""
    return [(entity.spans[0][0], entity.spans[-1][1]) for entity in row.entities]


def _parts(text: str) -> Iterable[Span]:
    """The parts between the ends of sentences, before any are joined."""
    place = 0
    for part in sentences(text):
        start = text.index(part, place)  # between two parts there are only blanks
        place = start + len(part)
        if part.strip():
            yield start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _continues(text: str, before: Span, after: Span) -> bool:
    breaks = text.count("\n", before[1], after[0])
    if breaks:
        return breaks == 1 and text[after[0]].islower() and text[before[1] - 1] not in ".!?:;"
    return _ABBREVIATION.search(text, max(before[0], before[1] - _LONGEST), before[1]) is not None


def _is_inside(mentions: Sequence[Span], end: int, start: int) -> bool:
    """Whether a mention goes beyond the end of a part and begins before the start of the next."""
    return any(first < start and last > end for first, last in mentions)
