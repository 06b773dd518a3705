"""The layout is that of OHNLP 2018 and n2c2 2019 as public loaders read it; the sentences are invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.clinicalsts import ClinicalSTS
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

TRAIN, TEST, SCORES = "clinicalSTS.train.txt", "clinicalSTS.test.txt", "clinicalSTS.test.gs.sim.txt"
TOGETHER = Sample(
    ClinicalSTS,
    files={TRAIN: 'Zaphod has "fever.\tHe is hot.\t4.5\nZaphod is ill.\t Zaphod is well.\t1 \nZaphod\tZaphod\t5\n'},
    rows=(4.5, 1.0, 5.0),
    malformed=(
        Malformed(TRAIN, "\t4.5", "", 1),
        Malformed(TRAIN, "\t4.5", "\t4.5\t1", 1),
        Malformed(TRAIN, "4.5", "high", 1),
        Malformed(TRAIN, "4.5", "nan", 1),
        Malformed(TRAIN, "4.5", "5.5", 1),
        Malformed(TRAIN, "He is hot.", " ", 1),
    ),
)
APART = Sample(
    ClinicalSTS,
    files={TEST: "Zaphod has fever.\tHe is hot.\nZaphod\tZaphod\n", SCORES: "4.5\n5\n"},
    rows=(4.5, 5.0),
    split="test",
    malformed=(
        Malformed(TEST, "\tHe", " He", 1),
        Malformed(TEST, "\tHe is hot.", "\tHe is\thot.", 1),
        Malformed(SCORES, "4.5", "-1", 1),
        Malformed(SCORES, "4.5", "4.5\n3", None, lost=2),
        Malformed(TEST, "fever.\t", "fever.\n\t", None, place=SCORES, lost=2),
    ),
)


@pytest.mark.parametrize("sample", [TOGETHER, APART], ids=["together", "apart"])
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES])
def test_property(has_property: Callable[..., None], sample: Sample, tmp_path: Path) -> None:
    has_property(sample, tmp_path)


def test_empty_files(tmp_path: Path) -> None:
    has.assert_an_empty_file_gives_no_rows(TOGETHER, tmp_path)
    has.assert_an_empty_file_is_an_error(APART, tmp_path)


def write(folder: Path, **files: str) -> ClinicalSTS:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return ClinicalSTS(str(folder))


def test_blanks_around_sentences_and_scores_are_removed(tmp_path: Path) -> None:
    (tmp_path / TRAIN).write_text("A rash.\t A skin rash.\t3.5 \n\n")
    assert list(ClinicalSTS(str(tmp_path)).read("train")) == [
        TextRow("train-1", "train-1", "A rash.", "A skin rash.", label=3.5)
    ]


def test_scores_are_found_beside_the_sentences_or_by_the_option(tmp_path: Path) -> None:
    (tmp_path / TEST).write_text("A\tB\nC\tD\n")
    (tmp_path / "mine.txt").write_text("1\n2")
    options: dict[str, Any] = {"scores": {"test": "mine.txt"}}
    assert [row.label for row in ClinicalSTS(str(tmp_path), **options).read("test")] == [1, 2]
    with pytest.raises(InputError):
        list(ClinicalSTS(str(tmp_path)).read("test"))
    (tmp_path / SCORES).write_text("3\n4\n")
    assert [row.label for row in ClinicalSTS(str(tmp_path)).read("test")] == [3, 4]


@pytest.mark.parametrize(("option", "key"), [("test", "scores.test"), ("dev", "scores.dev")])
def test_a_wrong_option_is_named(option: str, key: str, tmp_path: Path) -> None:
    (tmp_path / TEST).write_text("A\tB\n")
    with pytest.raises(InputError) as raised:
        list(ClinicalSTS(str(tmp_path), scores={option: "nowhere.txt"}).read("test"))
    assert [problem.key for problem in raised.value.problems] == [key]
