"""Candidate pairs of a `SpanRow`: which mentions or concepts may be related, and the gold relations of each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, NamedTuple

from heads.rows import Entity, Span, SpanRow

Key = tuple[str, str]
"""The two ids of a pair: (head, tail), or in alphabetical order if pairs have no direction."""

Gold = dict[Key, tuple[str, ...]]
"""The relation types of each annotated pair."""

Mention = tuple[Span, ...]
"""The parts of one mention in text order; more than one if it is discontinuous."""


class Argument(NamedTuple):
    """The head or tail of a pair: an entity with its one mention, or a concept with all its mentions."""

    id: str
    type: str
    mentions: tuple[Mention, ...]


class Candidate(NamedTuple):
    """A pair whose relation is to be predicted, and the part of the row's text in which it is read."""

    head: Argument
    tail: Argument
    context: Span


@dataclass(frozen=True)
class Pairing:
    """The rules that decide which pairs are candidates.

    Args:
        types: Allowed pairs of (head type, tail type); None allows all.
        directed: Whether (a, b) and (b, a) are two pairs. If not, there is one pair: its head is decided by the types,
            or by the order in the text if the types allow both.
        scope: What the head and tail must have in common.
        level: Whether heads and tails are mentions or concepts.
        merge: New names for entity types.
    """

    types: frozenset[tuple[str, str]] | None = None
    directed: bool = False
    scope: Literal["sentence", "document"] = "sentence"
    level: Literal["mention", "concept"] = "mention"
    merge: Mapping[str, str] = field(default_factory=dict)

    def key(self, head: str, tail: str) -> Key:
        """The key of a pair, which is the same for both orders unless pairs are directed.

        >>> Pairing().key("T2", "T1")
        ('T1', 'T2')
        >>> Pairing(directed=True).key("T2", "T1")
        ('T2', 'T1')
        """
        return (head, tail) if self.directed or head <= tail else (tail, head)

    def candidates(self, row: SpanRow) -> list[Candidate]:
        """All candidate pairs of a row, each once, in text order of the first and then the second argument."""
        candidates: dict[Key, Candidate] = {}
        for context, arguments in self._groups(row):
            for first, second in combinations(arguments, 2):
                for head, tail in self._orders(first, second):
                    # A concept with mentions of two types could form the same pair twice.
                    candidates.setdefault(self.key(head.id, tail.id), Candidate(head, tail, context))
        return list(candidates.values())

    def _groups(self, row: SpanRow) -> Iterator[tuple[Span, list[Argument]]]:
        """The arguments that may be paired with each other, in text order, and the part of the text they are in."""
        entities = [entity._replace(type=self.merge.get(entity.type, entity.type)) for entity in row.entities]
        entities.sort(key=lambda entity: hull(entity.spans))
        everything = (0, len(row.text))
        if self.level == "concept":
            yield everything, _concepts(entities)
            return
        contexts = (row.sentences or [everything]) if self.scope == "sentence" else [everything]
        for context in contexts:
            inside = [entity for entity in entities if _contains(context, hull(entity.spans))]
            yield context, [Argument(entity.id, entity.type, (entity.spans,)) for entity in inside]

    def _orders(self, first: Argument, second: Argument) -> list[tuple[Argument, Argument]]:
        orders = [(first, second), (second, first)] if first.id != second.id else []
        if self.types is not None:
            orders = [(head, tail) for head, tail in orders if (head.type, tail.type) in self.types]
        return orders if self.directed else orders[:1]


def annotated_types(row: SpanRow, labels: Sequence[str], negative: str) -> frozenset[str]:
    """The positive relation types for which a row is annotated."""
    positives = frozenset(labels) - {negative}
    return positives if row.annotated is None else positives & frozenset(row.annotated)


def gold(
    row: SpanRow,
    candidates: Sequence[Candidate],
    pairing: Pairing,
    labels: Sequence[str],
    negative: str,
    *,
    scored: bool = False,
) -> Gold:
    """The relation types of every annotated pair: the candidates, and gold relations whose pair is not a candidate.

    A pair with several types has all of them. A candidate without a relation has the negative class. A candidate is
    left out if its only relation has no type, or if it has no relation and the row is not annotated for all positive
    types: it may have one of the others, so nothing is learned from it. With `scored` it has the negative class if the
    row is annotated for any type, because a prediction of that type is wrong.

    Args:
        row: The row.
        candidates: Its candidate pairs.
        pairing: The rules that made them.
        labels: All relation types, with the negative class.
        negative: The negative class.
        scored: Whether predictions are scored, for which predictions of types that are not annotated do not count.
    """
    annotated = annotated_types(row, labels, negative)
    tells_negatives = bool(annotated) if scored else len(annotated) == len(set(labels) - {negative})
    known: Gold = {}
    untyped, denied = set(), set()
    for relation in row.relations:
        key = pairing.key(relation.head, relation.tail)
        if relation.type is None:
            untyped.add(key)
        elif relation.type == negative:
            denied.add(key)
        elif relation.type not in annotated:
            untyped.add(key)
        elif relation.type not in known.get(key, ()):
            known[key] = (*known.get(key, ()), relation.type)
    for candidate in candidates:
        key = pairing.key(candidate.head.id, candidate.tail.id)
        if key not in known and key not in untyped and (tells_negatives or key in denied):
            known[key] = (negative,)
    return known


def hull(spans: Sequence[Span]) -> Span:
    """The span from the start of the first part to the end of the last.

    >>> hull([(3, 5), (9, 12)])
    (3, 12)
    """
    return spans[0][0], spans[-1][1]


def shifted(mentions: Sequence[Mention], by: int) -> list[Mention]:
    """The mentions with their offsets moved.

    >>> shifted([((3, 5), (9, 12))], -3)
    [((0, 2), (6, 9))]
    """
    return [tuple((start + by, end + by) for start, end in mention) for mention in mentions]


def _concepts(entities: Sequence[Entity]) -> list[Argument]:
    """One argument for each concept id and type, in text order of its first mention."""
    mentions: dict[tuple[str, str], list[Mention]] = {}
    for entity in entities:
        for concept in dict.fromkeys(entity.concepts):
            mentions.setdefault((concept, entity.type), []).append(entity.spans)
    return [Argument(concept, kind, tuple(own)) for (concept, kind), own in mentions.items()]


def _contains(outer: Span, inner: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
