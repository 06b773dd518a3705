"""Decoded predictions as they are written: entities with their text and attributes, relations between indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heads import Entity, Prediction, Row, SpanRow
from mtl.prediction.mentions import SAME_TEXT

Scores = Mapping[tuple[int, int, str], float]
"""The scores of predicted mentions by start, end and type."""


def as_record(prediction: Prediction, row: Row, scores: Scores | None = None) -> dict[str, Any]:
    """A prediction as it is written.

    Args:
        prediction: Decoded prediction of one task.
        row: The row as the task read it.
        scores: Scores of the mentions of the row that were predicted; the others were in the input.

    >>> from heads import TextRow
    >>> as_record({"label": "yes", "scores": {"yes": 0.9, "no": 0.1}}, TextRow("1", "1", "Fever."))
    {'label': 'yes', 'score': 0.9, 'scores': {'yes': 0.9, 'no': 0.1}}
    >>> as_record({"entities": [{"type": "Sign", "start": 0, "end": 5, "score": 0.9}]}, TextRow("1", "1", "Fever."))
    {'entities': [{'type': 'Sign', 'start': 0, 'end': 5, 'text': 'Fever', 'score': 0.9}]}
    >>> row = SpanRow("1", "1", "No fever.", entities=(Entity("T1", "Sign", ((3, 8),)),))
    >>> found = {"entity": "T1", "name": "assertion", "value": "absent", "score": 0.9}
    >>> as_record({"attributes": [found]}, row)["entities"][0]["attributes"]
    {'assertion': {'value': 'absent', 'score': 0.9}}
    """
    if "relations" in prediction and isinstance(row, SpanRow):
        entities = [_mention(entity, row.text, scores or {}) for entity in row.entities]
        return {"entities": entities, "relations": list(_related(prediction["relations"], row.entities))}
    if "attributes" in prediction and isinstance(row, SpanRow):
        return {"entities": list(_labelled(prediction["attributes"], row, scores or {}))}
    if "entities" in prediction:
        return {**prediction, "entities": [_with_text(entity, row.text) for entity in prediction["entities"]]}
    if "label" in prediction and "scores" in prediction:
        label = prediction["label"]
        return {"label": label, "score": prediction["scores"][label], **prediction}
    return dict(prediction)


def _related(relations: Sequence[Mapping[str, Any]], entities: Sequence[Entity]) -> Iterator[dict[str, Any]]:
    """The relations between indices of mentions, with the ids of their concepts if they join concepts of the input.

    A concept without an id, which is made of mentions with the same text, is written as the id of its first mention.
    """
    places, mentions = _places(entities), {entity.id for entity in entities}
    for one in relations:
        ends = [one[end].removeprefix(SAME_TEXT) for end in ("head", "tail")]
        joined = {"type": one["type"], "head": places[one["head"]], "tail": places[one["tail"]], "score": one["score"]}
        yield joined if set(ends) <= mentions else joined | {"concepts": ends}


def _places(entities: Sequence[Entity]) -> dict[str, int]:
    """The index of each mention by its id, and of the first mention of each concept by the concept's id."""
    places: dict[str, int] = {}
    for index, entity in enumerate(entities):
        for concept in entity.concepts:
            places.setdefault(concept, index)
    return places | {entity.id: index for index, entity in enumerate(entities)}


def _labelled(attributes: Sequence[Mapping[str, Any]], row: SpanRow, scores: Scores) -> Iterator[dict[str, Any]]:
    """The mentions that have a predicted attribute."""
    entities = {entity.id: entity for entity in row.entities}
    for one in attributes:
        found = {one["name"]: {"value": one["value"], "score": one["score"]}}
        yield _mention(entities[one["entity"]], row.text, scores) | {"attributes": found}


def _mention(entity: Entity, text: str, scores: Scores) -> dict[str, Any]:
    start, end = entity.spans[0][0], entity.spans[-1][1]
    out: dict[str, Any] = {"type": entity.type, "start": start, "end": end}
    out["text"] = " ".join(text[a:b] for a, b in entity.spans)
    score = scores.get((start, end, entity.type))
    out["score"] = score
    if score is not None:
        return out
    out["id"] = entity.id
    if len(entity.spans) > 1:
        out["spans"] = [list(span) for span in entity.spans]
    concepts = [concept for concept in entity.concepts if not concept.startswith(SAME_TEXT)]
    return out | {"concepts": concepts} if concepts else out


def _with_text(entity: Mapping[str, Any], text: str) -> dict[str, Any]:
    out = {name: entity[name] for name in ("type", "start", "end")}
    return {**out, "text": text[entity["start"] : entity["end"]], **{k: v for k, v in entity.items() if k not in out}}
