"""Permuted labels keep the texts and every count, and lose what labels say about the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heads.relation import RelationClassification
from heads.rows import Entity, Relation, Row, SpanRow, TextRow, WordProbabilities
from heads.token_classification import TokenClassification
from mtl.data.permutation import permuted_rows


def permuted(rows: Iterable[Row], seed: int = 0, mentions: bool | None = None) -> list[Any]:
    return list(permuted_rows(rows, seed, mentions))


# --- texts with a label -----------------------------------------------------------------------------------------------

Labels = st.lists(st.none() | st.sampled_from(["a", "b"]) | st.tuples(st.just("x"), st.just("y")), max_size=30)


def labelled(labels: Iterable[Any]) -> list[TextRow]:
    return [TextRow(str(n), f"d{n // 3}", f"text {n}", label=label) for n, label in enumerate(labels)]


@given(labels=Labels, seed=st.integers(0, 3))
@settings(deadline=None)
def test_labels_are_permuted_and_all_else_stays(labels: list[Any], seed: int) -> None:
    rows = labelled(labels)
    found = permuted(rows, seed)
    assert Counter(row.label for row in found) == Counter(labels)
    assert [row.label is None for row in found] == [label is None for label in labels]
    assert [(row.id, row.document, row.text) for row in found] == [(row.id, row.document, row.text) for row in rows]


def test_permuted_labels_are_independent_of_the_rows() -> None:
    rows = labelled([float(n) for n in range(1000)])
    moved = [row.label for row in permuted(rows)]
    fixed = sum(a.label == b for a, b in zip(rows, moved, strict=True))
    assert fixed < 10  # a permutation has 1 fixed point on average
    assert sum(moved[:500]) == pytest.approx(sum(moved[500:]), rel=0.15)


def test_the_same_seed_gives_the_same_labels_and_another_seed_others() -> None:
    rows = labelled([float(n) for n in range(30)])
    assert permuted(rows, 1) == permuted(rows, 1)
    assert permuted(rows, 1) != permuted(rows, 2)


def test_text_rows_and_span_rows_keep_their_places() -> None:
    texts, spans = labelled("ab" * 10), [related(str(n), "CD", []) for n in range(20)]
    rows = [row for pair in zip(texts, spans, strict=True) for row in pair]
    assert [(type(row), row.id) for row in permuted(rows)] == [(type(row), row.id) for row in rows]


def test_a_seed_gives_the_draws_that_the_committed_results_were_trained_on() -> None:
    texts = labelled("abcdefgh")
    assert "".join(row.label for row in permuted(texts, 7)) == "afebhcdg"
    moved = permuted([SpanRow("r", "r", "a b c d e", entities=(mention("T", "D", 0), mention("U", "C", 2)))], 7)
    assert [entity.spans for entity in moved[0].entities] == [((6, 7),), ((4, 5),)]
    soft = replace(moved[0], probabilities=(WordProbabilities(6, 7, {"B-D": 1.0}),))
    assert permuted([soft], 7)[0].probabilities is None
    paired = permuted([related(str(n), "CDD", [(0, 1, "CID")]) for n in range(4)], 7)
    assert [[(r.head, r.tail) for r in row.relations] for row in paired] == [
        [("T0", "T1")],
        [("T0", "T1"), ("T0", "T2")],
        [("T0", "T1")],
        [],
    ]


# --- relations --------------------------------------------------------------------------------------------------------


def mention(name: str, kind: str, start: int, *concepts: str) -> Entity:
    return Entity(name, kind, ((start, start + 1),), concepts)


def related(row_id: str, kinds: str, relations: Iterable[tuple[int, int, str | None]], **fields: Any) -> SpanRow:
    """A row with an entity of the type of each letter, and relations between their places."""
    entities = tuple(mention(f"T{n}", kind, 2 * n) for n, kind in enumerate(kinds))
    stated = tuple(Relation(f"T{head}", f"T{tail}", kind) for head, tail, kind in relations)
    return SpanRow(row_id, row_id, " ".join("x" * len(kinds)), entities=entities, relations=stated, **fields)


@st.composite
def corpora(draw: st.DrawFn) -> list[SpanRow]:
    rows = []
    for number in range(draw(st.integers(1, 6))):
        kinds = draw(st.text("CDG", min_size=2, max_size=5))
        pairs = st.tuples(st.integers(0, len(kinds) - 1), st.integers(0, len(kinds) - 1), st.sampled_from("xyz"))
        chosen = draw(st.lists(pairs, max_size=4, unique=True))
        rows.append(related(str(number), kinds, chosen))
    return rows


def types(row: SpanRow) -> dict[str, str]:
    return {entity.id: entity.type for entity in row.entities}


def marginals(rows: Iterable[SpanRow]) -> Counter[Any]:
    return Counter((types(row)[r.head], types(row)[r.tail], r.type) for row in rows for r in row.relations)


def unrelated_pairs(rows: Iterable[SpanRow]) -> Counter[Any]:
    """Pairs without a relation, counted by their types."""
    found: Counter[Any] = Counter()
    for row in rows:
        related_pairs = {frozenset((r.head, r.tail)) for r in row.relations}
        for one, other in combinations(row.entities, 2):
            if {one.id, other.id} not in related_pairs:
                found[tuple(sorted((one.type, other.type)))] += 1
    return found


@given(rows=corpora(), seed=st.integers(0, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_relations_keep_their_marginals_and_pairs_their_number(rows: list[SpanRow], seed: int) -> None:
    if not any(row.relations for row in rows):
        return
    found = permuted(rows, seed)
    assert marginals(found) == marginals(rows)
    assert unrelated_pairs(found) == unrelated_pairs(rows)
    assert [row.entities for row in found] == [row.entities for row in rows]
    assert all(
        r.head != r.tail or r in row.relations for row, new in zip(rows, found, strict=True) for r in new.relations
    )


def test_a_head_counts_the_same_labels_in_other_places() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(200)]
    head = RelationClassification(["CID", "none"], 8, negative="none", pairs=[("C", "D")])
    found = permuted(rows)

    def counted(some: Iterable[SpanRow]) -> Counter[str]:
        return sum((Counter(head.label_counts(row)) for row in some), Counter())

    assert counted(found) == counted(rows) == {"CID": 200, "none": 200}
    firsts = sum(r.tail == "T1" for row in found for r in row.relations)
    assert 70 < firsts < 130  # 100 of 200, with a deviation of 7
    assert {len(row.relations) for row in found} == {0, 1, 2}


def test_relations_between_entities_of_one_type_stay_one_per_pair_whatever_their_direction() -> None:
    rows = [related(str(n), "GGG", [(1, 0, "binds"), (1, 2, "cuts")]) for n in range(40)]
    head = RelationClassification(["binds", "cuts", "none"], 8, negative="none", entity_types=["G"])
    found = permuted(rows)
    counts = sum((Counter(head.label_counts(row)) for row in found), Counter())
    assert counts == {"binds": 40, "cuts": 40, "none": 40}
    backwards = Counter(r.type for row in found for r in row.relations if r.head > r.tail)
    assert backwards == {"binds": 40}


def test_relations_of_concepts_join_concepts() -> None:
    rows = [
        SpanRow(
            str(n),
            str(n),
            "a b c d",
            entities=(
                mention("T1", "C", 0, "C1"),
                mention("T2", "D", 2, "D1"),
                mention("T3", "D", 4, "D2"),
                mention("T4", "C", 6, "C1"),
            ),
            relations=(Relation("C1", "D1", "CID"),),
        )
        for n in range(60)
    ]
    found = permuted(rows)
    pairs = Counter((r.head, r.tail) for row in found for r in row.relations)
    assert pairs.keys() == {("C1", "D1"), ("C1", "D2")}
    assert pairs.total() == 60
    assert 15 < pairs["C1", "D2"] < 45


def test_relations_stay_within_sentences_if_all_of_them_do() -> None:
    sentences = ((0, 3), (4, 7))
    rows = [related(str(n), "CDCD", [(0, 1, "CID")], sentences=sentences) for n in range(60)]
    found = permuted(rows)
    assert {(r.head, r.tail) for row in found for r in row.relations} == {("T0", "T1"), ("T2", "T3")}
    rows[0] = related("0", "CDCD", [(0, 3, "CID")], sentences=sentences)
    found = permuted(rows)
    assert ("T2", "T1") in {(r.head, r.tail) for row in found for r in row.relations}


def test_masked_pairs_stay_masked_and_get_no_relation() -> None:
    rows = [related(str(n), "CDD", [(0, 1, None), (0, 2, "xy"[n % 2])]) for n in range(20)]
    found = permuted(rows)
    assert all(Relation("T0", "T1", None) in row.relations for row in found)
    assert all(len(row.relations) == 2 for row in found)
    assert [row.relations for row in found] != [row.relations for row in rows]


def test_partly_annotated_rows_permute_their_relations_among_themselves() -> None:
    whole = [related(f"w{n}", "CD", [(0, 1, "x")] * (n % 2)) for n in range(40)]
    partly = [related(f"p{n}", "CDD", [(0, 1 + n % 2, "y")], annotated=("C", "D", "y")) for n in range(40)]
    found = permuted([*whole, *partly])
    assert Counter(r.type for row in found[:40] for r in row.relations) == {"x": 20}
    assert [row.relations for row in found[:40]] != [row.relations for row in whole]
    assert found[40:] == partly  # every pair with a relation has the same one
    assert all(row.annotated == ("C", "D", "y") for row in found[40:])


# --- attributes -------------------------------------------------------------------------------------------------------


def graded(row_id: str, kinds: str, grades: Iterable[str | None], **fields: Any) -> SpanRow:
    """A row with an entity of the type of each letter, each with a grade or without one."""
    row = related(row_id, kinds, [(0, 1, "CID")] if len(kinds) > 1 else [], **fields)
    known = [{"side": "left"} | ({"grade": grade} if grade else {}) for grade in grades]
    entities = tuple(e._replace(attributes=own) for e, own in zip(row.entities, known, strict=True))
    return SpanRow(row_id, row_id, row.text, entities=entities, relations=row.relations, annotated=row.annotated)


def grades(rows: Iterable[SpanRow]) -> Counter[Any]:
    return Counter((entity.type, entity.attributes.get("grade")) for row in rows for entity in row.entities)


@given(st.lists(st.lists(st.tuples(st.sampled_from("CD"), st.sampled_from(["a", "b", None])))), st.integers(0, 3))
@settings(deadline=None)
def test_an_attribute_keeps_its_values_within_each_type_and_nothing_else_changes(
    content: list[list[tuple[str, str | None]]], seed: int
) -> None:
    rows = [graded(str(n), "".join(k for k, _ in own), [g for _, g in own]) for n, own in enumerate(content)]
    found = list(permuted_rows(rows, seed, attribute="grade"))
    assert grades(found) == grades(rows)

    def without(row: Any) -> Any:
        hidden = tuple(entity._replace(attributes={"side": entity.attributes["side"]}) for entity in row.entities)
        return replace(row, entities=hidden)

    assert list(map(without, found)) == list(map(without, rows))


def test_a_permuted_attribute_is_independent_of_the_mention() -> None:
    rows = [graded(str(n), "C", ["a" if n < 500 else None]) for n in range(1000)]
    found = list(permuted_rows(rows, 0, attribute="grade"))
    moved: Any = found[:500]
    assert grades(moved)["C", "a"] == pytest.approx(250, rel=0.15)
    assert found == list(permuted_rows(rows, 0, attribute="grade")) != list(permuted_rows(rows, 1, attribute="grade"))


def test_mentions_whose_attribute_was_not_annotated_get_none() -> None:
    partly = [graded(str(n), "CC", [None, "a"], annotated=("C",)) for n in range(20)]
    whole = [graded(f"w{n}", "CC", [None, "b"], annotated=("C", "grade")) for n in range(20)]
    found: Any = list(permuted_rows([*partly, *whole], 0, attribute="grade"))
    assert all(row.entities[0].attributes.get("grade") is None for row in found[:20])
    assert grades(found) == grades([*partly, *whole])
    assert any(row.entities[0].attributes.get("grade") for row in found[20:])


# --- mentions ---------------------------------------------------------------------------------------------------------


@st.composite
def tagged(draw: st.DrawFn) -> SpanRow:
    """A row of words of one to four letters with mentions that do not overlap."""
    words = draw(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=14))
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    entities, first = [], draw(st.integers(0, 3))
    while first < len(words):
        last = min(first + draw(st.integers(0, 3)), len(words) - 1)
        kind = draw(st.sampled_from("CD"))
        entities.append(Entity(f"T{first}", kind, ((spans[first][0], spans[last][1]),)))
        first = last + 1 + draw(st.integers(0, 4))
    own = tuple(spans) if draw(st.booleans()) else None
    return SpanRow("r", "r", " ".join(words), words=own, entities=tuple(entities), annotated=("C", "D"))


def lengths(row: SpanRow) -> list[tuple[str, str, int]]:
    return [(e.id, e.type, len(row.text[e.spans[0][0] : e.spans[-1][1]].split())) for e in row.entities]


@given(row=tagged(), seed=st.integers(0, 5))
@settings(deadline=None)
def test_mentions_keep_number_type_and_length_and_do_not_overlap(row: SpanRow, seed: int) -> None:
    (found,) = permuted([row], seed)
    assert lengths(found) == lengths(row)
    assert (found.text, found.words, found.annotated) == (row.text, row.words, row.annotated)
    starts = {n for n in range(len(row.text)) if n == 0 or row.text[n - 1] == " "}
    ends = {n for n in range(1, len(row.text) + 1) if n == len(row.text) or row.text[n] == " "}
    spans = sorted(entity.spans[0] for entity in found.entities)
    assert all(start in starts and end in ends for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@given(row=tagged(), seed=st.integers(0, 5))
@settings(deadline=None)
def test_a_tagger_has_as_many_labels_to_learn_as_before(row: SpanRow, seed: int) -> None:
    (found,) = permuted([row], seed)
    head = TokenClassification(["C", "D"], 8)
    assert head.check(found) is None
    assert head.label_counts(found) == head.label_counts(row)
    assert not any(head.notes(found).values())


def test_every_word_is_as_likely_as_any_other() -> None:
    text = "a b c d e"
    rows = [SpanRow(str(n), str(n), text, entities=(mention("T", "D", 0), mention("U", "C", 2))) for n in range(1000)]
    found = permuted(rows)
    for place in (0, 1):
        counts = Counter(row.entities[place].spans[0][0] for row in found)
        assert set(counts) == {0, 2, 4, 6, 8}
        assert all(140 < count < 260 for count in counts.values())  # 200, with a deviation of 13


def test_mentions_move_to_words_without_punctuation_unless_the_row_has_words_of_its_own() -> None:
    rows = [SpanRow(str(n), str(n), "(no), COX-2!", entities=(Entity("T", "D", ((6, 11),)),)) for n in range(30)]
    assert {row.entities[0].spans for row in permuted(rows)} == {((1, 3),), ((6, 11),)}
    own = [SpanRow(row.id, row.id, row.text, words=((0, 1), (6, 11)), entities=row.entities) for row in rows]
    assert {row.entities[0].spans for row in permuted(own)} == {((0, 1),), ((6, 11),)}


def test_mentions_that_do_not_fit_side_by_side_keep_their_lengths() -> None:
    entities = tuple(Entity(f"T{n}", "D", ((0, 3), (4, 5))) for n in range(3))
    (found,) = permuted([SpanRow("r", "r", "a b c d e", entities=entities)])
    assert [kind[2] for kind in lengths(found)] == [3, 3, 3]
    (empty,) = permuted([SpanRow("r", "r", "...", entities=(Entity("T", "D", ((0, 1),)),))])
    assert empty.entities[0].spans == ((0, 1),)


def test_mentions_of_rows_with_relations_stay_unless_asked_for() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(30)]
    assert [row.entities for row in permuted(rows)] == [row.entities for row in rows]
    assert [row.relations for row in permuted(rows)] != [row.relations for row in rows]
    moved = permuted(rows, mentions=True)
    assert [row.entities for row in moved] != [row.entities for row in rows]
    assert [row.relations for row in moved] == [row.relations for row in rows]


def test_another_seed_gives_other_mentions_and_relations() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(30)]
    for mentions in (False, True):
        assert permuted(rows, 1, mentions=mentions) == permuted(rows, 1, mentions=mentions)
        assert permuted(rows, 1, mentions=mentions) != permuted(rows, 2, mentions=mentions)
