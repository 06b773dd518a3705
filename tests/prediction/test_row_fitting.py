"""Rows of an input, completed to what a head had in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heads import Entity, Head, SpanRow, TextRow
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from mtl.prediction import trained_model
from mtl.prediction.inputs import OwnRows
from mtl.prediction.row_fitting import completed
from mtl.readers.pubtator import Pubtator
from mtl.training.checkpoints import TrainedRows
from tests.prediction.planted import predict

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


# --- with a run -------------------------------------------------------------------------------------------------------

SECOND_SENTENCE = "aspirin increases fever. Risk of nothing."
UNLINKED = "7|t|ibuprofen\n7|a|and Ibuprofen induce bleeding\n7\t0\t9\tibuprofen\tChemical\t-1\n"
UNLINKED += "7\t14\t23\tIbuprofen\tChemical\n7\t31\t39\tbleeding\tDisease\t{}\n\n"


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("concept", ["-1", "D2"])
def test_given_mentions_without_concepts_are_related_by_their_text(
    planted_run: Path, tmp_path: Path, concept: str
) -> None:
    (tmp_path / "in.PubTator").write_text(UNLINKED.format(concept), encoding="utf-8")
    (line,) = predict(planted_run, tmp_path / "in.PubTator", tasks=["induced"])
    found = line["predictions"]["induced"]
    (relation,) = found["relations"]
    assert (relation["head"], relation["tail"], relation["type"]) == (0, 2, "CID")
    assert [entity.get("concepts") for entity in found["entities"]] == [
        None,
        None,
        [concept] if concept > "A" else None,
    ]
    assert relation.get("concepts") == (["T1", "D2"] if concept == "D2" else None)
    predict(planted_run, tmp_path / "in.PubTator", tmp_path / "x.PubTator", tasks=["induced"])
    (row,) = Pubtator("", files={"test": str(tmp_path / "x.PubTator")}).read("test")
    assert [(one.head, one.tail) for one in row.relations] == [("T1", "D2" if concept == "D2" else "T3")]


@pytest.mark.usefixtures("planted")
def test_a_text_is_divided_into_sentences_for_tasks_that_learned_from_single_ones(
    planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (line,) = predict(planted_run, [SECOND_SENTENCE], tasks=["links", "mentions"])
    texts = [entity["text"] for entity in line["predictions"]["links"]["entities"]]
    assert texts == ["aspirin", "fever", "Risk"]
    assert [(r["head"], r["tail"]) for r in line["predictions"]["links"]["relations"]] == [(0, 1)]
    error = capfd.readouterr().err
    assert "'links'" in error
    assert "1 text " in error
    entities = [
        {"id": name, "type": kind, "spans": [list(span)]}
        for name, kind, span in (("a", "Drug", (0, 7)), ("f", "Event", (18, 23)), ("r", "Event", (25, 29)))
    ]
    whole = {"text": SECOND_SENTENCE, "entities": entities}
    divided, one = predict(planted_run, [whole, {**whole, "sentences": [[0, 41]]}], tasks=["links"])
    assert len(divided["predictions"]["links"]["relations"]) == 1
    assert len(one["predictions"]["links"]["relations"]) == 2, "sentences of the input come first"


@pytest.mark.usefixtures("planted")
def test_a_checkpoint_that_does_not_say_what_it_learned_from_takes_a_text_for_a_sentence_with_a_warning(
    planted_run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known = trained_model.trained_rows
    monkeypatch.setattr(trained_model, "trained_rows", lambda content: known(content)._replace(in_sentences={}))
    (line,) = predict(planted_run, [SECOND_SENTENCE], tasks=["links"])
    assert len(line["predictions"]["links"]["relations"]) == 2
    assert "'links'" in capfd.readouterr().err
    predict(planted_run, ["aspirin increases fever"], tasks=["links"])
    assert capfd.readouterr().err.count("'links'") == 0, "a single sentence needs no warning"


@pytest.mark.usefixtures("planted")
def test_rows_of_the_runs_own_data_are_predicted_as_they_are(planted_run: Path) -> None:
    places = [(0, 9, "Chemical", ()), (17, 25, "Disease", ("D2",)), (27, 31, "Event", ()), (32, 39, "Drug", ())]
    entities = tuple(Entity(f"T{n}", kind, ((a, b),), ids) for n, (a, b, kind, ids) in enumerate(places))
    row = SpanRow("1", "1", "ibuprofen induces bleeding. Risk aspirin", entities=entities)
    (line,) = predict(planted_run, OwnRows([row]), tasks=["induced"])
    assert line["predictions"]["induced"]["relations"] == []
    (line,) = predict(planted_run, [row], tasks=["induced"])
    assert len(line["predictions"]["induced"]["relations"]) == 1
