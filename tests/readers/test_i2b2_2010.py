"""The layout is that of i2b2/VA 2010 as public parsers read it; the notes are invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads import IGNORE
from heads.mention_classification import MentionClassification
from heads.rows import Entity, Relation, SpanRow
from mtl.readers._mentions import TRUSTED
from mtl.readers._parts import OVERLAPPING
from mtl.readers.i2b2_2010 import CONCEPTS, I2B22010
from tests.heads import properties as heads
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

TEXT = "Zaphod 𝛼 notes :\n\nNo Chest pain , on Aspirin .\nA CT of the\nchest .\n"
CON = (
    'c="chest pain" 3:1 3:2||t="problem"\nc="aspirin" 3:5 3:5||t="treatment"\nc="a ct of the chest" 4:0 5:0||t="test"\n'
)
AST = 'c="chest pain" 3:1 3:2||t="problem"||a="absent"\n'
REL = 'c="aspirin" 3:5 3:5||r="TrAP"||c="chest pain" 3:1 3:2\n'
GOLD = ("Chest pain", "Aspirin", "A CT of the\nchest")


def note(name: str, folder: str = "train") -> dict[str, str]:
    kinds = {"txt/{}.txt": TEXT, "concept/{}.con": CON, "ast/{}.ast": AST, "rel/{}.rel": REL}
    return {f"{folder}/{place.format(name)}": text for place, text in kinds.items()}


def change(kind: str, old: str, new: str, line: int) -> Malformed:
    return Malformed(f"train/{kind}/0002.{kind.removesuffix('cept')}", old, new, line)


OTHERS = {f"train/{name}.{kind}": text for name in "13" for kind, text in (("txt", "On Zaphod"), ("con", ""))}
FILES = OTHERS | note("0002")
SAMPLE = Sample(
    I2B22010,
    files=FILES,
    rows=(GOLD, (), ()),
    row_type=SpanRow,
    malformed=(
        change("concept", "3:1 3:2", "3:2 3:2", 1),
        change("concept", "3:1 3:2", "3:1 3:9", 1),
        change("concept", "3:1 3:2", "9:1 9:2", 1),
        change("concept", "3:1 3:2", "3:2 3:1", 1),
        change("concept", "3:5 3:5", "3:5", 2),
        change("concept", '||t="problem"', "", 1),
        change("concept", '||t="problem"', '||x="problem"', 1),
        change("ast", '||a="absent"', "", 1),
        change("ast", "3:1 3:2", "3:1 3:1", 1),
        change("ast", "problem", "test", 1),
        change("rel", "3:5 3:5", "3:4 3:4", 1),
        change("rel", '||r="TrAP"', '||r=""', 1),
    ),
)
ARCHIVE = Sample(
    I2B22010,
    files={name.removeprefix("train/"): text for name, text in FILES.items()},
    rows=SAMPLE.rows,
    row_type=SpanRow,
    pack=has.pack_tar("train.tar.gz"),
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


@pytest.mark.parametrize("has_property", [has.assert_every_row_is_read, has.assert_an_empty_file_is_an_error])
def test_property_of_an_archive(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(ARCHIVE, tmp_path)


def read(tmp_path: Path, files: dict[str, str], **options: Any) -> tuple[list[Any], I2B22010]:
    has.write_files(tmp_path, {name: text.encode() for name, text in files.items()})
    reader = I2B22010(str(tmp_path), on_bad_row="skip", **options)
    return list(reader.read("train")), reader


def changed(kind: str, text: str, note_text: str = TEXT) -> dict[str, str]:
    """A note with another file of one kind."""
    return note("0001") | {f"train/{kind}/0001.{kind.removesuffix('cept')}": text, "train/txt/0001.txt": note_text}


def test_a_note_has_its_lines_and_tokens_and_the_assertions_as_attributes(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, note("0001"))
    (row,) = rows
    assert (row.id, row.document, row.text, row.annotated) == ("0001", "0001", TEXT, None)
    assert row.entities == (
        Entity("T1", "problem", ((21, 31),), attributes={"assertion": "absent"}),
        Entity("T2", "treatment", ((37, 44),)),
        Entity("T3", "test", ((47, 64),)),
    )
    assert row.relations == (Relation("T2", "T1", "TrAP"),)
    assert [row.text[slice(*sentence)] for sentence in row.sentences] == [line for line in TEXT.split("\n") if line]
    assert [row.text[slice(*word)] for word in row.words] == TEXT.split()
    assert (reader.left_out, reader.adjusted, reader.noted) == ({}, {}, {})


def test_files_belong_together_by_name_wherever_they_are(tmp_path: Path) -> None:
    files = {f"texts/{name}": text for name, text in note("0001").items() if name.endswith("txt")}
    files |= {f"standard/{name}": text for name, text in note("0001").items() if not name.endswith("txt")}
    has.write_files(tmp_path / "apart", {name: text.encode() for name, text in files.items()})
    reader = I2B22010(str(tmp_path / "apart"), files={"train": "texts"}, annotations={"train": "standard"})
    assert list(reader.read("train")) == read(tmp_path / "together", note("0001"))[0]


def test_a_note_without_a_file_of_relations_is_annotated_for_concepts_only(tmp_path: Path) -> None:
    files = note("0001")
    del files["train/rel/0001.rel"], files["train/ast/0001.ast"]
    (row,), _ = read(tmp_path, files)
    assert row.annotated == CONCEPTS
    assert not any(entity.attributes for entity in row.entities)
    (row,), _ = read(tmp_path, files, types={"test": "Test", "problem": "Problem"})
    assert row.annotated == ("Test", "Problem")


def test_types_are_renamed_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    (row,), reader = read(tmp_path, note("0001"), types={"problem": "Problem"})
    assert [(entity.id, entity.type) for entity in row.entities] == [("T1", "Problem")]
    assert dict(reader.left_out) == {"treatment": 1, "test": 1, "TrAP": 1}


@pytest.mark.parametrize("shift", [0, 1])
def test_a_line_with_leading_blanks_may_count_an_empty_token(shift: int, tmp_path: Path) -> None:
    con = f'c="chest pain" 1:{1 + shift} 1:{2 + shift}||t="problem"\n'
    files = {"train/1.txt": "  No chest pain .\n", "train/1.con": con}
    (row,), reader = read(tmp_path, files)
    assert row.entities[0].spans == ((5, 15),)
    assert reader.adjusted.total() == shift


def test_a_concept_that_stands_twice_is_one_and_overlapping_ones_are_kept(tmp_path: Path) -> None:
    con = CON + 'c="chest pain" 3:1 3:2||t="problem"\nc="pain" 3:2 3:2||t="problem"\n'
    (row,), reader = read(tmp_path, changed("concept", con))
    assert (len(row.entities), reader.left_out.total(), reader.noted) == (4, 1, {OVERLAPPING: 2})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("concept", CON + 'c="chest pain" 3:1 3:2||t="test"\n'),
        ("ast", AST + AST.replace("absent", "present")),
    ],
)
def test_a_concept_with_two_types_or_assertions_is_a_bad_row(kind: str, text: str, tmp_path: Path) -> None:
    rows, reader = read(tmp_path, changed(kind, text))
    assert (rows, len(reader.bad_rows)) == ([], 1)


def test_offsets_can_be_trusted(tmp_path: Path) -> None:
    files = changed("concept", CON.replace("aspirin", "asa"), TEXT)
    assert read(tmp_path, files)[0] == []
    (row,), reader = read(tmp_path, files, offsets="trust")
    assert (row.entities[1].spans, reader.adjusted) == (((37, 44),), {TRUSTED: 1})


@pytest.mark.parametrize("missing", ["txt/0001.txt", "concept/0001.con"])
def test_a_missing_file_is_a_bad_row(missing: str, tmp_path: Path) -> None:
    files = note("0001")
    del files[f"train/{missing}"]
    rows, reader = read(tmp_path, files)
    assert rows == []
    assert len(reader.bad_rows) == (3 if missing.startswith("txt") else 1)


def test_notes_in_a_folder_of_notes_without_annotation_are_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, note("0001") | {"train/unannotated/9.txt": TEXT})
    assert ([row.id for row in rows], reader.bad_rows) == (["0001"], [])
    assert reader.left_out == Counter({"file in a folder unannotated": 1})


def test_windows_line_ends_change_no_offset(tmp_path: Path) -> None:
    files = {name: text.replace("\n", "\r\n") for name, text in note("0001").items()}
    assert read(tmp_path / "windows", files)[0] == read(tmp_path / "unix", note("0001"))[0]


def test_assertions_are_what_mention_classification_learns(tmp_path: Path, tokenizer: Any) -> None:
    """A concept without an assertion, such as a treatment, gives no target."""
    rows, _ = read(tmp_path, note("0001"))
    head = MentionClassification(("absent", "present"), heads.HIDDEN, attribute="assertion")
    examples = heads.encode(head, rows, tokenizer)
    assert [(one["entity"], one["label"]) for one in examples if one["label"] != IGNORE] == [("T1", 0)]
