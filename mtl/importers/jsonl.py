"""Predictions of another system in JSON lines, also those of `mtl predict` and of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heads import Entity, Row, Span
from mtl.importers import Argument, FoundAttribute, FoundRelation, FoundRow, Importer
from mtl.readers._columns import MalformedError
from mtl.readers._json import parse_json

_RULE = "a line must be an object with `id` and a prediction of the task"

_ANSWER = ("label", "labels", "scores", "value")
_OF_MENTIONS = ("entities", "relations", "attributes")


class JsonlImporter(Importer):
    """One object per text with its `id`, and what was found in it.

    - `predictions` with the task's name, as `mtl predict` writes it
    - `prediction`, as a run keeps it
    - or the keys of a prediction themselves: `entities` (`type` with `start` and `end`, or `spans`), `relations`
      (`head`, `tail`, `type`), `attributes` (`entity`, `name`, `value`), `label`, `labels`, `scores` or `value`; also a
      row as the reader `jsonl` reads it, with `probabilities` for `scores`, a number or a list as `label`, `source` and
      `annotated`

    Attributes may also be in the `attributes` of an entity: name -> value, or name -> object with `value`. Heads, tails
    and the entities of attributes are indices of `entities`, their ids, or ids of entities or concepts of the gold row.
    """

    suffixes = (".jsonl", ".ndjson")

    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        for number, line in self.lines():
            if not line.strip():
                continue
            try:
                yield _row(parse_json(line, _RULE), self.task, self.place(number))
            except MalformedError as error:
                self.bad(number, error.rule, error.found)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                self.bad(number, _RULE, f"one that cannot be read ({type(error).__name__})")


def _row(record: Mapping[str, Any], task: str, place: str) -> FoundRow:
    found = _prediction(record, task)
    listed = found.get("entities", ())
    mentions = tuple(_mention(entity, number) for number, entity in enumerate(listed))
    known = {str(entity["id"]): number for number, entity in enumerate(listed) if "id" in entity}
    relations = tuple(_relation(relation, known) for relation in found.get("relations", ()))
    attributes = (*_attributes(found, known), *_attributes_of(listed))
    source, annotated = record.get("source"), found.get("annotated")
    return FoundRow(
        str(record["id"]),
        place,
        mentions=mentions,
        relations=relations,
        attributes=attributes,
        answer=_answer(found),
        source=None if source is None else str(source),
        annotated=None if annotated is None else tuple(map(str, annotated)),
    )


def _answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for a text; what a row writes as its label is a label, several labels or a number."""
    answer = {name: found[name] for name in _ANSWER if found.get(name) is not None}
    if "probabilities" in found and "entities" not in found:  # there they are soft labels of words
        scores = answer["scores"] = dict(found["probabilities"])
        if "label" not in answer:  # a head reads one of the two
            answer |= {"label": max(scores, key=lambda name: scores[name])}
            answer |= {"labels": [name for name, value in scores.items() if value >= 0.5]}
    label = answer.get("label")
    if isinstance(label, list):
        answer["labels"] = answer.pop("label")
    elif isinstance(label, int | float):
        answer["value"] = label
    return answer


def _prediction(record: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    if "predictions" in record:
        by_task: Mapping[str, Any] = record["predictions"]
        found = by_task[task] if task in by_task or len(by_task) != 1 else next(iter(by_task.values()))
    else:
        found = record.get("prediction", record)
    if not {*_OF_MENTIONS, "probabilities", *_ANSWER} & set(found):
        raise KeyError("prediction")
    return dict(found)


def _mention(entity: Mapping[str, Any], number: int) -> Entity:
    spans: list[Span] = [(int(a), int(b)) for a, b in entity.get("spans") or [(entity["start"], entity["end"])]]
    concepts = tuple(map(str, entity.get("concepts", ())))
    return Entity(str(entity.get("id", number)), str(entity["type"]), tuple(spans), concepts)


def _relation(relation: Mapping[str, Any], known: Mapping[str, int]) -> FoundRelation:
    head, tail = relation.get("concepts") or (relation["head"], relation["tail"])
    return FoundRelation(_argument(head, known), _argument(tail, known), str(relation["type"]))


def _attributes(found: Mapping[str, Any], known: Mapping[str, int]) -> Iterator[FoundAttribute]:
    for one in found.get("attributes", ()):
        yield FoundAttribute(_argument(one["entity"], known), str(one["name"]), str(one["value"]))


def _attributes_of(entities: Sequence[Mapping[str, Any]]) -> Iterator[FoundAttribute]:
    for number, entity in enumerate(entities):
        for name, value in entity.get("attributes", {}).items():
            yield FoundAttribute(number, name, str(value["value"] if isinstance(value, Mapping) else value))


def _argument(name: Any, known: Mapping[str, int]) -> Argument:
    return name if isinstance(name, int) else known.get(str(name), str(name))
