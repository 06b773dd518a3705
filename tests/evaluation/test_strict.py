"""Strict counts of triples and attributes, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heads import Entity, Relation, SpanRow
from heads.generation import Generation
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from mtl.evaluation.strict import (
    counted_labels,
    strict_concept_counts,
    strict_counts,
    strict_report,
    strict_scores,
)
from mtl.prediction.mentions import NameConcepts

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


def triple_counts(
    of: RelationClassification, found: SpanRow, relations: list[dict[str, str]], gold: SpanRow
) -> torch.Tensor:
    return strict_counts(of, found, {"relations": relations}, gold)


def relation(head: str, tail: str, kind: str) -> dict[str, str]:
    return {"head": head, "tail": tail, "type": kind}


def test_characters_that_no_tokenizer_reads_do_not_count_at_the_ends_of_a_mention() -> None:
    text = "asthma\u00ad caused by \u00a0aspirin"
    gold = SpanRow(
        *("1", "d", text),
        entities=(entity("A", 0, 7, "Disease"), entity("B", 17, 25)),
        relations=(Relation("B", "A", "up"),),
    )
    found = SpanRow("1", "d", text, entities=(entity("T1", 0, 6, "Disease"), entity("T2", 18, 25)))
    counts = triple_counts(head(), found, [relation("T2", "T1", "up")], gold)
    assert counts.tolist() == [[1, 1, 1], [0, 0, 0]]


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


NAMES = {"D1": "aspirin", "D2": "ibuprofen", "D3": "bleeding"}
PAIRS = st.sets(
    st.tuples(*[st.sampled_from(sorted(NAMES))] * 2, st.sampled_from(["up", "down"])).filter(
        lambda one: one[0] != one[1]
    )
)


@given(PAIRS, PAIRS, st.booleans())
def test_found_and_written_relations_between_concepts_have_the_same_counts(
    known: set[tuple[str, str, str]],
    predicted: set[tuple[str, str, str]],
    directed: bool,
) -> None:
    mentions = [entity(name, TEXT.index(name), TEXT.index(name) + len(name), "Drug", id) for id, name in NAMES.items()]
    gold = row(*mentions, relations=tuple(Relation(*one) for one in sorted(known)))
    everything = [
        Relation(*pair, kind) for kind in ("up", "down") for pair in (("D1", "D2"), ("D2", "D3"), ("D3", "D1"))
    ]
    finder = head(level="concept", scope="document", directed=directed)
    writer = Generation(["up", "down"], 4, kind="triples", directed=directed)
    link = NameConcepts([row(*mentions, relations=tuple(everything))], directed=directed)
    written = link(Relation(NAMES[first].upper(), NAMES[second], kind) for first, second, kind in predicted)
    assert torch.equal(
        strict_concept_counts(writer, written, gold),
        triple_counts(finder, row(*mentions), [relation(*one) for one in predicted], gold),
    )


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
    scores = strict_scores(counts)
    assert scores["end_to_end_precision"] == pytest.approx(2 / 3)
    assert scores["end_to_end_recall"] == pytest.approx(2 / 6)
    assert scores["end_to_end_micro_f1"] == pytest.approx(4 / 9)
    assert strict_scores(torch.zeros(2, 3)) == dict.fromkeys(scores, 0.0)
    report = strict_report(head(), counts)
    assert counted_labels(head()) == ["up", "down"] == list(report.per_class)
    assert report.per_class["down"] == pytest.approx({"precision": 1, "recall": 0.25, "f1": 0.4, "support": 4})


# --- attributes -------------------------------------------------------------------------------------------------------


def labeller(**options: Any) -> MentionClassification:
    return MentionClassification(["absent", "present"], 4, attribute="assertion", **options)


def attribute_counts(
    of: MentionClassification, found: SpanRow, values: dict[str, str], gold: SpanRow
) -> list[list[int]]:
    made = [{"entity": name, "name": "assertion", "value": value, "score": 1.0} for name, value in values.items()]
    counts: list[list[int]] = strict_counts(of, found, {"attributes": made}, gold).tolist()
    return counts


def asserted(one: Entity, value: str) -> Entity:
    return one._replace(attributes={"assertion": value})


ASSERTED = row(asserted(A, "absent"), asserted(B, "present"), C)


def test_an_attribute_needs_the_exact_mention_its_type_and_the_value() -> None:
    right = row(A._replace(id="T1"))
    assert attribute_counts(labeller(), right, {"T1": "absent"}, ASSERTED) == [[1, 1, 1], [0, 0, 1]]
    assert attribute_counts(labeller(), right, {"T1": "present"}, ASSERTED) == [[0, 0, 1], [0, 1, 1]]
    for wrong in (entity("T1", 0, 6), entity("T1", 0, 7, "Gene")):
        assert attribute_counts(labeller(), row(wrong), {"T1": "absent"}, ASSERTED) == [[0, 1, 1], [0, 0, 1]]
    assert attribute_counts(labeller(), row(), {}, ASSERTED) == [[0, 0, 1], [0, 0, 1]]


def test_a_mention_without_a_gold_value_does_not_count_unless_there_is_a_default() -> None:
    unknown = row(C._replace(id="T1"))
    assert attribute_counts(labeller(), unknown, {"T1": "absent"}, ASSERTED) == [[0, 0, 1], [0, 0, 1]]
    assert attribute_counts(labeller(default="absent"), unknown, {"T1": "absent"}, ASSERTED) == [[1, 1, 2], [0, 0, 1]]


def test_mentions_of_types_that_are_not_annotated_or_not_read_do_not_count() -> None:
    found = row(entity("T1", 12, 16, "Gene"))
    gold = row(asserted(A, "absent"), annotated=("Drug",))
    assert attribute_counts(labeller(), found, {"T1": "absent"}, gold) == [[0, 0, 1], [0, 0, 0]]
    assert attribute_counts(labeller(entity_types=["Gene"]), row(), {}, ASSERTED) == [[0, 0, 0], [0, 0, 0]]


def test_excluded_classes_do_not_count() -> None:
    head = labeller(excluded=["present"])
    assert counted_labels(head) == ["absent"]
    assert attribute_counts(head, ASSERTED, {"A": "absent", "B": "present"}, ASSERTED) == [[1, 1, 1]]


def test_written_relations_between_concepts_are_counted_once_by_type_and_direction() -> None:
    writes = Generation(["up", "down"], 4, kind="triples")
    gold = row(relations=(Relation("D1", "D2", "up"), Relation("D1", "D3", "down")))
    found = [
        Relation("D1", "D2", "up"),
        Relation("D1", "D2", "up"),
        Relation("D2", "D1", "up"),
        Relation("D1", "D3", "up"),
    ]
    assert strict_concept_counts(writes, found, gold).tolist() == [[1, 3, 1], [0, 0, 1]]
    partly = row(relations=gold.relations, annotated=("down",))
    assert strict_concept_counts(writes, found, partly).tolist() == [[0, 0, 0], [0, 0, 1]]
