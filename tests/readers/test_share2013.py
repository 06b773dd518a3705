"""The layout is that of ShARe/CLEF eHealth 2013 as public parsers read it; the reports are invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, SpanRow
from mtl.problems import InputError
from mtl.readers._parts import KEPT, OVERLAPPING, SPLIT
from mtl.readers.share2013 import ShARe2013
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

TEXT = "Zaphod 𝛼: Knee pain\nand hip pain.\n"
LINES = "{name}.txt||Disease_Disorder||C0231749||10||19\n{name}.txt||Disease_Disorder||CUI-less||24||27||28||32\n"
NAMES = ("07-DISCHARGE_SUMMARY", "08-ECHO_REPORT", "09-RADIOLOGY_REPORT")
GOLD = ("Knee pain", "hip pain")


def files(texts: str = "ALLREPORTS", mentions: str = "CLEFPIPE", suffix: str = ".pipe.txt") -> dict[str, str]:
    found = {f"{texts}/{name}.txt": TEXT for name in NAMES}
    return found | {f"{mentions}/{name}{suffix}": LINES.format(name=name) for name in NAMES}


PIPE = f"CLEFPIPE/{NAMES[1]}.pipe.txt"
OPTIONS = {"files": {"train": "."}}
OTHERS = {"ALLREPORTS/07.txt": "On Zaphod", "CLEFPIPE/07.pipe.txt": ""}
SAMPLE = Sample(
    ShARe2013,
    files=OTHERS | {name: text for name, text in files().items() if NAMES[1] in name},
    rows=((), GOLD),
    row_type=SpanRow,
    options=OPTIONS,
    malformed=(
        Malformed(PIPE, "C0231749||10", "C0231749", 1),
        Malformed(PIPE, "10||19", "10||99", 1),
        Malformed(PIPE, "10||19", "19||10", 1),
        Malformed(PIPE, "10||19", "10||x", 1),
        Malformed(PIPE, "10||19", "", 1),
        Malformed(PIPE, f"{NAMES[1]}.txt||Disease_Disorder||CUI", "other.txt||Disease_Disorder||CUI", 2),
        Malformed(PIPE, "Disease_Disorder||C0", "||C0", 1),
    ),
    verbatim=frozenset(f"ALLREPORTS/{name}.txt" for name in NAMES),
)
ARCHIVE = Sample(ShARe2013, files=SAMPLE.files, rows=SAMPLE.rows, row_type=SpanRow, pack=has.pack_tar("train.tar.gz"))


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


@pytest.mark.parametrize("has_property", [has.assert_every_row_is_read, has.assert_an_empty_file_is_an_error])
def test_property_of_an_archive(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(ARCHIVE, tmp_path)


def read(tmp_path: Path, written: dict[str, str], **options: Any) -> tuple[list[Any], ShARe2013]:
    has.write_files(tmp_path, {name: text.encode() for name, text in written.items()})
    reader = ShARe2013(str(tmp_path), **{"on_bad_row": "skip", **OPTIONS, **options})
    return list(reader.read("train")), reader


def test_a_report_has_its_mentions_with_parts_and_concepts(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, files())
    assert rows[0] == SpanRow(
        NAMES[0],
        NAMES[0],
        TEXT,
        entities=(
            Entity("T1", "Disease_Disorder", ((10, 19),), ("C0231749",)),
            Entity("T2", "Disease_Disorder", ((24, 27), (28, 32))),
        ),
    )
    assert (reader.noted, reader.adjusted) == ({KEPT: 3}, {})


def test_parts_can_be_mentions_of_their_own(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, files(), discontinuous="split")
    assert [len(row.entities) for row in rows] == [3, 3, 3]
    assert (reader.noted, reader.adjusted) == ({}, {SPLIT: 3})


@pytest.mark.parametrize("suffix", [".pipe.txt", ".pipe", ".txt"])
def test_mentions_may_be_in_a_folder_of_their_own_with_the_names_of_the_reports(suffix: str, tmp_path: Path) -> None:
    written = files("Corpus/ALLREPORTS", "Gold/Gold_SN2012", suffix)
    options = {"files": {"train": "Corpus"}, "annotations": {"train": "Gold"}}
    assert read(tmp_path / "apart", written, **options)[0] == read(tmp_path / "together", files())[0]


def test_overlapping_mentions_are_kept_and_counted(tmp_path: Path) -> None:
    written = files()
    written[PIPE] += f"{NAMES[1]}.txt||Disease_Disorder||C0030193||15||19\n"
    rows, reader = read(tmp_path, written)
    assert (len(rows[1].entities), reader.noted[OVERLAPPING]) == (3, 2)


def test_a_report_without_a_disorder_has_an_empty_file(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, files() | {PIPE: ""})
    assert ([len(row.entities) for row in rows], reader.bad_rows) == ([2, 0, 2], [])


@pytest.mark.parametrize("missing", [PIPE, f"ALLREPORTS/{NAMES[1]}.txt"])
def test_half_a_pair_of_files_is_a_bad_row(missing: str, tmp_path: Path) -> None:
    written = files()
    del written[missing]
    rows, reader = read(tmp_path, written)
    assert ([row.id for row in rows], len(reader.bad_rows)) == ([NAMES[0], NAMES[2]], 1)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, files(), annotations={"train": "nowhere"})
    assert [problem.key for problem in raised.value.problems] == ["annotations.train"]
