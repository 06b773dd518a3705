from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from heads.rows import TextRow
from mtl.readers.rqe import RQE, question_hash
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def pair(
    pid: str = "1", chq: str = "How is it?", faq: str = "What is it?", value: str = "true", kind: str = "x"
) -> str:
    return f'<pair pid="{pid}" type="{kind}" value="{value}">\n<chq>\n  {chq}\n</chq>\n<faq>{faq}</faq>\n</pair>\n'


def document(*pairs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<RQE>\n{"".join(pairs)}</RQE>\n'


def write(folder: Path, *pairs: str) -> RQE:
    (folder / "train.xml").write_text(document(*pairs))
    return RQE(str(folder))


SECOND = pair("2", "Zaphod", "What is it?", "false")
SAMPLE = Sample(
    RQE,
    files={"train.xml": document(pair("1", "How is Zaphod?"), SECOND, pair("3", "Zaphod?"))},
    rows=("true", "false", "true"),
    malformed=(
        Malformed("train.xml", SECOND, pair("2", "Zaphod", " "), 9),
        Malformed("train.xml", SECOND, pair("2", " ", "Zaphod"), 9),
        Malformed("train.xml", SECOND, pair("2", "Zaphod", value="yes"), 9),
        Malformed("train.xml", SECOND, pair("", "Zaphod"), 9),
        Malformed("train.xml", SECOND, pair("1", "Zaphod"), None),
        Malformed("train.xml", SECOND, SECOND.replace("</chq>", "</faq>"), 12, lost=3),
    ),
    rows_in_file={"train.xml": 3},
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


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
