from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers.marked import MarkedPairs
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def line(text: str, label: Any = "INHIBITOR", **more: Any) -> str:
    return json.dumps({"text": text, "label": label, **more}) + "\n"


SECOND = line("[[ Zaphod ]]-induced << 𝛼1 >> is >> 2", metadata=[])
SAMPLE = Sample(
    MarkedPairs,
    files={"train.txt": line("<< COX-2 >> for [[ Zaphod ]].") + SECOND + line("<< [[ a ]] Zaphod >>", "AGONIST")},
    rows=(("Zaphod", "COX-2"), ("Zaphod", "𝛼1"), ("a", "a Zaphod")),
    row_type=SpanRow,
    malformed=tuple(
        Malformed("train.txt", SECOND, new, 2)
        for new in (
            line("[[ Zaphod ]] and a gene"),
            line("[[ Zaphod ]] and [[ a ]] << b >>"),
            line("[[ Zaphod ]] and << b"),
            line("[[ Zaphod ]] and <<  >>"),
            line("[[ Zaphod ]] and << b >>", ""),
            line("[[ Zaphod ]] and << b >>", ["AGONIST"]),
            line(""),
            '["[[ Zaphod ]] and << b >>"]\n',
            '{"text": "Zaphod"\n',
        )
    ),
)


@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_gives_no_rows],
)
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def read(folder: Path, *lines: str, **options: Any) -> list[Any]:
    (folder / "train.txt").write_text("".join(lines))
    return list(MarkedPairs(str(folder), **options).read("train"))


def test_marks_are_no_part_of_the_text_and_the_first_type_is_the_head(tmp_path: Path) -> None:
    first, second = read(
        tmp_path,
        line("<< COX-2 >> is inhibited by [[ aspirin ]]."),
        line("<< COX-2 >> is inhibited by [[ aspirin ]].", "AGONIST"),
    )
    assert first == SpanRow(
        "train-1",
        first.document,
        "COX-2 is inhibited by aspirin.",
        entities=(Entity("T1", "CHEMICAL", ((22, 29),)), Entity("T2", "GENE", ((0, 5),))),
        relations=(Relation("T1", "T2", "INHIBITOR"),),
    )
    assert second.document == first.document
    assert second.relations == (Relation("T1", "T2", "AGONIST"),)


def test_other_marks_and_types_can_be_given(tmp_path: Path) -> None:
    marks = {"Drug": ["{", "}"], "Effect": ["<e>", "</e>"]}
    (row,) = read(tmp_path, line("{aspirin} gives <e>pain</e>"), marks=marks)
    assert row.text == "aspirin gives pain"
    assert [(entity.type, entity.spans) for entity in row.entities] == [("Drug", ((0, 7),)), ("Effect", ((14, 18),))]


@pytest.mark.parametrize(
    "marks", [{"A": ["[", "]"]}, {"A": ["[", "]"], "B": ["["]}, {"A": ["[", "]"], "B": ["[", "]"]}]
)
def test_marks_that_cannot_be_told_apart_are_an_error(tmp_path: Path, marks: dict[str, list[str]]) -> None:
    with pytest.raises(InputError) as caught:
        MarkedPairs(str(tmp_path), marks=marks)
    assert [problem.key for problem in caught.value.problems] == ["marks"]


def test_the_data_has_the_documented_counts(data_folder: Path) -> None:
    reader = MarkedPairs(str(data_folder / "chemprot" / "scibert"))
    rows = {split: list(reader.read(split)) for split in ("train", "dev", "test")}
    found = Counter({f"{split} rows": len(rows[split]) for split in rows})
    found.update(f"{split} rows:{row.relations[0].type}" for split in rows for row in rows[split])
    expected = Counter[str]()
    with (data_folder / "counts.csv").open(newline="") as file:
        for entry in csv.DictReader(file):
            if entry["dataset"] == "chemprot/scibert":
                expected[f"{entry['split']} {entry['unit']}"] = int(entry["count"])
    assert found == expected
    assert len({unit.partition(":")[2] for unit in found} - {""}) == 13
    assert not any(mark in row.text for part in rows.values() for row in part for mark in ("<< ", "[[ ", " ]]"))
