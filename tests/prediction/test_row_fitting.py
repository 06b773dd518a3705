"""Rows of an input, completed to what a head had in training."""

from __future__ import annotations

from typing import Any

import pytest

from heads import Entity, Head, SpanRow, TextRow
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from mtl.prediction.row_fitting import completed
from mtl.training.checkpoints import TrainedRows

TEXT = "Aspirin helps. Fever and aspirin."
SPANS = ((0, 14), (15, 33))
SINGLE = TrainedRows({"t": "SpanRow"}, {"t": 1}, {"t": True})


def relation(**options: Any) -> Head:
    rules = {"negative": "none", "input": "markers", "pooling": "entity_start", **options}
    return RelationClassification(["up", "none"], 4, **rules)  # type: ignore[arg-type]


def concepts() -> Head:
    return relation(level="concept", scope="document", merge_types={"Brand": "Drug"})


def row(*entities: Entity, sentences: Any = None) -> SpanRow:
    return SpanRow("1", "1", TEXT, entities=entities, sentences=sentences)


def entity(name: str, start: int, end: int, *ids: str, kind: str = "Drug") -> Entity:
    return Entity(name, kind, ((start, end),), ids)


def test_a_text_is_divided_for_a_task_that_learned_from_single_sentences() -> None:
    attribute = MentionClassification(["x", "y"], 4, attribute="negated")
    for head in (relation(), attribute):
        found = completed(head, row(entity("T1", 0, 7)), SINGLE, "t")
        assert isinstance(found, SpanRow)
        assert (found.sentences, found.entities) == (SPANS, row(entity("T1", 0, 7)).entities)
    pairs = relation().pairing.candidates(
        completed(relation(), row(entity("a", 0, 7), entity("b", 25, 32)), SINGLE, "t")
    )  # type: ignore[union-attr,arg-type]
    assert pairs == []


@pytest.mark.parametrize(
    ("head", "given", "trained"),
    [
        (relation(), row(sentences=((0, 33),)), SINGLE),
        (relation(scope="document"), row(), SINGLE),
        (relation(), row(), SINGLE._replace(in_sentences={"t": False})),
        (relation(), row(), TrainedRows({}, {})),
        (relation(), TextRow("1", "1", TEXT), SINGLE),
    ],
)
def test_other_texts_are_left_as_they_are(head: Head, given: Any, trained: TrainedRows) -> None:
    assert completed(head, given, trained, "t") == given


def test_mentions_without_concepts_share_one_by_their_text_if_the_head_relates_concepts() -> None:
    given = row(entity("a", 0, 7), entity("b", 15, 20, kind="Sign"), entity("c", 25, 32, kind="Brand"))
    found = completed(concepts(), given, SINGLE, "t")
    assert isinstance(found, SpanRow)
    first, sign, brand = (one.concepts for one in found.entities)
    assert first == brand != sign
    assert len({*first, *sign}) == 2
    assert completed(relation(scope="document"), given, SINGLE, "t") == given


def test_a_mention_without_concepts_gets_those_of_the_same_text() -> None:
    given = row(entity("a", 0, 7), entity("b", 15, 20, "D2"), entity("c", 25, 32, "D1", "D3"))
    found = completed(concepts(), given, SINGLE, "t")
    assert isinstance(found, SpanRow)
    assert [one.concepts for one in found.entities] == [("D1", "D3"), ("D2",), ("D1", "D3")]


def test_an_id_of_a_mention_is_never_taken_for_that_of_a_concept() -> None:
    given = row(entity("D1", 0, 7), entity("b", 15, 20, "D1", kind="Sign"))
    found = completed(concepts(), given, SINGLE, "t")
    assert isinstance(found, SpanRow)
    assert found.entities[0].concepts != found.entities[1].concepts
