"""The layout is that of BioASQ task B as BigBIO's loader reads it; the questions are invented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.readers.bioasq import NO_SNIPPETS, BioASQ
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def question(number: int, answer: Any = "yes", **changes: Any) -> dict[str, Any]:
    fields = {
        "id": f"5c{number}",
        "type": "yesno",
        "body": f"Is Zaphod {number} right?",
        "documents": ["http://www.ncbi.nlm.nih.gov/pubmed/1"],
        "snippets": [
            {"offsetInBeginSection": 0, "text": f"Part {number}.", "document": "http://www.ncbi.nlm.nih.gov/pubmed/1"},
            {"offsetInBeginSection": 9, "text": " It is. ", "document": "http://www.ncbi.nlm.nih.gov/pubmed/1"},
        ],
        "exact_answer": answer,
        "ideal_answer": ["Yes, he is."],
    }
    return fields | changes


def text(*questions: Any) -> str:
    return json.dumps({"questions": list(questions)}, indent=1)


LIST = question(3, [["zinc"]], type="list")
SAMPLE = Sample(
    BioASQ,
    files={"train.json": text(question(1), question(2, ["No"]), LIST)},
    rows=("yes", "no"),
    left_out=1,
    malformed=(
        Malformed("train.json", '"exact_answer": "yes"', '"exact_answer": "maybe"', None),
        Malformed("train.json", '"exact_answer": "yes"', '"exact_answer": true', None),
        Malformed("train.json", '"Is Zaphod 1 right?"', '" "', None),
        Malformed("train.json", '"id": "5c1"', '"id": ["5c1"]', None),
        Malformed("train.json", '"id": "5c2"', '"id": "5c1"', None),
        Malformed("train.json", '"text": "Part 1."', '"text": ["Part 1."]', None),
        Malformed("train.json", '"questions": [', '"questions" [', 2, lost=2),
        Malformed("train.json", '"questions"', '"question"', None, lost=2),
    ),
    rows_in_file={"train.json": 2},
)
BATCHES = Sample(
    BioASQ,
    files={f"7B{n}_golden.json": text(question(n)) for n in (1, 2)},
    rows=("yes", "yes"),
    split="test",
    pack=has.pack_tar("test.tar.gz"),
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, has.assert_an_empty_file_is_an_error])
def test_property_of_the_batches_of_a_test_set(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(BATCHES, tmp_path)


def read(tmp_path: Path, *questions: Any, **options: Any) -> tuple[list[TextRow], BioASQ]:
    (tmp_path / "train.json").write_text(text(*questions))
    reader = BioASQ(str(tmp_path), **options)
    return list(reader.read("train")), reader


def test_a_question_is_read_with_its_snippets(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, question(1), LIST, question(4, type="summary"))
    assert rows == [TextRow("5c1", "5c1", "Is Zaphod 1 right?", "Part 1. It is.", label="yes")]
    assert dict(reader.left_out) == {"question of the type list": 1, "question of the type summary": 1}


def test_a_folder_holds_the_batches_of_a_split(tmp_path: Path) -> None:
    has.write_files(tmp_path / "test", BATCHES.content)
    assert [row.id for row in BioASQ(str(tmp_path)).read("test")] == ["5c1", "5c2"]


def test_the_answer_in_words_changes_nothing(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, question(1))
    assert read(tmp_path, question(1, ideal_answer="No, he is not."))[0] == rows


@pytest.mark.parametrize("answer", ["Yes", " YES ", ["yes"], ["Yes"]])
def test_answers_of_early_years_are_normalised(answer: Any, tmp_path: Path) -> None:
    rows, _ = read(tmp_path, question(1, answer))
    assert [row.label for row in rows] == ["yes"]


def test_a_question_without_snippets_is_read_alone_and_counted(tmp_path: Path) -> None:
    fields = question(1)
    del fields["snippets"]
    rows, reader = read(tmp_path, fields, question(2, snippets=[]))
    assert ([row.text_pair for row in rows], reader.adjusted) == ([None, None], {NO_SNIPPETS: 2})


def test_questions_can_be_read_without_context(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, question(1), context="none")
    assert ([row.text_pair for row in rows], reader.adjusted) == ([None], {})
