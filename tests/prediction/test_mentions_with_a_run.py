"""Relations and attributes of the mentions that a run finds or is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prediction.planted import TEXT, predict

pytestmark = pytest.mark.usefixtures("planted")


def test_relations_of_raw_text_join_the_mentions_that_the_run_finds(planted_run: Path) -> None:
    (line,) = predict(planted_run, [TEXT], tasks=["mentions", "links"])
    entities = [
        {"type": "Drug", "start": 0, "end": 7, "text": "aspirin", "score": 0.75},
        {"type": "Event", "start": 18, "end": 23, "text": "fever", "score": 0.75},
        {"type": "Event", "start": 28, "end": 32, "text": "risk", "score": 0.75},
    ]
    up = {"type": "up", "score": 0.875}
    assert line == {
        "id": "row-1",
        "document": "row-1",
        "predictions": {
            "mentions": {"entities": entities},
            "links": {"entities": entities, "relations": [{**up, "head": 0, "tail": 1}, {**up, "head": 0, "tail": 2}]},
        },
    }
    (alone,) = predict(planted_run, [TEXT], tasks=["links"])
    assert alone["predictions"] == {"links": line["predictions"]["links"]}, "the entity task need not be written"


def test_mentions_with_the_same_text_are_one_concept(planted_run: Path) -> None:
    (line,) = predict(planted_run, ["ibuprofen and Ibuprofen induce severe bleeding"], tasks=["induced"])
    found = line["predictions"]["induced"]
    assert [entity["text"] for entity in found["entities"]] == ["ibuprofen", "Ibuprofen", "severe bleeding"]
    assert [(r["head"], r["tail"], r["type"]) for r in found["relations"]] == [(0, 2, "CID")]


def test_given_mentions_are_kept_and_rows_without_any_get_predicted_ones(planted_run: Path) -> None:
    entities = [
        {"id": "x", "type": "Drug", "spans": [[0, 7]]},
        {"id": "y", "type": "Event", "spans": [[8, 17]]},
    ]
    given, raw = predict(planted_run, [{"text": TEXT, "entities": entities}, TEXT], tasks=["links"])
    found = given["predictions"]["links"]
    assert [(entity["text"], entity["score"]) for entity in found["entities"]] == [
        ("aspirin", None),
        ("increases", None),
    ]
    assert len(found["relations"]) == 1
    assert len(raw["predictions"]["links"]["relations"]) == 2


def test_attributes_of_raw_text_belong_to_the_mentions_that_the_run_finds(planted_run: Path) -> None:
    (line,) = predict(planted_run, [TEXT], tasks=["asserted", "mentions"])
    absent = {"attributes": {"assertion": {"value": "absent", "score": 0.875}}}
    found = line["predictions"]["mentions"]["entities"]
    assert line["predictions"]["asserted"] == {"entities": [{**found[1], **absent}, {**found[2], **absent}]}
    assert [entity["text"] for entity in found] == ["aspirin", "fever", "risk"], "an entity task labels nothing"


def test_given_mentions_are_labelled_whatever_their_own_value(planted_run: Path) -> None:
    entities = [
        {"id": "x", "type": "Event", "spans": [[8, 12], [18, 23]], "attributes": {"assertion": "unheard of"}},
        {"id": "y", "type": "Drug", "spans": [[0, 7]], "concepts": ["D1"]},
    ]
    given, other = predict(
        planted_run,
        [{"text": TEXT, "entities": entities}, {"text": TEXT, "entities": entities[1:]}],
        tasks=["asserted"],
    )
    (found,) = given["predictions"]["asserted"]["entities"]
    assert (found["spans"], found["score"]) == ([[8, 12], [18, 23]], None)
    assert found["attributes"]["assertion"]["value"] == "absent"
    predicted = [entity["text"] for entity in other["predictions"]["asserted"]["entities"]]
    assert predicted == ["fever", "risk"], "a row without mentions of the task's types gets predicted ones"
