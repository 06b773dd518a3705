"""From lines of `mtl predict` to the fields of a row, so that predictions can be read as weak labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mtl.readers._columns import MalformedError, kind_of

SOURCE = "predictions"
"""The source of predicted rows whose line names none."""

_RULE = "a prediction must be as `mtl predict` writes it"


def predicted_fields(predictions: Any, task: str) -> dict[str, Any]:
    """What a task predicted for a text, by the fields of a row, not yet checked.

    `score` is the least confidence of what was predicted: of the mentions, attributes and relations, or of the labels,
    each of which counts as the more probable of present and absent. It is 1 if there are none.

    Args:
        predictions: The value of the key `predictions` of a line.
        task: Name of the task.

    Raises:
        MalformedError: The task is missing, or the value has another form.

    >>> predicted_fields({"acute": {"label": "yes", "score": 0.9, "scores": {"yes": 0.9, "no": 0.1}}}, "acute")
    {'label': 'yes', 'score': 0.9, 'probabilities': {'yes': 0.9, 'no': 0.1}}
    """
    if not isinstance(predictions, Mapping):
        raise MalformedError("predictions must be an object", kind_of(predictions))
    if task not in predictions:
        raise MalformedError(f"predictions must have the task '{task}'", f"{len(predictions)} others")
    try:
        return _fields(predictions[task])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise MalformedError(_RULE, f"one that cannot be read ({type(error).__name__})") from None


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    if "entities" in found:
        return _span_fields(found)
    if "labels" in found:
        return {
            "label": list(found["labels"]),
            "score": _least(max(value, 1 - value) for value in found["scores"].values()),
            "probabilities": dict(found["scores"]),
            "annotated": list(found["scores"]),  # a teacher with fewer labels has not looked for the others
        }
    if "value" in found:
        return {"label": float(found["value"])}
    return {"label": found["label"], "score": found["score"], "probabilities": dict(found["scores"])}


def _span_fields(found: Mapping[str, Any]) -> dict[str, Any]:
    entities = found["entities"]
    relations = found.get("relations", ())
    ids = [str(entity.get("id", number)) for number, entity in enumerate(entities)]
    attributes = [value for entity in entities for value in entity.get("attributes", {}).values()]
    scored = [one["score"] for one in (*entities, *attributes, *relations)]
    fields: dict[str, Any] = {
        "entities": [_entity(entity, name) for entity, name in zip(entities, ids, strict=True)],
        "score": _least(score for score in scored if score is not None),  # null: the mention was in the input
    }
    if "annotated" in found:
        fields["annotated"] = list(found["annotated"])
    if "probabilities" in found:
        fields["probabilities"] = list(found["probabilities"])
        fields["words"] = [[word["start"], word["end"]] for word in found["probabilities"]]  # of the teacher
    if "relations" in found:
        fields["relations"] = [_relation(relation, ids) for relation in relations]
    return fields


def _entity(entity: Mapping[str, Any], name: str) -> dict[str, Any]:
    spans = entity.get("spans") or [[entity["start"], entity["end"]]]
    values = {key: one["value"] for key, one in entity.get("attributes", {}).items()}
    concepts = list(entity.get("concepts", ()))
    return {"id": name, "type": entity["type"], "spans": spans, "concepts": concepts, "attributes": values}


def _relation(relation: Mapping[str, Any], ids: list[str]) -> dict[str, Any]:
    head, tail = relation.get("concepts") or (ids[relation["head"]], ids[relation["tail"]])
    return {"head": head, "tail": tail, "type": relation["type"]}


def _least(scores: Iterable[float]) -> float:
    return min(scores, default=1.0)
