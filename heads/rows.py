"""The two row types, which readers produce and heads consume.

Offsets are half-open ranges of characters of `text`: ``text[start:end]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Span = tuple[int, int]

DOCUMENT_BREAK = "\f"
"""The character between the documents of a row that joins several, as readers of plain text may do."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text, or a pair of texts, with one label.

    Args:
        id: Identifier, unique within task and split.
        document: Identifier of the document, which is the unit of splits, leakage checks, sharded evaluation and
            resampling; equal to `id` if the source has no documents.
        text: The text, or the first text of a pair.
        text_pair: The second text of a pair.
        label: A class name, several class names or a number; None if the row is not annotated.
        meta: Groups for splits and reports, such as site or year. The model never sees them.
        probabilities: Probability of each class or label, as a soft label; None if there is none. It may stand next to
            a label.
        annotated: Of several class names, those that were looked for; None for all. The others are masked: their
            absence is never learned.
        source: Who or what labelled the row; None for gold.
        score: Confidence of the label, from 0 to 1; None if unknown.
        weight: Factor on the loss of the row, above 0.
    """

    id: str
    document: str
    text: str
    text_pair: str | None = None
    label: str | tuple[str, ...] | float | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    probabilities: Mapping[str, float] | None = None
    annotated: tuple[str, ...] | None = None
    source: str | None = None
    score: float | None = None
    weight: float = 1.0


class Entity(NamedTuple):
    """A mention of an entity.

    Args:
        id: Identifier, unique within its row.
        type: Entity type.
        spans: Its parts in text order; more than one if the mention is discontinuous.
        concepts: Ids of the concepts that it refers to, such as MeSH ids.
        attributes: Annotated properties by name, such as ``{"assertion": "absent"}``.
    """

    id: str
    type: str
    spans: tuple[Span, ...]
    concepts: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}  # never changed, so that entities can share it


class Relation(NamedTuple):
    """A relation between two entities or two concepts of a row.

    Args:
        head: Entity id or concept id of the head.
        tail: Entity id or concept id of the tail.
        type: Relation type; None if the type was not annotated.
    """

    head: str
    tail: str
    type: str | None


class WordProbabilities(NamedTuple):
    """The soft label of a word.

    Args:
        start: Start of the word in the text.
        end: End of the word.
        tags: Probability of each tag, such as ``{"B-Drug": 0.9, "O": 0.1}``; tags that are left out have 0.
    """

    start: int
    end: int
    tags: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One text with mentions of entities and relations between them.

    Args:
        id: Identifier, unique within task and split.
        document: Identifier of the document, as in `TextRow`.
        text: The text.
        text_pair: A second text.
        words: Words of the source; None if the head is to split the text into words.
        sentences: Sentences of the source; None if the row is one sentence.
        entities: Mentions.
        relations: Relations between the mentions or their concepts.
        annotated: Entity and relation types that were annotated in this row; None for all. Types that were not
            annotated are masked: their absence is never learned.
        meta: Groups for splits and reports, such as site or year. The model never sees them.
        probabilities: Soft labels of words, for heads that tag words; None if there are none. Words that are left out
            have none.
        source: Who or what labelled the row, as in `TextRow`.
        score: Confidence of the labels, from 0 to 1, as in `TextRow`.
        weight: Factor on the loss of the row, above 0.
    """

    id: str
    document: str
    text: str
    text_pair: str | None = None
    words: tuple[Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    annotated: tuple[str, ...] | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    probabilities: tuple[WordProbabilities, ...] | None = None
    source: str | None = None
    score: float | None = None
    weight: float = 1.0


Row = TextRow | SpanRow


_OPTIONAL = ("text_pair", "meta", "source", "score", "weight")


def row_to_dict(row: Row) -> dict[str, Any]:
    """A row as JSON types, in the format of the jsonl reader. Fields with their default value are left out.

    >>> row_to_dict(TextRow("1", "d", "Aspirin helps.", label="yes"))
    {'id': '1', 'document': 'd', 'text': 'Aspirin helps.', 'label': 'yes'}
    >>> row_to_dict(SpanRow("1", "d", "Aspirin helps.", entities=(Entity("T1", "Drug", ((0, 7),)),)))["entities"]
    [{'id': 'T1', 'type': 'Drug', 'spans': [[0, 7]]}]
    """
    out: dict[str, Any] = {"id": row.id, "document": row.document, "text": row.text}
    if row.text_pair is not None:
        out["text_pair"] = row.text_pair
    if isinstance(row, TextRow):
        if row.label is not None:
            out["label"] = list(row.label) if isinstance(row.label, tuple) else row.label
        if row.probabilities is not None:
            out["probabilities"] = dict(row.probabilities)
    else:
        out["entities"] = [_entity_to_dict(entity) for entity in row.entities]
        if row.relations:
            out["relations"] = [relation._asdict() for relation in row.relations]
        for name in ("words", "sentences"):
            spans: tuple[Span, ...] | None = getattr(row, name)
            if spans is not None:
                out[name] = [list(span) for span in spans]
        if row.probabilities is not None:
            out["probabilities"] = [word._asdict() for word in row.probabilities]
    if row.annotated is not None:
        out["annotated"] = list(row.annotated)
    if row.meta:
        out["meta"] = dict(row.meta)
    if row.source is not None:
        out["source"] = row.source
    if row.score is not None:
        out["score"] = row.score
    if row.weight != 1:
        out["weight"] = row.weight
    return out


def row_from_dict(fields: Mapping[str, Any]) -> Row:
    """The row that `row_to_dict` wrote: a `SpanRow` if there is a key `entities`, else a `TextRow`.

    Raises:
        KeyError: `id`, `document` or `text` is missing.
        TypeError: A key is not a field of the row type.

    >>> row = SpanRow("1", "d", "Aspirin helps.", entities=(Entity("T1", "Drug", ((0, 7),)),), annotated=("Drug",))
    >>> row_from_dict(row_to_dict(row)) == row
    True
    """
    fields = dict(fields)
    common = {name: fields.pop(name) for name in ("id", "document", "text")}
    common |= {name: fields.pop(name) for name in _OPTIONAL if name in fields}
    if fields.get("annotated") is not None:
        fields["annotated"] = tuple(fields["annotated"])
    if "entities" not in fields:
        label = fields.pop("label", None)
        return TextRow(**common, label=tuple(label) if isinstance(label, list) else label, **fields)
    entities = tuple(_entity_from_dict(entity) for entity in fields.pop("entities"))
    relations = tuple(Relation(r["head"], r["tail"], r["type"]) for r in fields.pop("relations", ()))
    for name in ("words", "sentences"):
        if fields.get(name) is not None:
            fields[name] = _spans(fields[name])
    if fields.get("probabilities") is not None:
        fields["probabilities"] = tuple(WordProbabilities(**word) for word in fields["probabilities"])
    return SpanRow(**common, entities=entities, relations=relations, **fields)


def _entity_to_dict(entity: Entity) -> dict[str, Any]:
    out: dict[str, Any] = {"id": entity.id, "type": entity.type, "spans": [list(span) for span in entity.spans]}
    if entity.concepts:
        out["concepts"] = list(entity.concepts)
    if entity.attributes:
        out["attributes"] = dict(entity.attributes)
    return out


def _entity_from_dict(fields: Mapping[str, Any]) -> Entity:
    concepts, attributes = tuple(fields.get("concepts", ())), fields.get("attributes", {})
    return Entity(fields["id"], fields["type"], _spans(fields["spans"]), concepts, attributes)


def _spans(pairs: Any) -> tuple[Span, ...]:
    return tuple((start, end) for start, end in pairs)
