"""The mentions, attributes and relations of a text over all tasks, for formats that keep one list of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mtl.writers import PredictedRow

Spans = tuple[tuple[int, int], ...]


class Attribute(NamedTuple):
    """The predicted value of an attribute, and its probability."""

    value: str
    score: float


class Mention(NamedTuple):
    """A mention.

    Args:
        type: Entity type.
        spans: Its parts in text order.
        text: Its text.
        score: Probability of the mention; None if the input has it.
        concepts: Concept ids that the input gives.
        attributes: Predicted attributes by name.
        id: Id that the input gives; None for a predicted mention.
    """

    type: str
    spans: Spans
    text: str
    score: float | None
    concepts: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    id: str | None


class Link(NamedTuple):
    """A relation between two mentions, given by their indices."""

    type: str
    head: int
    tail: int
    score: float


class Annotations(NamedTuple):
    """The mentions of a text in text order, and the relations between them."""

    mentions: list[Mention]
    links: list[Link]


def annotated(row: PredictedRow) -> Annotations:
    """All mentions and relations of a row; a mention that several tasks list is one mention with all its attributes.

    >>> entity = {"type": "Drug", "start": 0, "end": 7, "text": "Aspirin", "score": 0.9}
    >>> row = PredictedRow("1", "1", "Aspirin", {"a": {"entities": [entity]}, "b": {"entities": [entity]}})
    >>> len(annotated(row).mentions)
    1
    """
    found: dict[tuple[Spans, str], Mention] = {}
    predictions = [prediction for prediction in row.predictions.values() if "entities" in prediction]
    for entity in (entity for prediction in predictions for entity in prediction["entities"]):
        mention = _mention(entity)
        known = found.setdefault(_key(mention), mention)
        found[_key(mention)] = known._replace(
            concepts=known.concepts or mention.concepts,
            attributes={**known.attributes, **mention.attributes, **known.attributes},
            id=mention.id if known.id is None else known.id,
        )
    mentions = [found[key] for key in sorted(found)]
    index = {_key(mention): i for i, mention in enumerate(mentions)}
    links: dict[tuple[str, int, int], Link] = {}
    for prediction in predictions:
        own = [index[_key(_mention(entity))] for entity in prediction["entities"]]
        for relation in prediction.get("relations", ()):
            link = Link(relation["type"], own[relation["head"]], own[relation["tail"]], relation["score"])
            links.setdefault(link[:3], link)
    return Annotations(mentions, list(links.values()))


def _mention(entity: Mapping[str, Any]) -> Mention:
    spans = tuple((start, end) for start, end in entity.get("spans", [(entity["start"], entity["end"])]))
    concepts, attributes = tuple(entity.get("concepts", ())), entity.get("attributes", {})
    values = {name: Attribute(one["value"], one["score"]) for name, one in attributes.items()}
    return Mention(entity["type"], spans, entity["text"], entity["score"], concepts, values, entity.get("id"))


def _key(mention: Mention) -> tuple[Spans, str]:
    return mention.spans, mention.type
