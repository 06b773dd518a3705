"""Strict counts of triples, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heads import Entity, Relation, SpanRow
from heads.relation import RelationClassification
from mtl.evaluation.triples import positive_labels, triple_counts, triple_report, triple_scores

TEXT = "aspirin and ibuprofen raise the risk of bleeding"


def head(**options: Any) -> RelationClassification:
    options = {"negative": "none", "input": "markers", "pooling": "entity_start", **options}
    return RelationClassification(["up", "down", "none"], 4, **options)


def row(*entities: Entity, relations: tuple[Relation, ...] = (), annotated: tuple[str, ...] | None = None) -> SpanRow:
    return SpanRow("1", "d", TEXT, entities=entities, relations=relations, annotated=annotated)


def entity(name: str, start: int, end: int, kind: str = "Drug", *concepts: str) -> Entity:
    return Entity(name, kind, ((start, end),), concepts)


A, B, C = entity("A", 0, 7), entity("B", 12, 21), entity("C", 40, 48)
GOLD = row(A, B, C, relations=(Relation("A", "C", "up"), Relation("B", "C", "down")))


def relation(head: str, tail: str, kind: str) -> dict[str, str]:
    return {"head": head, "tail": tail, "type": kind}


def test_a_triple_needs_the_exact_mentions_their_types_and_the_relation_type() -> None:
    right = row(A._replace(id="T1"), C._replace(id="T2"))
    assert triple_counts(head(), right, [relation("T1", "T2", "up")], GOLD).tolist() == [[1, 1, 1], [0, 0, 1]]
    for wrong in (entity("T1", 0, 6), entity("T1", 0, 7, "Gene")):
        other = row(wrong, C._replace(id="T2"))
        assert triple_counts(head(), other, [relation("T1", "T2", "up")], GOLD).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert triple_counts(head(), right, [relation("T1", "T2", "down")], GOLD).tolist() == [[0, 0, 1], [0, 1, 1]]


def test_the_order_of_the_arguments_counts_only_if_pairs_have_a_direction() -> None:
    swapped = [relation("C", "A", "up")]
    assert triple_counts(head(), GOLD, swapped, GOLD)[0].tolist() == [1, 1, 1]
    assert triple_counts(head(directed=True), GOLD, swapped, GOLD)[0].tolist() == [0, 1, 1]


def test_types_are_compared_as_the_relation_task_merges_them() -> None:
    brand = row(A._replace(type="Brand"), C)
    found = [relation("A", "C", "up")]
    assert triple_counts(head(), brand, found, GOLD)[0].tolist() == [0, 1, 1]
    assert triple_counts(head(merge_types={"Brand": "Drug"}), brand, found, GOLD)[0].tolist() == [1, 1, 1]


def test_a_discontinuous_gold_mention_is_not_its_hull() -> None:
    gold = row(Entity("A", "Drug", ((0, 3), (5, 7))), C, relations=(Relation("A", "C", "up"),))
    assert triple_counts(head(), row(A, C), [relation("A", "C", "up")], gold)[0].tolist() == [0, 1, 1]


def test_concepts_are_compared_by_their_ids() -> None:
    concepts = head(level="concept", scope="document")
    gold = row(
        entity("A", 0, 7, "Drug", "D1"), entity("C", 40, 48, "Drug", "D2"), relations=(Relation("D1", "D2", "up"),)
    )
    elsewhere = row(entity("T1", 12, 21, "Drug", "D1"), entity("T2", 40, 48, "Drug", "D2"))
    assert triple_counts(concepts, elsewhere, [relation("D1", "D2", "up")], gold)[0].tolist() == [1, 1, 1]
    assert triple_counts(concepts, elsewhere, [], gold)[0].tolist() == [0, 0, 1]


def test_what_is_not_annotated_does_not_count() -> None:
    only_up = row(A, B, C, relations=GOLD.relations, annotated=("up",))
    found = [relation("A", "C", "up"), relation("A", "B", "down")]
    assert triple_counts(head(), GOLD, found, only_up).tolist() == [[1, 1, 1], [0, 0, 0]]
    untyped = row(A, B, C, relations=(Relation("A", "C", None),))
    assert triple_counts(head(), GOLD, [relation("A", "C", "up")], untyped).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_equal_triples_count_once() -> None:
    twice = [relation("A", "C", "up"), relation("C", "A", "up")]
    assert triple_counts(head(), GOLD, twice, GOLD)[0].tolist() == [1, 1, 1]


def test_scores_are_pooled_over_the_positive_types() -> None:
    counts = torch.tensor([[1, 2, 2], [1, 1, 4]])
    scores = triple_scores(counts)
    assert scores["end_to_end_precision"] == pytest.approx(2 / 3)
    assert scores["end_to_end_recall"] == pytest.approx(2 / 6)
    assert scores["end_to_end_micro_f1"] == pytest.approx(4 / 9)
    assert triple_scores(torch.zeros(2, 3)) == dict.fromkeys(scores, 0.0)
    report = triple_report(head(), counts)
    assert positive_labels(head()) == ["up", "down"] == list(report.per_class)
    assert report.per_class["down"] == pytest.approx({"precision": 1, "recall": 0.25, "f1": 0.4, "support": 4})
