"""The layout is that of BioCreative IV as public parsers read it; the abstracts are invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, SpanRow
from mtl.problems import InputError
from mtl.readers._mentions import TRUSTED
from mtl.readers._parts import OVERLAPPING
from mtl.readers.chemdner import ChemDNER
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

ABSTRACTS, ANNOTATIONS = "training.abstracts.txt", "training.annotations.txt"
FILES = {
    ABSTRACTS: "7\tZaphod 𝛼 zinc\tZinc salts help.\n8\tOn Zaphod\tNothing.\n9\tZaphod\tHe took iron.\n",
    ANNOTATIONS: "7\tT\t9\t13\tzinc\tSYSTEMATIC\n7\tA\t0\t10\tZinc salts\tFAMILY\n9\tA\t8\t12\tiron\tTRIVIAL\n",
}


def change(old: str, new: str, line: int, *, file: str = ANNOTATIONS) -> Malformed:
    return Malformed(file, old, new, line)


SAMPLE = Sample(
    ChemDNER,
    files=FILES,
    rows=(("zinc", "Zinc salts"), (), ("iron",)),
    row_type=SpanRow,
    malformed=(
        change("T\t9\t13", "T\t8\t12", 1),
        change("T\t9\t13", "X\t9\t13", 1),
        change("T\t9\t13", "A\t9\t13", 1),
        change("T\t9\t13", "T\t9\t", 1),
        change("\tSYSTEMATIC", "", 1),
        change("SYSTEMATIC", "", 1),
        change("A\t0\t10", "A\t0\t99", 2),
        change("On Zaphod\t", "On Zaphod ", 2, file=ABSTRACTS),
    ),
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def test_a_split_without_abstracts_or_mentions_is_an_error(tmp_path: Path) -> None:
    files = FILES | {ANNOTATIONS: "7\tT\t9\t13\tzinc\tSYSTEMATIC\n"}
    has.assert_an_empty_file_gives_no_rows(
        Sample(ChemDNER, files={ABSTRACTS: ""}, rows=(), options={"annotations": {"train": ABSTRACTS}}), tmp_path
    )
    found = has.read(SAMPLE, tmp_path, {name: text.encode() for name, text in (files | {ABSTRACTS: ""}).items()})
    assert (found.rows, len(found.bad_rows)) == ([], 1)


def read(tmp_path: Path, files: dict[str, str] = FILES, **options: Any) -> tuple[list[Any], ChemDNER]:
    has.write_files(tmp_path, {name: text.encode() for name, text in files.items()})
    reader = ChemDNER(str(tmp_path), **options)
    return list(reader.read("train")), reader


def test_offsets_of_the_abstract_are_moved_behind_the_title(tmp_path: Path) -> None:
    rows, reader = read(tmp_path)
    assert rows[0] == SpanRow(
        "7",
        "7",
        "Zaphod 𝛼 zinc Zinc salts help.",
        entities=(Entity("T1", "SYSTEMATIC", ((9, 13),)), Entity("T2", "FAMILY", ((14, 24),))),
    )
    assert not reader.noted


def test_classes_are_merged_and_others_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, types={"SYSTEMATIC": "Chemical", "FAMILY": "Chemical"})
    assert [[entity.type for entity in row.entities] for row in rows] == [["Chemical"] * 2, [], []]
    assert dict(reader.left_out) == {"TRIVIAL": 1}


def test_overlapping_mentions_are_kept_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, FILES | {ANNOTATIONS: FILES[ANNOTATIONS] + "7\tA\t0\t4\tZinc\tTRIVIAL\n"})
    assert (len(rows[0].entities), reader.noted) == (3, {OVERLAPPING: 2})


def test_offsets_can_be_trusted(tmp_path: Path) -> None:
    files = FILES | {ANNOTATIONS: "9\tA\t8\t12\tIron\tTRIVIAL\n"}
    rows, reader = read(tmp_path, files, offsets="trust")
    assert (rows[2].entities[0].spans, reader.adjusted) == (((15, 19),), {TRUSTED: 1})
    with pytest.raises(InputError):
        read(tmp_path, files)


def test_the_splits_have_the_names_of_the_release(tmp_path: Path) -> None:
    for name in ("training", "development", "evaluation"):
        has.write_files(tmp_path, {f"{name}.{kind}.txt": b"" for kind in ("abstracts", "annotations")})
    assert list(ChemDNER(str(tmp_path)).sources()) == ["train", "dev", "test"]


@pytest.mark.parametrize("annotations", [None, {"train": "other.txt"}, {"trian": "x"}])
def test_a_missing_file_of_mentions_is_named_with_its_option(
    annotations: dict[str, str] | None, tmp_path: Path
) -> None:
    has.write_files(tmp_path, {ABSTRACTS: b""})
    with pytest.raises(InputError) as raised:
        list(ChemDNER(str(tmp_path), annotations=annotations).read("train"))
    keys = {problem.key for problem in raised.value.problems}
    assert keys == {f"annotations.{split}" for split in ("train", *(annotations or ()))}
