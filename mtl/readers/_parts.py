"""Mentions in several parts and mentions that overlap: counted for every reader, and read as an option says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from heads.rows import Entity, SpanRow

Discontinuous = Literal["keep", "outer", "split", "refuse"]
"""How a mention in several parts is read.

`keep` leaves it in its parts, and the head decides; `outer` makes it one part from its first to its last character;
`split` makes each part a mention; `refuse` makes its row a bad row.
"""

KEPT = "discontinuous, kept in parts"
OVERLAPPING = "overlapping, all kept"
OUTER = "discontinuous mention, read from its first to its last character"
SPLIT = "discontinuous mention, whose parts are read as mentions of their own"


_PART = re.compile(r"\.\d+'*$")
"""What `split` adds to the id of a mention for each part after the first."""


def num_discontinuous(row: SpanRow) -> int:
    """Number of mentions in several parts."""
    return sum(len(entity.spans) > 1 for entity in row.entities)


def num_overlapping(entities: Sequence[Entity]) -> int:
    """Number of mentions that share a character with another mention.

    >>> num_overlapping([Entity("1", "A", ((0, 9),)), Entity("2", "A", ((4, 6),)), Entity("3", "A", ((9, 12),))])
    2
    """
    parts = sorted((start, end, entity.id) for entity in entities for start, end in entity.spans)
    found: set[str] = set()
    reach = 0
    for index, (start, end, name) in enumerate(parts, start=1):
        if start < reach or (index < len(parts) and parts[index][0] < end):
            found.add(name)
        reach = max(reach, end)
    return len(found)


def with_parts(row: SpanRow, rule: Discontinuous) -> tuple[SpanRow, Counter[str], Counter[str]]:
    """The row with its discontinuous mentions read as the rule says; `refuse` changes nothing.

    With `split`, the first part keeps the id of the mention, and so its relations; all parts have its concepts and
    attributes.

    Returns:
        The row, the counts of the mentions that were changed, and of those that are discontinuous or overlap in it.

    >>> row = SpanRow("1", "1", "left and right lung", entities=(Entity("T1", "Site", ((0, 4), (15, 19))),))
    >>> [entity.spans for entity in with_parts(row, "split")[0].entities]
    [((0, 4),), ((15, 19),)]
    """
    parts = num_discontinuous(row)
    changed, noted = Counter[str](), Counter[str]()
    if parts and rule == "outer":
        row = replace(row, entities=tuple(map(_outer, row.entities)))
        changed[OUTER] = parts
    elif parts and rule == "split":
        row = replace(row, entities=tuple(_split(row.entities)))
        changed[SPLIT] = parts
    elif parts:
        noted[KEPT] = parts
    overlapping = num_overlapping(row.entities)
    if overlapping:
        noted[OVERLAPPING] = overlapping
    return row, changed, noted


def num_undivided(entities: Sequence[Entity], types: Collection[str]) -> int:
    """The number of mentions of some types, where those that `split` has divided count once.

    >>> parts = [Entity("T1", "Site", ((0, 4),)), Entity("T1.2", "Site", ((15, 19),)), Entity("T2", "Drug", ((5, 8),))]
    >>> num_undivided(parts, ["Site", "Drug"])
    2
    """
    ids = {entity.id for entity in entities}
    own = [entity for entity in entities if entity.type in types]
    return sum(not (_PART.search(entity.id) and _PART.sub("", entity.id) in ids) for entity in own)


def _outer(entity: Entity) -> Entity:
    return entity._replace(spans=((min(entity.spans)[0], max(end for _, end in entity.spans)),))


def _split(entities: Sequence[Entity]) -> Iterator[Entity]:
    taken = {entity.id for entity in entities}
    for entity in entities:
        first, *others = entity.spans
        yield entity._replace(spans=(first,))
        for number, span in enumerate(others, start=2):
            name = f"{entity.id}.{number}"
            while name in taken:
                name += "'"
            taken.add(name)
            yield entity._replace(id=name, spans=(span,))
