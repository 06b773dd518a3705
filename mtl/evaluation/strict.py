"""Strict scores of relations and attributes of predicted mentions.

A predicted triple counts if the relation type and both arguments are right. A predicted attribute counts if its value
and its mention are right. An argument is a mention with its exact parts and its type (as `merge_types` of the relation
task names it), or a concept id if the task relates concepts. What is gold, but whose mentions were not found, counts as
missed. As for mentions alone, characters that no tokenizer reads do not count at the ends of a part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heads import ClassReport, Entity, Head, Prediction, Relation, SpanRow, scores
from heads._invisible import trimmed

if TYPE_CHECKING:
    from heads._labelling import Labelling
    from heads._pairs import Pairing

DECIDES_RESULTS = False

PREFIX = "end_to_end_"
"""Start of the names of the metrics."""

PRIMARY = f"{PREFIX}micro_f1"

Argument = tuple[object, ...]
"""A mention as (parts, type), or a concept as (id,)."""

Arguments = tuple[Argument, ...]
"""Head and tail, in a fixed order if pairs have no direction; or one mention."""

Facts = set[tuple[str | None, Arguments]]
"""Relation types or attribute values, each with its arguments; None if the gold type or value is not known."""


def strict_counts(head: Head, found: SpanRow, prediction: Prediction, gold: SpanRow) -> Tensor:
    """For each counted label the numbers of right, predicted and gold triples or attributes of a row, [C, 3].

    Types that are not annotated in the row do not count, and neither does a prediction for arguments whose gold type or
    value is not known. Equal triples count once.

    Args:
        head: Head of the relation task or of the mention task.
        found: The row with the predicted mentions.
        prediction: Its prediction for these mentions.
        gold: The row with its gold annotation.
    """
    if head.labelling is not None:
        predicted, known = _predicted_attributes(found, prediction, gold), _gold_attributes(head.labelling, gold)
    else:
        assert head.pairing is not None, "the task neither relates nor labels mentions"
        relations = (Relation(r["head"], r["tail"], r["type"]) for r in prediction["relations"])
        predicted = _annotated(_triples(head.pairing, found, relations), gold)
        known = _annotated(_triples(head.pairing, gold, gold.relations), gold)
    return _counted(head, predicted, known)


def strict_concept_counts(head: Head, relations: Iterable[Relation], gold: SpanRow) -> Tensor:
    """As `strict_counts`, for relations between concepts that a head wrote, [C, 3].

    Args:
        head: Head of the task.
        relations: The predicted relations, with concept ids.
        gold: The row with its gold annotation.
    """
    predicted, known = (
        {(one.type, _ordered([(one.head,), (one.tail,)], directed=head.writes_directed)) for one in own}
        for own in (relations, gold.relations)
    )
    return _counted(head, _annotated(predicted, gold), _annotated(known, gold))


def strict_scores(counts: Tensor) -> dict[str, float]:
    """Micro F1, precision and recall over the counted labels, from summed counts [C, 3].

    >>> strict_scores(torch.tensor([[1, 2, 4], [0, 0, 0]]))["end_to_end_precision"]
    0.5
    """
    precision, recall, f1 = scores.precision_recall_f1(*counts.double().sum(0))
    named = {"micro_f1": f1, "precision": precision, "recall": recall}
    return {f"{PREFIX}{name}": float(value) for name, value in named.items()}


def strict_report(head: Head, counts: Tensor) -> ClassReport:
    """Precision, recall, F1 and support of each counted label, from summed counts [C, 3]."""
    per_class = {}
    for label, own in zip(counted_labels(head), counts.double(), strict=True):
        precision, recall, f1 = map(float, scores.precision_recall_f1(*own))
        per_class[label] = {"precision": precision, "recall": recall, "f1": f1, "support": float(own[2])}
    return ClassReport(per_class, (), None)


def counted_labels(head: Head) -> list[str]:
    """The relation types without the one that means "no relation", or the classes of mentions without excluded ones."""
    excluded = (head.negative,) if head.labelling is None else head.labelling.excluded
    return [label for label in head.labels if label not in excluded]


def _counted(head: Head, predicted: Facts, known: Facts) -> Tensor:
    unknown = {arguments for label, arguments in known if label is None}
    counts = []
    for label in counted_labels(head):
        right = {arguments for kind, arguments in known if kind == label}
        guesses = {arguments for kind, arguments in predicted if kind == label} - (unknown - right)
        counts.append([len(right & guesses), len(guesses), len(right)])
    return torch.tensor(counts).reshape(-1, 3)


# --- relations --------------------------------------------------------------------------------------------------------


def _parts(entity: Entity, row: SpanRow) -> tuple[tuple[int, int], ...]:
    return tuple(trimmed(row.text, *span) for span in entity.spans)


def _triples(pairing: Pairing, row: SpanRow, relations: Iterable[Relation]) -> Facts:
    """The triples of relations whose arguments are known."""
    arguments: dict[str, Argument] = {}
    for entity in row.entities:
        if pairing.level == "concept":
            arguments |= {concept: (concept,) for concept in entity.concepts}
        else:
            arguments[entity.id] = (_parts(entity, row), pairing.merge.get(entity.type, entity.type))
    triples = set()
    for relation in relations:
        pair = [arguments.get(name, (name,)) for name in (relation.head, relation.tail)]
        triples.add((relation.type, _ordered(pair, directed=pairing.directed)))
    return triples


def _ordered(pair: list[Argument], *, directed: bool) -> Arguments:
    return tuple(pair if directed else sorted(pair, key=repr))


def _annotated(triples: Facts, gold: SpanRow) -> Facts:
    """The triples of relation types that are annotated in the row, and those without a type."""
    return {one for one in triples if gold.annotated is None or one[0] is None or one[0] in gold.annotated}


# --- attributes -------------------------------------------------------------------------------------------------------


def _predicted_attributes(found: SpanRow, prediction: Prediction, gold: SpanRow) -> Facts:
    """The predicted values of mentions of types that are annotated in the gold row."""
    values = {one["entity"]: one["value"] for one in prediction["attributes"]}
    return {
        (values[entity.id], ((_parts(entity, found), entity.type),))
        for entity in found.entities
        if entity.id in values and (gold.annotated is None or entity.type in gold.annotated)
    }


def _gold_attributes(labelling: Labelling, gold: SpanRow) -> Facts:
    return {(labelling.gold(gold, one), ((_parts(one, gold), one.type),)) for one in labelling.mentions(gold)}
