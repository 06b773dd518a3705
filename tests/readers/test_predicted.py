"""Weak and soft labels in JSON lines, and lines of `mtl predict` as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heads import IGNORE, SpanRow, TextRow, WordProbabilities
from heads.multilabel import Multilabel
from heads.rows import Relation, Row, row_from_dict, row_to_dict
from mtl.readers.jsonl import Jsonl

TEXT = "No fever after aspirin."


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> tuple[list[Row], list[str]]:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": TEXT, **record}) + "\n" for record in records))
    reader = Jsonl(str(path), on_bad_row="skip", **options)
    rows = list(reader.read("train"))
    return rows, [str(bad) for bad in reader.bad_rows]


def test_a_row_has_what_its_line_says_of_its_label(tmp_path: Path) -> None:
    (one, two, three), bad = read(
        tmp_path,
        {"source": "m", "score": 1, "weight": 0.5, "probabilities": {"a": 0.25, "b": 0.75}},
        {"label": ["a"], "annotated": ["a", "b"]},
        {"entities": [], "annotated": ["Drug"], "source": "m", "score": 0.5},
    )
    assert bad == []
    soft = {"a": 0.25, "b": 0.75}
    assert one == TextRow("train-1", "train-1", TEXT, source="m", score=1.0, weight=0.5, probabilities=soft)
    assert two == TextRow("train-2", "train-2", TEXT, label=("a",), annotated=("a", "b"))
    assert three == SpanRow("train-3", "train-3", TEXT, annotated=("Drug",), source="m", score=0.5)
    assert [row_from_dict(row_to_dict(row)) for row in (one, two, three)] == [one, two, three]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"label": "a", "score": 1.5}, "score"),
        ({"label": "a", "score": True}, "score"),
        ({"label": "a", "weight": 0}, "weight"),
        ({"label": "a", "weight": -1}, "weight"),
        ({"label": "a", "weight": 10**400}, "weight"),
        ({"label": "a", "score": -(10**400)}, "score"),
        ({"probabilities": {}}, "probabilities"),
        ({"probabilities": {"a": "much"}}, "probability"),
        ({"probabilities": {"a": 2}}, "probability"),
        ({"entities": [], "probabilities": {"a": 1}}, "probabilities"),
        ({"entities": [], "probabilities": [{"start": 0, "end": 2}]}, "tags"),
        ({"entities": [], "probabilities": [{"start": 0, "end": 99, "tags": {"O": 1}}]}, "inside the text"),
        ({"entities": [], "probabilities": [{"start": 0, "end": 2, "tags": {"O": 2}}]}, "probability"),
        ({"entities": [], "probabilities": [{"start": 0, "end": 2, "tags": {}}]}, "tag -> probability"),
        ({"predictions": {}}, "key"),
    ],
)
def test_a_wrong_value_is_a_bad_row(tmp_path: Path, fields: dict[str, Any], part: str) -> None:
    rows, (bad,) = read(tmp_path, fields)
    assert rows == []
    assert part in bad
    assert TEXT not in bad


def test_keys_that_have_another_meaning_keep_it(tmp_path: Path) -> None:
    (row,), _ = read(tmp_path, {"score": 3.5, "source": "ward 7"}, columns={"label": "score"}, meta=["source"])
    assert row == TextRow("train-1", "train-1", TEXT, label=3.5, meta={"source": "ward 7"})


PREDICTIONS: dict[str, Any] = {
    "one": {"label": "a", "score": 0.9, "scores": {"a": 0.9, "b": 0.1}},
    "many": {"labels": ["a"], "scores": {"a": 0.9, "b": 0.3}},
    "number": {"value": 2},
    "mentions": {"entities": [{"type": "Drug", "start": 15, "end": 22, "text": "aspirin", "score": 0.8}]},
    "none": {"entities": []},
    "asserted": {
        "entities": [
            {
                "type": "Sign",
                "start": 3,
                "end": 8,
                "text": "fever",
                "score": None,
                "id": "T7",
                "attributes": {"assertion": {"value": "absent", "score": 0.6}},
            }
        ]
    },
    "links": {
        "entities": [
            {"type": "Sign", "start": 3, "end": 8, "text": "fever", "score": 0.9},
            {"type": "Drug", "start": 15, "end": 22, "text": "aspirin", "score": 0.95},
        ],
        "relations": [{"type": "after", "head": 0, "tail": 1, "score": 0.7}],
    },
}


@pytest.mark.parametrize(
    ("task", "label", "probabilities", "score"),
    [
        ("one", "a", {"a": 0.9, "b": 0.1}, 0.9),
        ("many", ("a",), {"a": 0.9, "b": 0.3}, 0.7),
        ("number", 2.0, None, None),
    ],
)
def test_a_predicted_label_becomes_a_weak_label(
    tmp_path: Path, task: str, label: Any, probabilities: Any, score: Any
) -> None:
    (row, gold), bad = read(tmp_path, {"predictions": PREDICTIONS}, {"label": "b"}, predictions=task)
    assert bad == []
    assert isinstance(row, TextRow)
    assert (row.label, row.probabilities, row.score, row.source) == (label, probabilities, score, "predictions")
    assert gold == TextRow("train-2", "train-2", TEXT, label="b")


def test_what_a_teacher_did_not_look_for_is_unknown_and_not_absent(tmp_path: Path) -> None:
    (row,), bad = read(tmp_path, {"predictions": PREDICTIONS}, predictions="many")
    assert (row.annotated, bad) == (("a", "b"), [])
    student = Multilabel(["a", "b", "c"], 4)
    assert student.check(row) is None
    assert student.label_counts(row) == {"a": 1}
    assert student.gold(row)["labels"] == [1, 0, IGNORE]
    mentions = {**PREDICTIONS["mentions"], "annotated": ["Drug"]}
    (row,), bad = read(tmp_path, {"predictions": {"mentions": mentions}}, predictions="mentions")
    assert (row.annotated, bad) == (("Drug",), [])


def test_predicted_words_and_their_probabilities_become_words_and_soft_labels(tmp_path: Path) -> None:
    words = [{"start": 3, "end": 8, "tags": {"O": 0.9, "B-Sign": 0.1}}, {"start": 15, "end": 23, "tags": {"O": 1.0}}]
    predictions = {"mentions": {"entities": [], "annotated": ["Sign"], "probabilities": words}}
    (row,), bad = read(tmp_path, {"predictions": predictions}, predictions="mentions")
    assert bad == []
    assert isinstance(row, SpanRow)
    assert row.words == ((3, 8), (15, 23))
    assert row.probabilities == tuple(WordProbabilities(**word) for word in words)
    assert row_from_dict(row_to_dict(row)) == row


def test_a_prediction_beats_the_score_that_a_line_had_and_other_keys_keep_their_meaning(tmp_path: Path) -> None:
    (row,), _ = read(tmp_path, {"predictions": PREDICTIONS, "score": 0.1, "weight": 2}, predictions="one")
    assert (row.score, row.weight, row.source) == (0.9, 2.0, "predictions")
    (row,), _ = read(tmp_path, {"predictions": PREDICTIONS}, predictions="one", columns={"label": "score"})
    assert isinstance(row, TextRow)
    assert (row.label, row.score) == ("a", 0.9)


def test_predicted_mentions_attributes_and_relations_become_weak_labels(tmp_path: Path) -> None:
    def predicted(task: str) -> SpanRow:
        (row,), bad = read(tmp_path, {"predictions": PREDICTIONS, "source": "teacher"}, predictions=task)
        assert bad == []
        assert isinstance(row, SpanRow)
        assert row.source == "teacher"
        return row

    mentions, none, asserted, links = (predicted(task) for task in ("mentions", "none", "asserted", "links"))
    assert [(one.type, one.spans) for one in mentions.entities] == [("Drug", ((15, 22),))]
    assert (mentions.score, none.entities, none.score) == (0.8, (), 1.0)
    assert [(one.id, one.attributes) for one in asserted.entities] == [("T7", {"assertion": "absent"})]
    assert (asserted.score, links.score) == (0.6, 0.7)
    assert links.relations == (Relation("0", "1", "after"),)


@pytest.mark.parametrize("predictions", [[], {"other": {}}, {"one": {"scores": {}}}, {"one": {"entities": [7]}}])
def test_predictions_that_cannot_be_read_are_bad_rows(tmp_path: Path, predictions: Any) -> None:
    rows, (bad,) = read(tmp_path, {"predictions": predictions}, predictions="one")
    assert rows == []
    assert "prediction" in bad
