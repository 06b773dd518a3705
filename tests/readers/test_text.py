from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import DOCUMENT_BREAK, TextRow
from mtl.problems import InputError
from mtl.readers.text import Text
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

PARAGRAPHS = "Zaphod \U0001d6fc left.\nHe was late.\n\nZaphod came.\n\n\nZaphod again.\n"
LINES = [{"text": "Zaphod left.", "id": "a1"}, {"text": "Zaphod came.\n\nLater.", "pmid": 7}, {"text": "Zaphod."}]
JSON = "".join(json.dumps(line) + "\n" for line in LINES)
SECOND = json.dumps(LINES[1])
SAMPLES = {
    "blank_lines": Sample(Text, files={"train.txt": PARAGRAPHS}, rows=(None,) * 3),
    "paragraphs": Sample(
        Text,
        files={"train.txt": PARAGRAPHS},
        rows=(None,) * 2,
        options={"blank_lines": 2},
    ),
    "json_lines": Sample(
        Text,
        files={"train.jsonl": JSON},
        rows=(None,) * 3,
        malformed=(
            Malformed("train.jsonl", SECOND, '["Zaphod"]', 2),
            Malformed("train.jsonl", SECOND, '{"text": "Zaphod"', 2),
            Malformed("train.jsonl", SECOND, '{"txt": "Zaphod"}', 2),
            Malformed("train.jsonl", SECOND, '{"text": ["Zaphod"]}', 2),
            Malformed("train.jsonl", SECOND, '{"text": " "}', 2),
            Malformed("train.jsonl", '"a1"', "[1]", 1),
        ),
    ),
    "files": Sample(
        Text,
        files={"train/a.txt": "Zaphod left.\n\nZaphod came.\n", "train/b/c.txt": "Zaphod again.\n"},
        rows=(None,) * 2,
        options={"documents": "files"},
    ),
    "shards": Sample(
        Text,
        files={"train/1.txt": "Zaphod left.\n\nZaphod came.\n", "train/2.jsonl": json.dumps(LINES[0]) + "\n"},
        rows=(None,) * 3,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES])
def test_property(has_property: Callable[..., None], name: str, tmp_path: Path) -> None:
    has_property(SAMPLES[name], tmp_path)


@pytest.mark.parametrize("name", ["blank_lines", "paragraphs", "json_lines"])
def test_an_empty_file_is_an_error(name: str, tmp_path: Path) -> None:
    has.assert_an_empty_file_is_an_error(SAMPLES[name], tmp_path)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt").replace("_jsonl", ".jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def rows(folder: Path, **options: Any) -> list[Any]:
    return list(Text(str(folder), **options).read("train"))


def test_documents_end_at_the_given_number_of_blank_lines(tmp_path: Path) -> None:
    write(tmp_path, train_txt="\n\nOne.\nTwo.\n \nThree.\n\n\n\nFour.\n\n")
    assert rows(tmp_path) == [
        TextRow("train-3", "train-3", "One.\nTwo."),
        TextRow("train-6", "train-6", "Three."),
        TextRow("train-10", "train-10", "Four."),
    ]
    assert rows(tmp_path, blank_lines=2) == [
        TextRow("train-3", "train-3", "One.\nTwo.\n \nThree."),
        TextRow("train-10", "train-10", "Four."),
    ]


def test_lines_of_json_have_their_own_ids_or_those_of_their_line(tmp_path: Path) -> None:
    lines = [{"abstract": " One. ", "pmid": 7, "year": 2020}, {"abstract": "Two.", "pmid": None}]
    write(tmp_path, train_jsonl="\n".join(map(json.dumps, lines)))
    found = rows(tmp_path, columns={"text": "abstract", "id": "pmid"})
    assert found == [TextRow("7", "7", "One."), TextRow("train-2", "train-2", "Two.")]


def test_a_folder_without_splits_is_train_and_its_files_are_read_by_name(tmp_path: Path) -> None:
    write(tmp_path, b_txt="Three.", a__z_txt="One.\n\nTwo.")
    (tmp_path / ".hidden.txt").write_text("No.", encoding="utf-8")
    assert [row.id for row in rows(tmp_path)] == ["train-a/z.txt-1", "train-a/z.txt-3", "train-b.txt-1"]
    assert rows(tmp_path, documents="files") == [
        TextRow("a/z.txt", "a/z.txt", "One.\n\nTwo."),
        TextRow("b.txt", "b.txt", "Three."),
    ]


def test_a_stream_joins_whole_documents_in_order_until_its_size(tmp_path: Path) -> None:
    write(tmp_path, train__1_txt="One.\n\nTwo.\n\nThree is long.", train__2_txt="Four.")
    found = rows(tmp_path, chunk="stream", stream_size=8)
    assert [row.text.split(DOCUMENT_BREAK) for row in found] == [["One.", "Two."], ["Three is long."], ["Four."]]
    assert [row.id for row in found] == ["train-1.txt-1", "train-1.txt-5", "train-2.txt-1"]
    (whole,) = rows(tmp_path, chunk="stream")
    assert whole.text.split(DOCUMENT_BREAK) == ["One.", "Two.", "Three is long.", "Four."]


def test_form_feeds_of_a_document_are_line_breaks_and_counted(tmp_path: Path) -> None:
    write(tmp_path, train_txt="Page 1.\fPage 2.\f\n\nOther.")
    reader = Text(str(tmp_path))
    assert [row.text for row in reader.read("train")] == ["Page 1.\nPage 2.", "Other."]
    assert reader.adjusted == {"form feeds": 1}


def test_empty_and_binary_files_are_named_at_once_and_can_be_skipped(tmp_path: Path) -> None:
    write(tmp_path, train__1_txt="", train__2_txt="One.", train__3_txt="\n \n")
    (tmp_path / "train" / "4.txt").write_bytes(b"PK\x03\x04\0\0")
    (tmp_path / "train" / "5.txt").write_bytes("Zwei.".encode("utf-16"))
    with pytest.raises(InputError) as raised:
        rows(tmp_path)
    text = "\n".join(map(str, raised.value.problems))
    assert "files: 1.txt, 3.txt" in text
    assert "files: 4.txt, 5.txt" in text
    reader = Text(str(tmp_path), on_bad_row="skip")
    assert [row.text for row in reader.read("train")] == ["One."]
    assert len(reader.bad_rows) == 4


def test_a_folder_without_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError):
        rows(tmp_path)
    with pytest.raises(InputError):
        Text(str(tmp_path / "train")).sources()


@pytest.mark.parametrize("options", [{"blank_lines": 0}, {"stream_size": 0}, {"columns": {"texts": "a"}}])
def test_wrong_options_are_refused_by_name(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        Text(str(tmp_path), **options)
    (problem,) = raised.value.problems
    assert problem.key.partition(".")[0] in options


BOILERPLATE = "Call 911.\nZaphod left.\n\nCall 911. \nHe was late.\nZaphod left.\n\nCall 911.\n\nHe came.\n"


def test_lines_of_many_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(BOILERPLATE)
    reader = Text(str(tmp_path), repeated=3)
    rows = list(reader.rows(tmp_path / "train.txt", "train"))
    assert [row.text for row in rows] == ["Zaphod left.", "He was late.\nZaphod left.", "He came."]
    assert reader.adjusted == {"lines of boilerplate": 3, "documents of boilerplate only": 1}
    reader = Text(str(tmp_path), repeated=2)
    assert [row.text for row in reader.rows(tmp_path / "train.txt", "train")] == ["He was late.", "He came."]
    assert reader.adjusted == {"lines of boilerplate": 5, "documents of boilerplate only": 2}


def test_documents_without_boilerplate_keep_all_their_characters(tmp_path: Path) -> None:
    """Other line separators than a line break belong to the text."""
    texts = ["a\u2028b\x85c", "He came.", "He went."]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    reader = Text(str(tmp_path), repeated=2)
    assert [row.text for row in reader.rows(tmp_path / "train.jsonl", "train")] == texts
    assert reader.adjusted == {}


def test_a_null_byte_far_into_a_file_makes_it_binary(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"x" * 9_000 + b"\0\n\ny")
    reader = Text(str(tmp_path), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert len(reader.bad_rows) == 1


def test_bad_rows_of_a_corpus_that_is_read_twice_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(JSON + "[]\n")
    reader = Text(str(tmp_path), repeated=2, on_bad_row="skip")
    assert len(list(reader.rows(tmp_path / "train.jsonl", "train"))) == 3
    assert len(reader.bad_rows) == 1


def test_a_line_must_be_in_two_documents_to_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Text(str(tmp_path), repeated=1)
    assert [problem.key for problem in caught.value.problems] == ["repeated"]
