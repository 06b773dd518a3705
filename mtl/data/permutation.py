"""Rows with permuted labels: a control with the same texts and label distribution, but uninformative labels.

A task that is co-trained with a permuted partner gets the partner's texts, its label distribution and one more task,
but no information about the texts from the labels. `mtl.data.reading` permutes only train, as its last step; dev and
test keep their labels.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from heads.rows import Entity, Relation, Row, Span, SpanRow, TextRow
from mtl.seeding import stream


def permuted_rows(
    rows: Iterable[Row], seed: int, mentions: bool | None = None, attribute: str | None = None
) -> list[Row]:
    """The same rows in the same order, with permuted labels. All of them are held in memory.

    - Texts with a label: the labels are permuted among the labelled rows.
    - Texts with mentions and relations: the relations of a pair (most often none) are permuted among the pairs of the
      same two entity types. `_PossiblePairs` defines what a pair is.
    - Texts with mentions and the attribute to permute: its values are permuted among the mentions of the same type.
    - Texts with mentions only: each row keeps the number, the types and the lengths in words of its mentions, and
      places them on other words, without overlap. It loses the soft labels of its words.

    Args:
        rows: Rows of one split.
        seed: Seed for all random draws.
        mentions: True moves mentions and keeps relations; False permutes relations and keeps mentions; None moves
            mentions only if no row has a relation. Set it for a task that predicts the mentions of rows with
            relations.
        attribute: Name of the attribute of mentions to permute; nothing else of them changes.

    >>> rows = [TextRow(str(n), str(n), "text", label=label) for n, label in enumerate("aaabbb")]
    >>> "".join(row.label for row in permuted_rows(rows, seed=0))
    'abbbaa'
    """
    held = list(rows)
    texts = iter(_with_permuted_labels([row for row in held if isinstance(row, TextRow)], seed))
    span_rows = [row for row in held if isinstance(row, SpanRow)]
    if attribute is None:
        spans = iter(_permuted_spans(span_rows, seed, mentions))
    else:
        spans = _with_permuted_attribute(span_rows, seed, attribute)
    return [next(texts) if isinstance(row, TextRow) else next(spans) for row in held]


def _permuted_spans(rows: Sequence[SpanRow], seed: int, mentions: bool | None) -> Iterable[SpanRow]:
    moves_mentions = not any(row.relations for row in rows) if mentions is None else mentions
    return (_with_moved_mentions(row, seed) for row in rows) if moves_mentions else _with_permuted_relations(rows, seed)


# --- texts with a label -----------------------------------------------------------------------------------------------


def _with_permuted_labels(rows: Sequence[TextRow], seed: int) -> list[TextRow]:
    labelled = [row for row in rows if _has_label(row)]
    order = iter(stream(seed, "permuted", "labels").permutation(len(labelled)).tolist())
    return [_with_label_of(row, labelled[next(order)]) if _has_label(row) else row for row in rows]


def _has_label(row: TextRow) -> bool:
    return row.label is not None or row.probabilities is not None


def _with_label_of(row: TextRow, other: TextRow) -> TextRow:
    """The row with all that another says about its labels, and with its own weight."""
    return replace(row, label=other.label, probabilities=other.probabilities, annotated=other.annotated)


# --- mentions ---------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"\w(?:\S*\w)?")  # characters between blanks, without the punctuation around them


def _with_moved_mentions(row: SpanRow, seed: int) -> SpanRow:
    """The row with its mentions on other words. A discontinuous mention counts as its hull, and becomes contiguous.

    If the mentions overlap so much that they do not fit side by side, each is placed independently of the others.
    """
    words = row.words if row.words is not None else tuple(match.span() for match in _WORD.finditer(row.text))
    if not row.entities or not words:
        return row
    lengths = [_num_words(entity, words) for entity in row.entities]
    starts = _places(lengths, len(words), stream(seed, "permuted", "mentions", row.id))
    entities = tuple(
        entity._replace(spans=((words[start][0], words[start + length - 1][1]),))
        for entity, start, length in zip(row.entities, starts, lengths, strict=True)
    )
    return replace(row, entities=entities, probabilities=None)


def _num_words(entity: Entity, words: Sequence[Span]) -> int:
    """Number of words that a mention overlaps; at least 1, even if it covers only punctuation."""
    start, end = _hull(entity)
    return max(1, sum(first < end and start < last for first, last in words))


def _places(lengths: Sequence[int], num_words: int, draw: np.random.Generator) -> list[int]:
    """The first word of each mention: every arrangement without overlap is equally likely."""
    room = num_words - sum(lengths)
    if room < 0:
        return [int(draw.integers(num_words - length + 1)) for length in lengths]
    # With each mention shrunk to a point, these are points among `room` free words.
    points = sorted(draw.choice(room + len(lengths), len(lengths), replace=False).tolist())
    starts, shift = [0] * len(lengths), 0
    for point, mention in zip(points, draw.permutation(len(lengths)).tolist(), strict=True):
        starts[mention] = point + shift
        shift += lengths[mention] - 1
    return starts


# --- attributes -------------------------------------------------------------------------------------------------------


def _with_permuted_attribute(rows: Sequence[SpanRow], seed: int, attribute: str) -> Iterator[SpanRow]:
    """The rows with the values of an attribute permuted among the mentions of the same type.

    To have no value is a value too, except in rows in which the attribute was not annotated.
    """

    def is_known(row: SpanRow, entity: Entity) -> bool:
        return row.annotated is None or attribute in row.annotated or attribute in entity.attributes

    values: defaultdict[str, list[str | None]] = defaultdict(list)
    for row in rows:
        for entity in row.entities:
            if is_known(row, entity):
                values[entity.type].append(entity.attributes.get(attribute))
    drawn = {
        kind: iter([found[i] for i in stream(seed, "permuted", "attribute", kind).permutation(len(found)).tolist()])
        for kind, found in values.items()
    }
    for row in rows:
        entities = (_with_value(e, attribute, next(drawn[e.type])) if is_known(row, e) else e for e in row.entities)
        yield replace(row, entities=tuple(entities))


def _with_value(entity: Entity, attribute: str, value: str | None) -> Entity:
    others = {name: own for name, own in entity.attributes.items() if name != attribute}
    return entity._replace(attributes=others if value is None else {**others, attribute: value})


# --- relations --------------------------------------------------------------------------------------------------------

_Kind = tuple[str, ...]
"""The two entity types of a pair in alphabetical order; then, if its row is partly annotated, the annotated types."""

_PairLabel = tuple[tuple[bool, str], ...]
"""The relations of a pair: whether each goes from the pair's second end to its first, and its type."""


class _End(NamedTuple):
    """An entity or a concept, and the sentence of the row that contains it (None if none does)."""

    id: str
    type: str
    sentence: int | None


class _Pair(NamedTuple):
    """Two ends in the order of their types; ends of the same type are in text order."""

    first: str
    second: str
    kind: _Kind
    label: _PairLabel


@dataclass(frozen=True)
class _PossiblePairs:
    """Which pairs exist, among which the relations are permuted.

    They are all pairs of entities of a row, or of concepts if relations join concepts. Each pair counts once, with its
    ends in the order of their types, so that a relation keeps its direction between types. If every relation joins
    mentions of one sentence, only pairs within a sentence count. In a row that is not annotated for every type, only
    pairs with a relation count, and these form a kind of their own. Everything else keeps its relations: those of an
    end with itself, and pairs with a relation without a type, which are masked.
    """

    of_concepts: bool
    in_sentences: bool
    types: frozenset[str]

    @classmethod
    def of(cls, rows: Sequence[SpanRow]) -> _PossiblePairs:
        of_concepts = any(
            {relation.head, relation.tail} - {entity.id for entity in row.entities}
            for row in rows
            for relation in row.relations
        )
        types = frozenset(relation.type for row in rows for relation in row.relations if relation.type is not None)
        wide = cls(of_concepts, False, types)
        in_sentences = not of_concepts and all(
            ends[relation.head].sentence == ends[relation.tail].sentence is not None
            for row in rows
            for ends in [wide._ends(row)]
            for relation in row.relations
        )
        return cls(of_concepts, in_sentences, types)

    def pairs(self, row: SpanRow) -> Iterator[_Pair]:
        """The pairs of a row, always in the same order."""
        partly = row.annotated if row.annotated is not None and not self.types <= set(row.annotated) else ()
        found: defaultdict[frozenset[str], list[Relation]] = defaultdict(list)
        for relation in row.relations:
            found[frozenset((relation.head, relation.tail))].append(relation)
        for one, other in combinations(self._ends(row).values(), 2):
            first, second = (one, other) if one.type <= other.type else (other, one)
            relations = found.get(frozenset((first.id, second.id)), [])
            if self.in_sentences and not first.sentence == second.sentence is not None:
                continue
            if any(relation.type is None for relation in relations) or (partly and not relations):
                continue
            label = tuple((relation.head == second.id, str(relation.type)) for relation in relations)
            yield _Pair(first.id, second.id, (first.type, second.type, *partly), label)

    def _ends(self, row: SpanRow) -> dict[str, _End]:
        """Entities in text order, or concepts in the order of their first mentions, each with its type there."""
        ends: dict[str, _End] = {}
        for entity in sorted(row.entities, key=_hull):
            sentence = None if self.of_concepts else _sentence(row, entity)
            for name in entity.concepts if self.of_concepts else (entity.id,):
                ends.setdefault(name, _End(name, entity.type, sentence))
        return ends


def _with_permuted_relations(rows: Sequence[SpanRow], seed: int) -> Iterator[SpanRow]:
    """The rows with the labels of pairs permuted among the pairs of each kind.

    Pairs are counted in one pass and enumerated again in a second, never held: a long text has thousands, and few of
    them are related.
    """
    pairing = _PossiblePairs.of(rows)
    sizes: Counter[_Kind] = Counter()
    labels: defaultdict[_Kind, list[_PairLabel]] = defaultdict(list)
    for row in rows:
        for pair in pairing.pairs(row):
            sizes[pair.kind] += 1
            if pair.label:
                labels[pair.kind].append(pair.label)
    assigned = {
        kind: dict(zip(_drawn(sizes[kind], len(found), stream(seed, "permuted", *kind)), found, strict=True))
        for kind, found in labels.items()
    }
    seen: Counter[_Kind] = Counter()
    for row in rows:
        relations = list(row.relations)
        for pair in pairing.pairs(row):
            for relation in _relations(pair, pair.label):
                relations.remove(relation)
            relations += _relations(pair, assigned.get(pair.kind, {}).get(seen[pair.kind], ()))
            seen[pair.kind] += 1
        yield replace(row, relations=tuple(relations))


def _relations(pair: _Pair, label: _PairLabel) -> list[Relation]:
    ends = pair.first, pair.second
    return [Relation(ends[backward], ends[not backward], kind) for backward, kind in label]


def _drawn(size: int, number: int, draw: np.random.Generator) -> list[int]:
    """Distinct places below `size`, in random order."""
    places: list[int] = draw.choice(size, number, replace=False).tolist()
    return places


def _sentence(row: SpanRow, entity: Entity) -> int | None:
    start, end = _hull(entity)
    sentences = row.sentences if row.sentences is not None else ((0, len(row.text)),)
    inside = (number for number, (first, last) in enumerate(sentences) if first <= start and end <= last)
    return next(inside, None)


def _hull(entity: Entity) -> Span:
    return entity.spans[0][0], entity.spans[-1][1]
