from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.pubmedqa import PubMedQA
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


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


def without_a_line(old: str, new: str, *, file: str = "ori_pqal.json", place: str = "", lost: int = 1) -> Malformed:
    return Malformed(file, old, new, None, place, lost)


SAMPLE = Sample(
    PubMedQA,
    files={
        "ori_pqal.json": json.dumps(
            {name: question(0, QUESTION=f"Is Zaphod {name} right?", final_decision=f"{name}!") for name in QUESTIONS},
            indent=1,
        ),
        "splits.json": json.dumps(SPLITS, indent=1),
    },
    rows=("3!", "1!"),
    malformed=(
        without_a_line('"3"', '"9"', file="splits.json", place="ori_pqal.json"),
        without_a_line('"3"', '"4"', file="splits.json", place="ori_pqal.json"),
        without_a_line('"3!"', '""'),
        without_a_line('"QUESTION": "Is Zaphod 3 right?"', '"QUESTION": ["Is Zaphod 3 right?"]'),
        without_a_line('"Is Zaphod 4 right?",', '"Is Zaphod 4 right?", "YEAR": "2012",', lost=0),
        without_a_line('"dev"', '"devel"', file="splits.json", lost=2),
        Malformed("ori_pqal.json", '"1": {', '"1" {', 2, lost=2),
    ),
    rows_in_file={"ori_pqal.json": 2, "splits.json": 2},
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


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
    ("questions", "splits", "name"),
    [
        ({**QUESTIONS, "2": question(2, CONTEXTS="one text")}, SPLITS, "ori_pqal.json"),
        ({**QUESTIONS, "2": "text"}, SPLITS, "ori_pqal.json"),
        ("[1]", SPLITS, "ori_pqal.json"),
        (QUESTIONS, {"train": ["1"]}, "splits.json"),
        (QUESTIONS, {**SPLITS, "dev": "2"}, "splits.json"),
    ],
)
def test_malformed_input_is_named(tmp_path: Path, questions: Any, splits: Any, name: str) -> None:
    with pytest.raises(InputError) as raised:
        list(write(tmp_path, questions, splits).read("dev"))
    assert [problem.key for problem in raised.value.problems] == [str(tmp_path / name)]


def test_a_key_that_stands_twice_is_reported_not_lost(tmp_path: Path) -> None:
    text = json.dumps({"1": question(1), "2": question(2)})
    twice = text[:-1] + ', "2": ' + json.dumps(question(5)) + "}"
    with pytest.raises(InputError) as raised:
        list(write(tmp_path, twice, {"train": ["1"], "dev": ["2"], "test": []}).read("dev"))
    (problem,) = raised.value.problems
    assert (problem.key, "'2'" in problem.message) == (str(tmp_path / "ori_pqal.json"), True)


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


@pytest.mark.parametrize(
    ("questions", "splits"),
    [
        (
            '{"1": {"QUESTION": "Q", "CONTEXTS": [1], "final_decision": "yes"}}',
            '{"train": ["1"], "dev": [], "test": []}',
        ),
        ('{"1": {"QUESTION": "Q", "CONTEXTS": ["a"], "final_decision": "yes", "YEAR": []}}', None),
        ('{"1": {"QUESTION": ["Q"], "CONTEXTS": ["a"], "final_decision": "yes"}}', None),
        ('{"1": []}', None),
        ("{}", '{"train": [["1"]], "dev": [], "test": []}'),
        ("{}", '{"train": [{}], "dev": [], "test": []}'),
        ("{}", '{"train": [1], "dev": [], "test": []}'),
        ("{}", '{"train": "1", "dev": [], "test": []}'),
        ('{"1": ' + "1" * 4301 + "}", None),
        ('{"1": ' + "[" * 100_000 + "}", None),
        ('{"1": {"QUESTION": "\\ud800", "CONTEXTS": ["a"], "final_decision": "yes"}}', None),
    ],
)
def test_wrong_json_types_are_bad_rows(tmp_path: Path, questions: str, splits: str | None) -> None:
    (tmp_path / "ori_pqal.json").write_text(questions)
    (tmp_path / "splits.json").write_text(splits or '{"train": ["1"], "dev": [], "test": []}')
    reader = PubMedQA(str(tmp_path), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert len(reader.bad_rows) == 1
