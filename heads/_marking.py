"""The text of a candidate pair with its head and tail marked, and their positions in that text.

"COX-2 is inhibited by aspirin" (head: aspirin, tail: COX-2) in the three forms:

- typed: ``@GENE$ is inhibited by @CHEMICAL$``
- markers: ``[E2] COX-2 [/E2] is inhibited by [E1] aspirin [/E1]``
- original: the unchanged text; only the positions identify the pair
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from heads._pairs import Mention, hull
from heads.rows import Span

MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")

_HEAD, _TAIL = frozenset({0}), frozenset({1})


class Place(NamedTuple):
    """The position of a head or tail in the marked text, in characters.

    Args:
        opening: Start of its opening marker; equal to `start` without markers.
        start: Its first character.
        end: One past its last character.
    """

    opening: int
    start: int
    end: int


class Marked(NamedTuple):
    """The text of a candidate pair and the positions of its head and its tail."""

    text: str
    head: tuple[Place, ...]
    tail: tuple[Place, ...]


class _Region(NamedTuple):
    """A stretch of text to replace or mark.

    Args:
        start: Its first character.
        end: One past its last character.
        roles: Whose mention it is: 0 for the head, 1 for the tail, both, or empty if the text is to be deleted.
    """

    start: int
    end: int
    roles: frozenset[int]


def placeholder(*types: str) -> str:
    """The token that replaces a mention of a type, or two overlapping mentions of two types.

    >>> placeholder("Chemical"), placeholder("Chemical", "Gene")
    ('@CHEMICAL$', '@CHEMICAL-GENE$')
    """
    return f"@{'-'.join(types).upper()}$"


def typed(text: str, head: Sequence[Mention], tail: Sequence[Mention], head_type: str, tail_type: str) -> Marked:
    """Replaces each mention with the placeholder of its type, and overlapping heads and tails with one for both.

    A discontinuous mention is replaced together with its gap. If a mention of the other argument lies in the gap, the
    placeholder replaces the first part and the other parts are deleted.

    >>> typed("COX-2 is inhibited by aspirin", [((22, 29),)], [((0, 5),)], "Chemical", "Gene").text
    '@GENE$ is inhibited by @CHEMICAL$'
    """
    names = {
        frozenset(): "",
        _HEAD: placeholder(head_type),
        _TAIL: placeholder(tail_type),
        _HEAD | _TAIL: placeholder(head_type, tail_type),
    }
    pieces, length, position = [], 0, 0
    places: tuple[list[Place], list[Place]] = ([], [])
    for region in _merged([*_regions(head, tail, _HEAD), *_regions(tail, head, _TAIL)]):
        name = names[region.roles]
        start = length + region.start - position
        for role in region.roles:
            places[role].append(Place(start, start, start + len(name)))
        pieces += [text[position : region.start], name]
        length, position = start + len(name), region.end
    return Marked("".join([*pieces, text[position:]]), tuple(places[0]), tuple(places[1]))


def markers(text: str, head: Sequence[Mention], tail: Sequence[Mention]) -> Marked:
    """Puts markers around each mention, from its first to its last part (Baldini Soares et al. 2019, section 3.1).

    >>> markers("COX-2 is inhibited by aspirin", [((22, 29),)], [((0, 5),)]).text
    '[E2] COX-2 [/E2] is inhibited by [E1] aspirin [/E1]'
    """
    marks: list[tuple[tuple[int, ...], str]] = []
    regions = [r for role, mentions in ((_HEAD, head), (_TAIL, tail)) for r in _merged(_hulls(mentions, role))]
    for index, (start, end, roles) in enumerate(regions):
        (role,) = roles
        # At the same position, close before opening, and nest: the longer mention opens first and closes last.
        marks.append(((start, 1, -end, role, index), f"[E{role + 1}] "))
        marks.append(((end, 0, -start, -role, index), f" [/E{role + 1}]"))
    pieces, length, position = [], 0, 0
    opened: dict[int, tuple[int, int]] = {}
    places: tuple[list[Place], list[Place]] = ([], [])
    for (at, opens, *_, index), mark in sorted(marks):
        length += at - position
        pieces += [text[position:at], mark]
        if opens:
            opened[index] = (length, length + len(mark))
        else:
            (role,) = regions[index].roles
            places[role].append(Place(*opened[index], length))
        length, position = length + len(mark), at
    return Marked("".join([*pieces, text[position:]]), tuple(places[0]), tuple(places[1]))


def original(text: str, head: Sequence[Mention], tail: Sequence[Mention]) -> Marked:
    """Leaves the text unchanged. A discontinuous mention has one position for each part."""
    return Marked(text, _parts(head), _parts(tail))


def ready_made(text: str, placeholders: Sequence[str]) -> Marked:
    """Finds the head and tail in a sentence that already has placeholders.

    Of the placeholders in the sentence, the head is the one that comes first in `placeholders` and the tail the one
    that comes last; equal ones are ordered as in the text. A single placeholder is both.

    >>> marked = ready_made("No link of @DISEASE$ with @GENE$.", ["@GENE$", "@DISEASE$"])
    >>> marked.head, marked.tail
    ((Place(opening=26, start=26, end=32),), (Place(opening=11, start=11, end=20),))
    """
    if not placeholders:
        return Marked(text, (), ())
    pattern = "|".join(re.escape(name) for name in sorted(placeholders, key=len, reverse=True))
    matches = sorted(re.finditer(pattern, text), key=lambda match: (placeholders.index(match[0]), match.start()))
    places = tuple(Place(match.start(), match.start(), match.end()) for match in matches)
    return Marked(text, places[:1], places[-1:])


def _regions(mentions: Sequence[Mention], others: Sequence[Mention], role: frozenset[int]) -> list[_Region]:
    other_parts = [part for other in others for part in other]
    regions = []
    for mention in mentions:
        in_gap = _touches([hull(mention)], other_parts) and not _touches(mention, other_parts)
        kept, *cut = mention if in_gap else [hull(mention)]
        regions += [_Region(*kept, role), *(_Region(*part, frozenset()) for part in cut)]
    return regions


def _hulls(mentions: Sequence[Mention], role: frozenset[int]) -> list[_Region]:
    return [_Region(*hull(mention), role) for mention in mentions]


def _merged(regions: Iterable[_Region]) -> list[_Region]:
    """The regions in text order, overlapping ones merged."""
    merged: list[_Region] = []
    for region in sorted(regions, key=lambda region: region[:2]):
        if merged and region.start < merged[-1].end:
            last = merged.pop()
            region = _Region(last.start, max(last.end, region.end), last.roles | region.roles)  # noqa: PLW2901  # grows
        merged.append(region)
    return merged


def _touches(spans: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(start < other_end and other_start < end for start, end in spans for other_start, other_end in others)


def _parts(mentions: Sequence[Mention]) -> tuple[Place, ...]:
    return tuple(Place(start, start, end) for mention in mentions for start, end in mention)
