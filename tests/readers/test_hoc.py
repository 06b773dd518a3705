from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.hoc import HALLMARKS, HoC
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def line(index: str, text: str = "Some text .", classes: tuple[int, ...] = ()) -> str:
    flags = ",".join(f"{number}_{int(number in classes)}" for number in range(10))
    return f"{flags}\t{text}\t{index}"


def write(folder: Path, *lines: str, header: str = "labels\tsentence\tindex") -> Path:
    path = folder / "train.tsv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


SENTENCE = line("8_s1", "Zaphod left .")
HEADER = "labels\tsentence\tindex"
LINES = (line("7_s0", "Zaphod .", (0,)), line("7_s1", "Zaphod ."), line("8_s0", "Zaphod ."), SENTENCE)
CONTENT = "\n".join([HEADER, *LINES, line("9_s0", "Zaphod .", (1, 9))]) + "\n"
MALFORMED = [
    SENTENCE.replace("3_0", "3_2"),
    SENTENCE.replace("3_0,", ""),
    SENTENCE.replace("Zaphod left .", " "),
    SENTENCE.replace("8_s1", "8_s0"),
    SENTENCE.replace("\t", "\t\t", 1),
]
SAMPLES = {
    "document": Sample(
        HoC,
        files={"train.tsv": CONTENT},
        rows=((HALLMARKS[0],), (), (HALLMARKS[1], HALLMARKS[9])),
        malformed=(*(Malformed("train.tsv", SENTENCE, new, 5) for new in MALFORMED),),
        headers=frozenset({"train.tsv"}),
    ),
    "sentence": Sample(
        HoC,
        files={"train.tsv": CONTENT},
        rows=((HALLMARKS[0],), (), (), (), (HALLMARKS[1], HALLMARKS[9])),
        options={"unit": "sentence"},
        malformed=(
            *(Malformed("train.tsv", SENTENCE, new, 5) for new in MALFORMED),
            Malformed("train.tsv", SENTENCE, line("PMID8", "Zaphod"), 5),
        ),
        headers=frozenset({"train.tsv"}),
    ),
}


@pytest.mark.parametrize("unit", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], unit: str, tmp_path: Path) -> None:
    has_property(SAMPLES[unit], tmp_path)


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


def test_a_document_with_several_malformed_sentences_is_refused_once(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0"), line("8_s0"), line("8_s1", " "), line("8_s2", " "), line("9_s0"))
    reader = HoC(str(tmp_path), on_bad_row="skip")
    assert ids(reader) == ["7", "9"]
    assert [bad.line for bad in reader.bad_rows] == [4]


def test_a_sentence_without_a_readable_index_leaves_a_gap_that_refuses_its_document(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0"), line("PMID7"), line("7_s2"), line("8_s0"))
    reader = HoC(str(tmp_path), on_bad_row="skip")
    assert ids(reader) == ["8"]
    assert [bad.line for bad in reader.bad_rows] == [3, None]
    assert "'7'" in reader.bad_rows[1].found


def test_another_header_is_an_error_whatever_bad_rows_do(tmp_path: Path) -> None:
    write(tmp_path, line("7_s0"), header="sentence\tlabels\tindex")
    for on_bad_row in ("error", "skip"):
        with pytest.raises(InputError) as raised:
            ids(HoC(str(tmp_path), on_bad_row=on_bad_row))  # type: ignore[arg-type]
        assert [problem.key for problem in raised.value.problems] == [f"{tmp_path / 'train.tsv'}:1"]


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
