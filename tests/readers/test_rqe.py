from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.rqe import RQE, question_hash


def pair(
    pid: str = "1", chq: str = "How is it?", faq: str = "What is it?", value: str = "true", kind: str = "x"
) -> str:
    return f'<pair pid="{pid}" type="{kind}" value="{value}">\n<chq>\n  {chq}\n</chq>\n<faq>{faq}</faq>\n</pair>\n'


def write(folder: Path, *pairs: str) -> RQE:
    (folder / "train.xml").write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<RQE>\n{"".join(pairs)}</RQE>\n')
    return RQE(str(folder))


def test_a_pair_is_a_row_whose_document_is_the_health_question(tmp_path: Path) -> None:
    group = question_hash("How is it?")
    assert list(write(tmp_path, pair()).read("train")) == [
        TextRow("1", group, "How is it?", "What is it?", label="true", meta={"chq": group})
    ]


def test_pairs_of_one_question_share_a_group_whatever_its_case_and_blanks(tmp_path: Path) -> None:
    reader = write(tmp_path, pair("1"), pair("2", chq="how  is\n it?"), pair("3", chq="How was it?"))
    groups = [row.meta["chq"] for row in reader.read("train")]
    assert groups[0] == groups[1] != groups[2]


def test_how_a_pair_was_made_changes_nothing(tmp_path: Path) -> None:
    rows = list(write(tmp_path, pair(kind="originalQ-shortQ")).read("train"))
    assert list(write(tmp_path, pair(kind="originalQ-shortRandQ")).read("train")) == rows
    assert "type" not in rows[0].meta


def test_entities_of_xml_become_characters(tmp_path: Path) -> None:
    (row,) = write(tmp_path, pair(faq="a &lt; b &amp; c")).read("train")
    assert row.text_pair == "a < b & c"


def test_a_pair_that_stands_twice_is_kept_twice(tmp_path: Path) -> None:
    rows = list(write(tmp_path, pair("1"), pair("2", value="false")).read("train"))
    assert [(row.id, row.label) for row in rows] == [("1", "true"), ("2", "false")]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (pair("2", faq=" "), "A pair must have a faq; found an empty one, pid '2'"),
        (pair("2", chq=" "), "A pair must have a chq; found an empty one, pid '2'"),
        (pair("2", value="yes"), "value must be 'true' or 'false'; found 3 other characters, pid '2'"),
        (pair(""), "A pair must have a pid; found none"),
        (pair("1"), "An id must be unique in its split; found '1' again"),
    ],
)
def test_a_malformed_pair_is_refused_and_named_and_the_others_are_read(tmp_path: Path, broken: str, rule: str) -> None:
    write(tmp_path, pair("1"), broken, pair("3"))
    reader = RQE(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in reader.read("train")] == ["1", "3"]
    (bad,) = reader.bad_rows
    assert str(bad).endswith(rule)
    assert bad.line == (None if "unique" in rule else 9)
    assert "is it" not in str(bad)
    with pytest.raises(InputError, match="on_bad_row: skip"):
        list(RQE(str(tmp_path)).read("train"))


def test_a_file_that_is_not_well_formed_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.xml:5: The file must be well-formed XML; found mismatched tag"):
        list(write(tmp_path, "<pair>\n<chq>x\n</faq>\n").read("train"))


def test_a_file_with_a_bad_byte_gives_no_row_and_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, pair("1"), pair("2"))
    path = tmp_path / "train.xml"
    path.write_bytes(path.read_bytes().replace(b"What", b"Wh\xe4t", 1))
    reader = RQE(str(tmp_path), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert [(bad.line, bad.rule) for bad in reader.bad_rows] == [(7, "Text must be UTF-8")]


def test_the_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    rows = list(write(tmp_path, pair()).read("train"))
    path = tmp_path / "train.xml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(RQE(str(tmp_path)).read("train")) == rows


def test_the_data_has_the_documented_counts(data_folder: Path) -> None:
    files = {"train": "RQE_Train_8588_AMIA2016.xml", "test": "RQE_Test_302_pairs_AMIA2016.xml"}
    reader = RQE(str(data_folder / "rqe_amia2016"), files=files, on_bad_row="skip")
    rows = {split: list(reader.read(split)) for split in files}
    found = Counter(f"{split} pairs:{row.label}" for split in rows for row in rows[split])
    found.update({f"{split} pairs": len(rows[split]) for split in rows})
    expected = Counter[str]()
    with (data_folder / "counts.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line["dataset"] == "rqe_amia2016":
                expected[f"{line['split']} {line['unit']}"] = int(line["count"])
    (bad,) = reader.bad_rows
    assert "pid '5860'" in str(bad)
    assert expected - found == Counter({"train pairs": 1, "train pairs:true": 1})
    assert found - expected == Counter()
    questions = {split: {row.document for row in rows[split]} for split in rows}
    assert len(questions["train"]) == 4638
    assert not questions["train"] & questions["test"]
