from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.pubmedqa import PubMedQA


def question(number: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "QUESTION": f"Is {number} right?",
        "CONTEXTS": ["First part.", "Second part."],
        "LABELS": ["AIM", "RESULT"],
        "YEAR": "2011",
        "reasoning_required_pred": "no",
        "reasoning_free_pred": "maybe",
        "final_decision": "yes",
        "LONG_ANSWER": "It is.",
    }
    return fields | changes


def write(folder: Path, questions: Any, splits: Any) -> PubMedQA:
    (folder / "ori_pqal.json").write_text(questions if isinstance(questions, str) else json.dumps(questions))
    (folder / "splits.json").write_text(splits if isinstance(splits, str) else json.dumps(splits))
    return PubMedQA(str(folder))


QUESTIONS = {str(number): question(number) for number in (1, 2, 3, 4)}
SPLITS = {"test": ["4"], "train": ["3", "1"], "dev": ["2"]}


def test_a_question_is_a_pair_of_itself_and_its_joined_context(tmp_path: Path) -> None:
    assert list(write(tmp_path, QUESTIONS, SPLITS).read("dev")) == [
        TextRow("2", "2", "Is 2 right?", "First part. Second part.", label="yes", meta={"year": "2011"})
    ]


def test_a_question_without_a_year_has_no_group(tmp_path: Path) -> None:
    reader = write(tmp_path, {**QUESTIONS, "2": question(2, YEAR=None)}, SPLITS)
    assert [row.meta for row in reader.read("dev")] == [{}]


def test_splits_have_the_listed_questions_in_the_listed_order(tmp_path: Path) -> None:
    reader = write(tmp_path, QUESTIONS, SPLITS)
    found = {split: [row.id for row in reader.read(split)] for split in reader.sources()}
    assert found == {"train": ["3", "1"], "dev": ["2"], "test": ["4"]}


def test_what_gives_the_answer_away_changes_nothing(tmp_path: Path) -> None:
    telling = {"LONG_ANSWER": "Changed.", "reasoning_required_pred": "yes", "reasoning_free_pred": "yes"}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    changed = {pmid: fields | telling for pmid, fields in QUESTIONS.items()}
    without = {pmid: {k: v for k, v in fields.items() if k not in telling} for pmid, fields in QUESTIONS.items()}
    rows = list(write(tmp_path, QUESTIONS, SPLITS).read("train"))
    assert list(write(tmp_path / "one", changed, SPLITS).read("train")) == rows
    assert list(write(tmp_path / "two", without, SPLITS).read("train")) == rows


def test_a_question_in_no_split_is_counted(tmp_path: Path) -> None:
    reader = write(tmp_path, QUESTIONS, {**SPLITS, "train": ["1"]})
    assert [row.id for row in reader.read("train")] == ["1"]
    assert dict(reader.left_out) == {"question in no split": 1}


@pytest.mark.parametrize(
    ("questions", "splits", "rule"),
    [
        (QUESTIONS, {**SPLITS, "dev": ["9"]}, "A PMID of splits.json must be among the questions; found '9'"),
        (QUESTIONS, {**SPLITS, "dev": ["4"]}, "A PMID must stand once in splits.json; found '4'"),
        ({**QUESTIONS, "2": question(2, final_decision="")}, SPLITS, "A question must have QUESTION, CONTEXTS, final_"),
        ({**QUESTIONS, "2": question(2, CONTEXTS="one text")}, SPLITS, "A question must have QUESTION, CONTEXTS"),
        ({**QUESTIONS, "2": "text"}, SPLITS, "A question must have QUESTION, CONTEXTS"),
        ('{"2": 1,\n "2"', SPLITS, r"ori_pqal\.json:2: The file must be JSON; found Expecting ':' delimiter"),
        ("[1]", SPLITS, "The file must hold a JSON object; found list"),
        (QUESTIONS, {"train": ["1"]}, r"splits\.json: It must map train, dev and test to lists"),
    ],
)
def test_malformed_input_is_named(tmp_path: Path, questions: Any, splits: Any, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        list(write(tmp_path, questions, splits).read("dev"))


def test_a_key_that_stands_twice_is_reported_not_lost(tmp_path: Path) -> None:
    text = json.dumps({"1": question(1), "2": question(2)})
    twice = text[:-1] + ', "2": ' + json.dumps(question(5)) + "}"
    with pytest.raises(InputError, match="A key must be unique; the last one was taken; found '2' again"):
        list(write(tmp_path, twice, {"train": ["1"], "dev": ["2"], "test": []}).read("dev"))


def test_bad_bytes_are_named(tmp_path: Path) -> None:
    reader = write(tmp_path, QUESTIONS, SPLITS)
    (tmp_path / "ori_pqal.json").write_bytes(b'{"1": "\xff"}')
    with pytest.raises(InputError, match="Text must be UTF-8; found byte 0xff at 7"):
        list(reader.read("dev"))


def test_missing_files_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        PubMedQA(str(tmp_path), splits="mine.json").sources()
    assert [problem.key for problem in caught.value.problems] == ["questions", "splits"]
    assert "mine.json" in str(caught.value)


def test_the_data_has_the_documented_counts_and_the_published_answers(data_folder: Path) -> None:
    reader = PubMedQA(str(data_folder / "pubmedqa"))
    expected = Counter[str]()
    with (data_folder / "counts.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line["dataset"] == "pubmedqa" and line["split"] != "all":
                expected[f"{line['split']} {line['unit']}"] = int(line["count"])
    found = Counter[str]()
    for split in reader.sources():
        for row in reader.read(split):
            found.update((f"{split} questions", f"{split} questions:{row.label}"))
    assert found == expected
    truth = json.loads((data_folder / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {row.id: row.label for row in reader.read("test")} == truth
    assert not +reader.left_out
