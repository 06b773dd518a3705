"""The text of a candidate pair, with its two ends made visible, and where they stand in that text.

One pair, "COX-2 is inhibited by aspirin", in the three forms (head: aspirin, tail: COX-2):

- typed: ``@GENE$ is inhibited by @CHEMICAL$``
- markers: ``[E2] COX-2 [/E2] is inhibited by [E1] aspirin [/E1]``
- original: the text as it is; only the places tell the pair.
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
    """Where an end of the pair stands: characters `start` to `end`; `opening` is the start of its marker, if any."""

    opening: int
    start: int
    end: int


class Marked(NamedTuple):
    """The text of a candidate and the places of its head and of its tail."""

    text: str
    head: tuple[Place, ...]
    tail: tuple[Place, ...]


class _Region(NamedTuple):
    """A stretch of text and the ends that stand there (0 head, 1 tail, none: a part that only goes)."""

    start: int
    end: int
    roles: frozenset[int]


def placeholder(*types: str) -> str:
    """The token that stands for a mention of a type, or for two overlapping ones.

    >>> placeholder("Chemical"), placeholder("Chemical", "Gene")
    ('@CHEMICAL$', '@CHEMICAL-GENE$')
    """
    return f"@{'-'.join(types).upper()}$"


def typed(text: str, head: Sequence[Mention], tail: Sequence[Mention], head_type: str, tail_type: str) -> Marked:
    """Each mention replaced by the placeholder of its own type; overlapping ones of both ends by one for both.

    A discontinuous mention goes with its gap. Where a mention of the other end stands in the gap, the placeholder
    takes the place of the first part and the other parts are cut out.

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
    """Markers set around each mention, from its first part to its last (Baldini Soares et al. 2019, section 3.1).

    >>> markers("COX-2 is inhibited by aspirin", [((22, 29),)], [((0, 5),)]).text
    '[E2] COX-2 [/E2] is inhibited by [E1] aspirin [/E1]'
    """
    marks: list[tuple[tuple[int, ...], str]] = []
    regions = [r for role, mentions in ((_HEAD, head), (_TAIL, tail)) for r in _merged(_hulls(mentions, role))]
    for index, (start, end, roles) in enumerate(regions):
        (role,) = roles
        # At one position marks close before others open, and nest: the longer mention opens first and closes last.
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
    """The text as it is; a discontinuous mention stands in as many places as it has parts."""
    return Marked(text, _parts(head), _parts(tail))


def ready_made(text: str, placeholders: Sequence[str]) -> Marked:
    """A sentence in which placeholders already stand.

    The head is the one named first in `placeholders`, the tail the one named last; the order in the text decides
    between equal ones. A single one is both.

    >>> marked = ready_made("No link of @DISEASE$ with @GENE$.", ["@GENE$", "@DISEASE$"])
    >>> marked.head, marked.tail
    ((Place(opening=26, start=26, end=32),), (Place(opening=11, start=11, end=20),))
    """
    if not placeholders:
        return Marked(text, (), ())
    pattern = "|".join(re.escape(name) for name in sorted(placeholders, key=len, reverse=True))
    found = sorted(re.finditer(pattern, text), key=lambda match: (placeholders.index(match[0]), match.start()))
    places = tuple(Place(match.start(), match.start(), match.end()) for match in found)
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
    """Overlapping regions as one, in text order."""
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
