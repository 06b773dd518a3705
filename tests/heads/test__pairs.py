"""Candidate pairs and their gold relations."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads import Entity, Relation, SpanRow
from heads._pairs import Pairing, gold

TEXT = "Aspirin inhibits COX-2. Warfarin worsens bleeding after aspirin."
COX = Entity("T2", "Gene", ((17, 22),), ("5743",))
ASPIRIN = Entity("T1", "Chemical", ((0, 7),), ("D001241",))
WARFARIN = Entity("T3", "Chemical", ((24, 32),), ("D014859",))
BLEEDING = Entity("T4", "Disease", ((41, 49),), ("D006470",))
ASPIRIN_AGAIN = Entity("T5", "Chemical", ((56, 63),), ("D001241",))
SENTENCES = ((0, 23), (24, 64))
LABELS = ("cause", "treat", "none")


def row(*entities: Entity, relations: tuple[Relation, ...] = (), **fields: object) -> SpanRow:
    chosen = entities or (COX, ASPIRIN, WARFARIN, BLEEDING, ASPIRIN_AGAIN)
    return SpanRow("1", "d", TEXT, entities=chosen, relations=relations, **fields)  # type: ignore[arg-type]


def ids(pairing: Pairing, text: SpanRow) -> list[tuple[str, str]]:
    return [(candidate.head.id, candidate.tail.id) for candidate in pairing.candidates(text)]


def types(pairing: Pairing, text: SpanRow) -> dict[tuple[str, str], tuple[str, ...]]:
    return gold(text, pairing.candidates(text), pairing, LABELS, "none")


def test_pairs_are_within_a_sentence_and_in_text_order() -> None:
    expected = [("T1", "T2"), ("T3", "T4"), ("T3", "T5"), ("T4", "T5")]
    assert ids(Pairing(), row(sentences=SENTENCES)) == expected


def test_a_candidate_is_read_in_its_sentence() -> None:
    contexts = [candidate.context for candidate in Pairing().candidates(row(sentences=SENTENCES))]
    assert contexts == [SENTENCES[0], *[SENTENCES[1]] * 3]


def test_a_row_without_sentences_is_one_sentence() -> None:
    assert ids(Pairing(), row()) == ids(Pairing(scope="document"), row(sentences=SENTENCES))
    assert len(ids(Pairing(), row())) == 5 * 4 // 2


def test_a_mention_across_two_sentences_is_in_none() -> None:
    across = Entity("T9", "Chemical", ((17, 32),))
    assert ids(Pairing(), row(ASPIRIN, across, BLEEDING, sentences=SENTENCES)) == []
    assert len(ids(Pairing(scope="document"), row(ASPIRIN, across, BLEEDING, sentences=SENTENCES))) == 3


def test_the_types_decide_the_head_whatever_the_order_in_the_text() -> None:
    pairing = Pairing(frozenset({("Disease", "Chemical")}), scope="document")
    assert ids(pairing, row()) == [("T4", "T1"), ("T4", "T3"), ("T4", "T5")]


def test_an_undirected_pair_that_is_allowed_both_ways_is_one_candidate_in_text_order() -> None:
    both = frozenset({("Disease", "Chemical"), ("Chemical", "Disease")})
    assert ids(Pairing(both), row(BLEEDING, WARFARIN)) == [("T3", "T4")]


def test_a_directed_pair_is_a_candidate_in_each_order_that_the_types_allow() -> None:
    pairing = Pairing(frozenset({("Chemical", "Chemical"), ("Chemical", "Gene")}), directed=True)
    assert ids(pairing, row(ASPIRIN, COX, WARFARIN)) == [("T1", "T2"), ("T1", "T3"), ("T3", "T1"), ("T3", "T2")]


def test_two_mentions_at_the_same_position_are_a_pair() -> None:
    twin = ASPIRIN._replace(id="T9")
    assert ids(Pairing(), row(ASPIRIN, twin)) == [("T1", "T9")]


def test_merged_types_are_paired_under_their_new_name() -> None:
    pairing = Pairing(frozenset({("Substance", "Disease")}), merge={"Chemical": "Substance", "Gene": "Substance"})
    candidates = pairing.candidates(row(COX, WARFARIN, BLEEDING))
    assert [(c.head.id, c.head.type, c.tail.type) for c in candidates] == [
        ("T2", "Substance", "Disease"),
        ("T3", "Substance", "Disease"),
    ]


def test_concepts_are_paired_once_with_all_their_mentions() -> None:
    pairing = Pairing(frozenset({("Chemical", "Disease")}), scope="document", level="concept")
    candidates = pairing.candidates(row())
    assert [(c.head.id, c.tail.id) for c in candidates] == [("D001241", "D006470"), ("D014859", "D006470")]
    assert candidates[0].head.mentions == (((0, 7),), ((56, 63),))
    assert candidates[0].context == (0, len(TEXT))


def test_a_mention_of_two_concepts_belongs_to_both_and_one_without_concepts_to_none() -> None:
    composite = Entity("T9", "Disease", ((41, 49),), ("D1", "D2"))
    unknown = Entity("T8", "Disease", ((33, 40),))
    pairing = Pairing(frozenset({("Chemical", "Disease")}), scope="document", level="concept")
    assert ids(pairing, row(WARFARIN, composite, unknown)) == [("D014859", "D1"), ("D014859", "D2")]


def test_a_concept_with_two_types_is_paired_with_another_concept_once() -> None:
    also_disease = ASPIRIN_AGAIN._replace(type="Disease")
    pairing = Pairing(scope="document", level="concept")
    assert ids(pairing, row(ASPIRIN, WARFARIN, also_disease)) == [("D001241", "D014859")]


@given(st.lists(st.sampled_from("ABC"), min_size=0, max_size=6), st.permutations(range(6)))
def test_every_pair_is_a_candidate_exactly_once(kinds: list[str], places: list[int]) -> None:
    entities = tuple(Entity(str(i), kind, ((places[i] * 4, places[i] * 4 + 3),)) for i, kind in enumerate(kinds))
    text = SpanRow("1", "d", "x" * 24, entities=entities)
    names = [entity.id for entity in entities]
    undirected = ids(Pairing(), text)
    assert len(undirected) == len(set(undirected)) == len(list(combinations(names, 2)))
    assert set(ids(Pairing(directed=True), text)) == set(permutations(names, 2))
    order = {entity.id: entity.spans[0] for entity in entities}
    assert all(order[head] < order[tail] for head, tail in undirected)


# --- gold -------------------------------------------------------------------------------------------------------------


def test_a_candidate_without_a_relation_is_negative() -> None:
    assert types(Pairing(), row(WARFARIN, BLEEDING)) == {("T3", "T4"): ("none",)}


@pytest.mark.parametrize("ends", [("T3", "T4"), ("T4", "T3")])
def test_the_order_of_an_undirected_relation_does_not_matter(ends: tuple[str, str]) -> None:
    text = row(WARFARIN, BLEEDING, relations=(Relation(*ends, "cause"),))
    assert types(Pairing(), text) == {("T3", "T4"): ("cause",)}


def test_the_other_order_of_a_directed_relation_is_negative() -> None:
    text = row(WARFARIN, BLEEDING, relations=(Relation("T4", "T3", "cause"),))
    assert types(Pairing(directed=True), text) == {("T4", "T3"): ("cause",), ("T3", "T4"): ("none",)}


def test_a_pair_with_two_types_has_both_and_a_repeated_type_counts_once() -> None:
    relations = (Relation("T3", "T4", "cause"), Relation("T4", "T3", "treat"), Relation("T3", "T4", "cause"))
    assert types(Pairing(), row(WARFARIN, BLEEDING, relations=relations)) == {("T3", "T4"): ("cause", "treat")}


def test_a_positive_type_takes_precedence_over_the_negative_class() -> None:
    relations = (Relation("T3", "T4", "none"), Relation("T3", "T4", "treat"))
    assert types(Pairing(), row(WARFARIN, BLEEDING, relations=relations)) == {("T3", "T4"): ("treat",)}


def test_a_relation_across_sentences_is_gold_although_it_is_not_a_candidate() -> None:
    text = row(ASPIRIN, BLEEDING, relations=(Relation("T1", "T4", "cause"),), sentences=SENTENCES)
    assert Pairing().candidates(text) == []
    assert types(Pairing(), text) == {("T1", "T4"): ("cause",)}


def test_a_relation_without_a_type_leaves_its_pair_out() -> None:
    text = row(WARFARIN, BLEEDING, ASPIRIN_AGAIN, relations=(Relation("T3", "T4", None),))
    assert types(Pairing(), text) == {("T3", "T5"): ("none",), ("T4", "T5"): ("none",)}


def test_a_row_annotated_for_entities_only_has_no_gold_relations() -> None:
    text = row(WARFARIN, BLEEDING, annotated=("Chemical", "Disease"))
    assert len(Pairing().candidates(text)) == 1
    assert types(Pairing(), text) == {}


def test_a_row_annotated_for_some_relation_types_has_only_explicit_negatives() -> None:
    relations = (Relation("T3", "T4", "cause"), Relation("T4", "T5", "none"))
    text = row(WARFARIN, BLEEDING, ASPIRIN_AGAIN, relations=relations, annotated=("cause",))
    assert types(Pairing(), text) == {("T3", "T4"): ("cause",), ("T4", "T5"): ("none",)}
