"""Strict scores of relations between predicted mentions: a triple counts if relation type and both arguments are right.

An argument is a mention with its exact parts and its type (as `merge_types` of the relation task names it), or a
concept id if the task relates concepts. Gold triples whose mentions were not found count as missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heads import ClassReport, Entity, Head, Relation, SpanRow, scores

if TYPE_CHECKING:
    from heads._pairs import Pairing

DECIDES_RESULTS = False

PREFIX = "end_to_end_"
"""Start of the names of the metrics."""

PRIMARY = f"{PREFIX}micro_f1"

Argument = tuple[object, ...]
"""A mention as (parts, type), or a concept as (id,)."""

Arguments = tuple[Argument, ...]
"""Head and tail; in a fixed order if pairs have no direction."""


def triple_counts(head: Head, found: SpanRow, relations: Sequence[Mapping[str, str]], gold: SpanRow) -> Tensor:
    """For each positive relation type the numbers of right, predicted and gold triples of a row, [C, 3].

    Types that are not annotated in the row do not count, and neither does a predicted relation between arguments whose
    gold relation has no type. Equal triples count once.

    Args:
        head: Head of the relation task.
        found: The row with the predicted mentions.
        relations: The predicted relations between these mentions or their concepts: head, tail and type.
        gold: The row with its gold annotation.
    """
    pairing = head.pairing
    assert pairing is not None, "the task predicts no relations"
    predicted = _triples(pairing, found.entities, (Relation(r["head"], r["tail"], r["type"]) for r in relations))
    known = _triples(pairing, gold.entities, gold.relations)
    untyped = {arguments for kind, arguments in known if kind is None}
    counts = []
    for label in positive_labels(head):
        is_annotated = gold.annotated is None or label in gold.annotated
        right = {arguments for kind, arguments in known if kind == label and is_annotated}
        guesses = {arguments for kind, arguments in predicted if kind == label and is_annotated} - (untyped - right)
        counts.append([len(right & guesses), len(guesses), len(right)])
    return torch.tensor(counts).reshape(-1, 3)


def triple_scores(counts: Tensor) -> dict[str, float]:
    """Micro F1, precision and recall over the positive relation types, from summed counts [C, 3].

    >>> triple_scores(torch.tensor([[1, 2, 4], [0, 0, 0]]))["end_to_end_precision"]
    0.5
    """
    precision, recall, f1 = scores.precision_recall_f1(*counts.double().sum(0))
    named = {"micro_f1": f1, "precision": precision, "recall": recall}
    return {f"{PREFIX}{name}": float(value) for name, value in named.items()}


def triple_report(head: Head, counts: Tensor) -> ClassReport:
    """Precision, recall, F1 and support of each positive relation type, from summed counts [C, 3]."""
    per_class = {}
    for label, own in zip(positive_labels(head), counts.double(), strict=True):
        precision, recall, f1 = map(float, scores.precision_recall_f1(*own))
        per_class[label] = {"precision": precision, "recall": recall, "f1": f1, "support": float(own[2])}
    return ClassReport(per_class, (), None)


def positive_labels(head: Head) -> list[str]:
    """The relation types without the one that means "no relation"."""
    return [label for label in head.labels if label != head.negative]


def _triples(
    pairing: Pairing, entities: Iterable[Entity], relations: Iterable[Relation]
) -> set[tuple[str | None, Arguments]]:
    """The triples of relations whose arguments are known."""
    arguments: dict[str, Argument] = {}
    for entity in entities:
        if pairing.level == "concept":
            arguments |= {concept: (concept,) for concept in entity.concepts}
        else:
            arguments[entity.id] = (entity.spans, pairing.merge.get(entity.type, entity.type))
    triples = set()
    for relation in relations:
        pair = [arguments.get(name, (name,)) for name in (relation.head, relation.tail)]
        triples.add((relation.type, tuple(pair if pairing.directed else sorted(pair, key=repr))))
    return triples
