from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers.brat import Brat, _read

TEXT = "Aspirin caused skin or eye rash.\n"
ANNOTATION = "T1\tDrug 0 7\tAspirin\nT2\tEffect 15 19;27 31\tskin rash\nR1\tcauses Arg1:T1 Arg2:T2\n"


Packer = Callable[[Path, dict[str, str | bytes]], None]


def folder_of(place: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def tar_of(place: Path, files: dict[str, str | bytes]) -> None:
    with tarfile.open(place.with_name(f"{place.name}.tar.gz"), "w:gz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def zip_of(place: Path, files: dict[str, str | bytes]) -> None:
    with zipfile.ZipFile(place.with_name(f"{place.name}.zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def read(folder: Path, annotation: str, text: str = TEXT, **options: Any) -> tuple[list[SpanRow], Brat]:
    """The rows of three texts, the middle one as given."""
    files: dict[str, str | bytes] = {f"{name}.txt": TEXT for name in ("1_1", "2_1")} | {"1_2.txt": text}
    files |= {f"{name}.ann": ANNOTATION for name in ("1_1", "2_1")} | {"1_2.ann": annotation}
    folder_of(folder / "train", files)
    reader = Brat(str(folder), on_bad_row="skip", **options)
    return list(reader.read("train")), reader


def test_a_text_is_a_row_with_its_mentions_and_relations(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, ANNOTATION)
    assert rows[1] == SpanRow(
        id="1_2",
        document="1_2",
        text=TEXT,
        entities=(Entity("T1", "Drug", ((0, 7),)), Entity("T2", "Effect", ((15, 19), (27, 31)))),
        relations=(Relation("T1", "T2", "causes"),),
    )
    assert (reader.bad_rows, reader.left_out) == ([], Counter())


@pytest.mark.parametrize("pack", [folder_of, tar_of, zip_of])
def test_folders_and_archives_give_the_same_rows_in_the_order_of_names(tmp_path: Path, pack: Packer) -> None:
    files: dict[str, str | bytes] = {
        "deep/b.ann": ANNOTATION,
        "deep/b.txt": TEXT,
        "deep/a.txt": TEXT,
        "deep/a.ann": "",
        "deep/._a.txt": b"\xff",
        "annotation.conf": b"\xff",
    }
    pack(tmp_path / "train", files)
    reader = Brat(str(tmp_path))
    rows = list(reader.read("train"))
    assert [(row.id, len(row.entities)) for row in rows] == [("a", 0), ("b", 2)]
    assert reader.bad_rows == []


def test_the_document_is_taken_from_the_file_name(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, ANNOTATION, document=r"^(\d+)_")
    assert [(row.id, row.document) for row in rows] == [("1_1", "1"), ("1_2", "1"), ("2_1", "2")]


@pytest.mark.parametrize("pattern", [r"^(\d+)_1", r"^\d_2|(\d)"])
def test_a_file_name_without_a_document_is_refused(tmp_path: Path, pattern: str) -> None:
    rows, reader = read(tmp_path, ANNOTATION, document=pattern)
    assert [row.id for row in rows] == ["1_1", "2_1"]
    assert f"A file name must match '{pattern}'; found '1_2'" in str(reader.bad_rows[0])


@pytest.mark.parametrize(("pattern", "found"), [("(", "regular expression"), (r"^\d+_", "must have a group")])
def test_a_pattern_that_gives_no_document_is_the_users_mistake(pattern: str, found: str) -> None:
    with pytest.raises(InputError, match=f"document: .*{found}"):
        Brat("anywhere", document=pattern)


def test_types_are_chosen_and_merged_and_the_rest_is_counted(tmp_path: Path) -> None:
    annotation = ANNOTATION + "T3\tDose 20 22\tor\nT4\tBrand 23 26\teye\nR2\thas Arg1:T1 Arg2:T3\n"
    rows, reader = read(tmp_path, annotation, types={"Drug": "Chemical", "Brand": "Chemical", "Effect": "Effect"})
    assert [entity.type for entity in rows[1].entities] == ["Chemical", "Effect", "Chemical"]
    assert rows[1].relations == (Relation("T1", "T2", "causes"),)
    assert dict(reader.left_out) == {"T Dose": 1, "R has": 1}


def test_lines_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    annotation = ANNOTATION + (
        "E1\tAdverse:T2 Cause:T1 \nE2\tAdverse:T2\nA1\tNegated E1\nM1\tSure T1\nN1\tReference T1 MeSH:D1\taspirin\n"
        "*\tEquiv T1 T2\n#1\tAnnotatorNotes T1\tlook\nR2\thas_cue Arg1:E1 Arg2:T1\n\n"
    )
    rows, reader = read(tmp_path, annotation)
    assert rows[1].relations == (Relation("T1", "T2", "causes"),)
    assert dict(reader.left_out) == {
        "E Adverse": 2,
        "A Negated": 1,
        "M Sure": 1,
        "N Reference": 1,
        "* Equiv": 1,
        "# AnnotatorNotes": 1,
        "R has_cue": 1,
    }


def test_parts_are_put_in_text_order_and_compared_in_their_own(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tEffect 27 31;15 19\trash skin\n")
    assert rows[1].entities == (Entity("T1", "Effect", ((15, 19), (27, 31))),)


def test_a_newline_in_a_mention_is_written_as_a_blank(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tEffect 0 9\tskin rash\n", text="skin\nrash")
    assert rows[1].entities[0].spans == ((0, 9),)


def test_the_line_ends_of_windows_in_annotations_change_nothing(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, ANNOTATION.replace("\n", "\r\n"))
    assert rows[1].entities == rows[0].entities
    assert rows[1].relations == rows[0].relations


def test_a_text_without_a_character_is_skipped_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "", text="\n")
    assert [row.id for row in rows] == ["1_1", "2_1"]
    assert (dict(reader.left_out), reader.bad_rows) == ({"empty text": 1}, [])


@pytest.mark.parametrize(
    ("annotation", "line", "rule"),
    [
        ("T1\tDrug 0 7\tIbuprofen\n", 1, "Offsets must match the mention; found 0 7, 9 characters"),
        ("\nT1\tDrug 0 6\tAspirin\n", 2, "Offsets must match the mention"),
        ("T1\tDrug 30 40\trash\n", 1, "Offsets must lie inside the text; found 30 40 of 33 characters"),
        ("T1\tDrug 7 7\t\n", 1, "Offsets must lie inside the text"),
        ("T1\tDrug 0-7\tAspirin\n", 1, "A mention must be id, 'type start end[;start end]' and text"),
        ("T1\tDrug 0 7\n", 1, "A mention must be id"),
        (ANNOTATION + "T1\tDrug 0 7\tAspirin\n", 4, "An id must be unique in its file; found 'T1' again"),
        (ANNOTATION + "R2\tcauses Arg1:T1 Arg2:T9\n", 4, "A relation must join ids of its file; found 'T9'"),
        (ANNOTATION + "R2\tcauses T1 T2\n", 4, "A relation must be id and 'type Arg1:id Arg2:id'"),
        (ANNOTATION + "Aspirin\n", 4, "A line must be T, R, E, A, M, N, * or # and a tab"),
        (ANNOTATION + "?1\tAspirin\n", 4, "A line must be T, R, E"),
    ],
)
def test_a_text_with_a_malformed_line_is_refused_whole_and_named_without_its_text(
    tmp_path: Path, annotation: str, line: int, rule: str
) -> None:
    rows, reader = read(tmp_path, annotation)
    assert [row.id for row in rows] == ["1_1", "2_1"]
    (bad,) = reader.bad_rows
    assert (Path(bad.file).name, bad.line) == ("1_2.ann", line)
    assert rule in str(bad)
    assert "spirin" not in str(bad)
    with pytest.raises(InputError, match="on_bad_row: skip"):
        list(Brat(str(tmp_path)).read("train"))


def test_half_a_pair_of_files_is_reported(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"a.txt": TEXT, "b.ann": ANNOTATION, "c.txt": TEXT, "c.ann": ANNOTATION})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in reader.read("train")] == ["c"]
    assert [Path(bad.file).name for bad in reader.bad_rows] == ["a.txt", "b.ann"]


def test_a_bad_byte_refuses_its_text(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"a.txt": b"\xff", "a.ann": "", "c.txt": TEXT, "c.ann": ANNOTATION})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in reader.read("train")] == ["c"]
    assert "a.txt: Text must be UTF-8; found byte 0xff at 0" in str(reader.bad_rows[0])


def test_one_name_in_two_folders_is_one_id_too_many(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {f"{part}/a.{suffix}": "" for part in "xy" for suffix in ("ann",)})
    folder_of(tmp_path / "train", {f"{part}/a.txt": TEXT for part in "xy"})
    with pytest.raises(InputError, match="An id must be unique in its split; found 'a' again"):
        list(Brat(str(tmp_path)).read("train"))


def test_a_file_that_stands_twice_in_an_archive_is_reported_and_the_first_is_taken(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as archive:
        for name, data in (("a.txt", b"One."), ("a.ann", b""), ("a.txt", b"Two.")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.text for row in reader.read("train")] == ["One."]
    assert "A file must stand once in an archive" in str(reader.bad_rows[0])


@pytest.mark.parametrize("name", ["train.tar.gz", "train.zip"])
@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_archive_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: It must be a folder, or a whole \.zip or \.tar\.gz"):
        list(Brat(str(tmp_path)).read("train"))


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: data[:400] + b"\0" * 40 + data[440:]])
@pytest.mark.parametrize(("pack", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_a_damaged_archive_is_named(
    tmp_path: Path, pack: Packer, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    pack(tmp_path / "train", {"a.txt": " ".join(map(str, range(999))), "a.ann": ""})
    path = tmp_path / f"train.{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="It must be a folder, or a whole"):
        list(Brat(str(tmp_path)).read("train"))


@given(st.data())
def test_whatever_is_marked_is_found_at_its_offsets(data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    offsets = ";".join(f"{start} {end}" for start, end in spans)
    mention = " ".join(text[start:end] for start, end in spans)
    (entity,) = _read(text, f"T1\tX {offsets}\t{mention}\n").entities
    assert entity == Entity("T1", "X", tuple(spans))


def test_phee_has_the_documented_counts(data_folder: Path) -> None:
    expected: dict[str, dict[str, int]] = {split: {} for split in ("train", "dev", "test")}
    with (data_folder / "counts.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            if record["dataset"] == "phee/brat":
                expected[record["split"]][record["unit"]] = int(record["count"])
    mentions = {"train": (1426, 3001, 2803), "dev": (506, 996, 919), "test": (462, 1010, 908)}
    for split, counts in expected.items():
        kept = ("Subject", "Treatment", "Effect")
        reader = Brat(str(data_folder / "phee" / "brat"), types={name: name for name in kept}, document=r"^(\d+)_")
        rows: list[SpanRow] = list(reader.read(split))
        found = {"sentences": len(rows), "abstracts (PMID)": len({row.document for row in rows})}
        events = {name.replace("E ", "events:"): n for name, n in reader.left_out.items() if name.startswith("E ")}
        assert found | events == counts
        types = Counter(entity.type for row in rows for entity in row.entities)
        assert tuple(types[name] for name in kept) == mentions[split]
        assert reader.bad_rows == []
