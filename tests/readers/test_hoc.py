from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.hoc import HALLMARKS, HoC


def line(index: str, text: str = "Some text .", classes: tuple[int, ...] = ()) -> str:
    flags = ",".join(f"{number}_{int(number in classes)}" for number in range(10))
    return f"{flags}\t{text}\t{index}"


def write(folder: Path, *lines: str, header: str = "labels\tsentence\tindex") -> Path:
    path = folder / "train.tsv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def ids(reader: HoC) -> list[str]:
    return [row.id for row in reader.read("train")]


def test_a_document_has_its_sentences_by_number_and_the_labels_of_all(tmp_path: Path) -> None:
    write(
        tmp_path,
        *(line(f"7_s{number}", f"Text {number} .", (7,) if number == 10 else (0, 7)) for number in (10, 2, 1, 0)),
        line("8_s0", "Other ."),
        *(line(f"7_s{number}", f"Text {number} .") for number in (3, 4, 5, 6, 7, 8, 9)),
    )
    assert list(HoC(str(tmp_path)).read("train")) == [
        TextRow(
            "7",
            "7",
            " ".join(f"Text {number} ." for number in range(11)),
            label=("activating invasion and metastasis", "resisting cell death"),
        ),
        TextRow("8", "8", "Other .", label=()),
    ]


def test_a_sentence_is_a_row_of_its_document_where_asked(tmp_path: Path) -> None:
    write(tmp_path, line("7_s1", "Second .", (9, 3)), line("7_s0", "First ."))
    assert list(HoC(str(tmp_path), unit="sentence").read("train")) == [
        TextRow("7_s1", "7", "Second .", label=("enabling replicative immortality", "tumor promoting inflammation")),
        TextRow("7_s0", "7", "First .", label=()),
    ]


def test_each_class_number_has_its_own_name(tmp_path: Path) -> None:
    write(tmp_path, *(line(f"{number}_s0", classes=(number,)) for number in range(10)))
    assert [row.label for row in HoC(str(tmp_path)).read("train")] == [(name,) for name in HALLMARKS]


def test_quotes_are_text(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0", '"Open'), line("7_s1", "shut ."))
    (row,) = HoC(str(tmp_path)).read("train")
    assert row.text == '"Open shut .'


BROKEN = [
    (line("8_s1").replace("3_0", "3_2"), "The labels must be 0_0 or 0_1"),
    (line("8_s1").replace("3_0,", ""), "The labels must be 0_0 or 0_1"),
    (line("8_s1", " "), "A sentence must have text; found none"),
    (line("8_s0"), "An index must be unique; found '8_s0' again"),
    (line("8_s1").replace("\t", "\t\t", 1), "A line must have 3 columns; found 4"),
]


@pytest.mark.parametrize(("broken", "rule"), BROKEN)
def test_a_document_with_a_malformed_sentence_is_refused_whole_and_once(tmp_path: Path, broken: str, rule: str) -> None:
    write(tmp_path, line("7_s0"), line("8_s0"), broken, broken, line("9_s0"))
    reader = HoC(str(tmp_path), on_bad_row="skip")
    assert ids(reader) == ["7", "9"]
    (bad,) = reader.bad_rows
    assert (bad.line, rule in str(bad), "Some text" in str(bad)) == (4, True, False)
    with pytest.raises(InputError, match="on_bad_row: skip"):
        ids(HoC(str(tmp_path)))


@pytest.mark.parametrize(("broken", "rule"), BROKEN)
def test_among_sentences_only_the_malformed_one_is_refused(tmp_path: Path, broken: str, rule: str) -> None:
    write(tmp_path, line("7_s0"), line("8_s0"), broken, line("9_s0"))
    reader = HoC(str(tmp_path), unit="sentence", on_bad_row="skip")
    assert ids(reader) == ["7_s0", "8_s0", "9_s0"]
    assert [(bad.line, rule in str(bad)) for bad in reader.bad_rows] == [(4, True)]


def test_an_index_of_another_form_is_refused(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0"), line("PMID8"))
    reader = HoC(str(tmp_path), on_bad_row="skip")
    assert ids(reader) == ["7"]
    assert [bad.line for bad in reader.bad_rows] == [3]


def test_a_document_that_lost_a_line_to_a_bad_byte_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, line("7_s0"), line("7_s1", "Bad ."), line("7_s2"), line("8_s0"))
    path.write_bytes(path.read_bytes().replace(b"Bad", b"B\xe4d"))
    reader = HoC(str(tmp_path), on_bad_row="skip")
    assert ids(reader) == ["8"]
    assert [bad.line for bad in reader.bad_rows] == [3, None]
    assert "numbered from 0 without a gap; found 2 sentences up to s2 in document '7'" in str(reader.bad_rows[1])


def test_another_header_is_reported(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0"), header="sentence\tlabels\tindex")
    with pytest.raises(InputError, match=r"train\.tsv:1: The header must be labels, sentence, index"):
        ids(HoC(str(tmp_path)))


def test_the_data_has_the_documented_counts(data_folder: Path) -> None:
    expected: dict[str, Counter[str]] = {split: Counter() for split in ("train", "dev", "test")}
    with (data_folder / "counts.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            if record["dataset"] == "hoc/blurb":
                expected[record["split"]][record["unit"]] = int(record["count"])
    documents = HoC(str(data_folder / "hoc" / "blurb"))
    sentences = HoC(str(data_folder / "hoc" / "blurb"), unit="sentence")
    for split, counts in expected.items():
        rows = list(documents.read(split))
        labels = [row.label for row in rows]
        found = Counter(f"documents:class {HALLMARKS.index(name)}" for label in labels for name in label)
        found["documents without a label"] = labels.count(())
        found["documents"] = len(rows)
        found["sentences"] = len(list(sentences.read(split)))
        assert found == counts
