"""The two shapes of an example before tokenisation.

Offsets are characters of `text`, half open: ``text[start:end]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text, or a pair of texts, with one label.

    Args:
        id: Unique within its task and split.
        document: The unit of splits, leakage checks, sharded evaluation and resampling; the id where the source
            knows no documents.
        text: The text, or the first of a pair.
        text_pair: The second of a pair.
        label: A class name, several class names, a number, or None where the row is not annotated.
        meta: Groups (site, year, …) for splits and reports. It never reaches the model.
    """

    id: str
    document: str
    text: str
    text_pair: str | None = None
    label: str | tuple[str, ...] | float | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


class Entity(NamedTuple):
    """A mention: its type, its parts in text order (more than one where it is discontinuous), its concept ids."""

    id: str
    type: str
    spans: tuple[Span, ...]
    concepts: tuple[str, ...] = ()


class Relation(NamedTuple):
    """A typed pair. `head` and `tail` are entity ids, or concept ids; `type` is None where it was not annotated."""

    head: str
    tail: str
    type: str | None


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One text with mentions in it and relations between them.

    Args:
        words: Where the source's own words are; None lets the head find them.
        sentences: Where its sentences are; None makes the row one sentence.
        annotated: The entity and relation types that were annotated in this row; None means all of them. What was
            not annotated is masked, never learned as "nothing here".
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


Row = TextRow | SpanRow


def row_to_dict(row: Row) -> dict[str, Any]:
    """A row as JSON types; fields at their default are left out. The jsonl reader reads this form.

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
    else:
        out["entities"] = [_entity_to_dict(entity) for entity in row.entities]
        if row.relations:
            out["relations"] = [relation._asdict() for relation in row.relations]
        for name in ("words", "sentences"):
            spans: tuple[Span, ...] | None = getattr(row, name)
            if spans is not None:
                out[name] = [list(span) for span in spans]
        if row.annotated is not None:
            out["annotated"] = list(row.annotated)
    if row.meta:
        out["meta"] = dict(row.meta)
    return out


def row_from_dict(fields: Mapping[str, Any]) -> Row:
    """The row that `row_to_dict` wrote: a `SpanRow` where there is a key `entities`, else a `TextRow`.

    Raises:
        KeyError: `id`, `document` or `text` is missing.
        TypeError: A key is not a field of the row.

    >>> row = SpanRow("1", "d", "Aspirin helps.", entities=(Entity("T1", "Drug", ((0, 7),)),), annotated=("Drug",))
    >>> row_from_dict(row_to_dict(row)) == row
    True
    """
    fields = dict(fields)
    common = {name: fields.pop(name) for name in ("id", "document", "text")}
    common |= {name: fields.pop(name) for name in ("text_pair", "meta") if name in fields}
    if "entities" not in fields:
        label = fields.pop("label", None)
        return TextRow(**common, label=tuple(label) if isinstance(label, list) else label, **fields)
    entities = tuple(_entity_from_dict(entity) for entity in fields.pop("entities"))
    relations = tuple(Relation(r["head"], r["tail"], r["type"]) for r in fields.pop("relations", ()))
    for name in ("words", "sentences"):
        if fields.get(name) is not None:
            fields[name] = _spans(fields[name])
    if fields.get("annotated") is not None:
        fields["annotated"] = tuple(fields["annotated"])
    return SpanRow(**common, entities=entities, relations=relations, **fields)


def _entity_to_dict(entity: Entity) -> dict[str, Any]:
    out = {"id": entity.id, "type": entity.type, "spans": [list(span) for span in entity.spans]}
    return out | {"concepts": list(entity.concepts)} if entity.concepts else out


def _entity_from_dict(fields: Mapping[str, Any]) -> Entity:
    return Entity(fields["id"], fields["type"], _spans(fields["spans"]), tuple(fields.get("concepts", ())))


def _spans(pairs: Any) -> tuple[Span, ...]:
    return tuple((start, end) for start, end in pairs)
