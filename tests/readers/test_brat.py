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
from hypothesis import assume, given
from hypothesis import strategies as st

from heads.rows import Entity, Relation, SpanRow
from mtl import hashed_ids
from mtl.problems import InputError
from mtl.readers._mentions import TRIMMED, TRUSTED
from mtl.readers._parts import KEPT, OVERLAPPING
from mtl.readers.brat import DIVIDED, Brat, _read
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

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


SECRET = f"{has.SECRET} 𝛼: Aspirin caused skin or eye rash.\n"
FIRST, SECOND, THIRD = (
    "T1\tDrug 10 17\tAspirin\n",
    "T2\tEffect 25 29;37 41\tskin rash\n",
    "R1\tcauses Arg1:T1 Arg2:T2\n",
)
ANN = FIRST + SECOND + THIRD
MALFORMED = [
    (FIRST, "T1\tDrug 10 17\tIbuprofen\n", 1),
    (FIRST, "\nT1\tDrug 10 16\tAspirin\n", 2),
    (FIRST, "T1\tDrug 39 60\trash\n", 1),
    (FIRST, "T1\tDrug 17 17\t\n", 1),
    (FIRST, "T1\tDrug 10-17\tAspirin\n", 1),
    (FIRST, "T1\tDrug 10 17\n", 1),
    (THIRD, THIRD + FIRST, 4),
    (THIRD, THIRD + "R2\tcauses Arg1:T1 Arg2:T9\n", 4),
    (THIRD, THIRD + "R2\tcauses T1 T2\n", 4),
    (THIRD, THIRD + "R2\n", 4),
    (THIRD, THIRD + "A1\tNegation T9\n", 4),
    (THIRD, THIRD + "Aspirin\n", 4),
    (THIRD, THIRD + "?1\tAspirin\n", 4),
]


def sample(pack: Packer) -> Sample:
    """Three texts with the same mentions; an archive or a folder holds the split."""
    return Sample(
        Brat,
        files={f"{name}.{suffix}": text for name in "abc" for suffix, text in (("txt", SECRET), ("ann", ANN))},
        rows=(("Aspirin", "skin rash"),) * 3,
        row_type=SpanRow,
        malformed=tuple(Malformed("b.ann", *change) for change in MALFORMED),
        verbatim=frozenset(f"{name}.txt" for name in "abc"),
        pack=lambda folder, files: pack(folder / "train", dict(files)),
    )


SAMPLES = {"folder": sample(folder_of), "tar": sample(tar_of), "zip": sample(zip_of)}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_empty_archive_is_an_error(kind: str, tmp_path: Path) -> None:
    has.assert_an_empty_file_is_an_error(SAMPLES[kind], tmp_path)


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
    assert [Path(bad.file).name for bad in reader.bad_rows] == ["1_2.ann"]


@pytest.mark.parametrize("pattern", ["(", r"^\d+_"])
def test_a_pattern_that_gives_no_document_is_the_users_mistake(pattern: str) -> None:
    with pytest.raises(InputError) as raised:
        Brat("anywhere", document=pattern)
    assert [problem.key for problem in raised.value.problems] == ["document"]


def test_types_are_chosen_and_merged_and_the_rest_is_counted(tmp_path: Path) -> None:
    annotation = ANNOTATION + "T3\tDose 20 22\tor\nT4\tBrand 23 26\teye\nR2\thas Arg1:T1 Arg2:T3\n"
    rows, reader = read(tmp_path, annotation, types={"Drug": "Chemical", "Brand": "Chemical", "Effect": "Effect"})
    assert [entity.type for entity in rows[1].entities] == ["Chemical", "Effect", "Chemical"]
    assert rows[1].relations == (Relation("T1", "T2", "causes"),)
    assert dict(reader.left_out) == {"T Dose": 1, "R has": 1}


def test_lines_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    annotation = ANNOTATION + (
        "E1\tAdverse:T2 Cause:T1 \nE2\tAdverse:T2\nA1\tNegated R1\nM1\tSure\nN1\tReference T1 MeSH:D1\taspirin\n"
        "*\tEquiv T1 T2\n#1\tAnnotatorNotes T1\tlook\nR2\thas_cue Arg1:E1 Arg2:T1\n\n"
    )
    rows, reader = read(tmp_path, annotation)
    assert rows[1].relations == (Relation("T1", "T2", "causes"),)
    assert dict(reader.left_out) == {
        "E Adverse": 2,
        "A Negated": 1,
        "M of another form": 1,
        "N Reference": 1,
        "* Equiv": 1,
        "# AnnotatorNotes": 1,
        "R has_cue": 1,
    }


@pytest.mark.parametrize(
    ("lines", "attributes"),
    [
        ("A1\tNegation T1\n", {"Negation": "true"}),
        ("A1\tSeverity T1 mild \nA2\tNegation T1 \n", {"Severity": "mild", "Negation": "true"}),
        ("M1\tSpeculation E1\nE1\tTaking:T1 Cause:T2\n", {"Speculation": "true"}),
        ("E1\tTaking:T1\nE2\tTaking:T1\nA1\tNegated E1\nA2\tNegated E2\n", {"Negated": "true"}),
    ],
)
def test_attributes_belong_to_their_mention_or_to_the_trigger_of_their_event(
    tmp_path: Path, lines: str, attributes: dict[str, str]
) -> None:
    rows, reader = read(tmp_path, ANNOTATION + lines)
    assert [entity.attributes for entity in rows[1].entities] == [attributes, {}]
    assert not any(kind.startswith(("A", "M")) for kind in reader.left_out)


@pytest.mark.parametrize(
    ("lines", "line"),
    [("A1\tNegation T9\n", 4), ("A1\tSeverity T1 mild\nA2\tSeverity T1 severe\n", 5), ("E1\tx\nA1\tNegated E1\n", 5)],
)
def test_an_attribute_of_nothing_or_with_two_values_is_a_bad_row(tmp_path: Path, lines: str, line: int) -> None:
    rows, reader = read(tmp_path, ANNOTATION + lines)
    assert [row.id for row in rows] == ["1_1", "2_1"]
    assert [bad.line for bad in reader.bad_rows] == [line]


def test_attributes_of_mentions_that_are_left_out_are_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, ANNOTATION + "A1\tSeverity T2 mild\n", types={"Drug": "Drug"})
    assert [entity.attributes for entity in rows[1].entities] == [{}]
    assert reader.left_out["A Severity"] == 1


def test_parts_with_only_a_line_break_between_them_are_one_part(tmp_path: Path) -> None:
    """As n2c2 2018 has them: brat divides a mention that goes over a line break."""
    rows, reader = read(tmp_path, "T1\tReason 0 4;5 9;14 18\tskin rash pain\n", text="skin\nrash and pain")
    assert rows[1].entities[0].spans == ((0, 9), (14, 18))
    assert reader.adjusted == {DIVIDED: 1}


def test_parts_are_put_in_text_order_and_compared_in_their_own(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tEffect 27 31;15 19\trash skin\n")
    assert rows[1].entities == (Entity("T1", "Effect", ((15, 19), (27, 31))),)


def test_a_newline_in_a_mention_is_written_as_a_blank(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tEffect 0 9\tskin rash\n", text="skin\nrash")
    assert rows[1].entities[0].spans == ((0, 9),)


def test_a_text_without_a_character_is_skipped_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "", text="\n")
    assert [row.id for row in rows] == ["1_1", "2_1"]
    assert (dict(reader.left_out), reader.bad_rows) == ({"empty text": 1}, [])


def test_half_a_pair_of_files_is_reported(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"a.txt": TEXT, "b.ann": ANNOTATION, "c.txt": TEXT, "c.ann": ANNOTATION})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in reader.read("train")] == ["c"]
    assert [Path(bad.file).name for bad in reader.bad_rows] == ["a.txt", "b.ann"]


def test_a_byte_order_mark_is_no_part_of_the_text_that_offsets_count(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tDrug 0 7\tAspirin\n", text="\ufeffAspirin helps.")
    assert (rows[1].text, rows[1].entities[0].spans) == ("Aspirin helps.", ((0, 7),))


def test_a_carriage_return_counts_in_offsets(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "T1\tEffect 6 10\trash\n", text="Skin\r\nrash")
    assert rows[1].entities[0].spans == ((6, 10),)


def test_one_name_in_two_folders_is_one_id_too_many(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {f"{part}/a.{suffix}": "" for part in "xy" for suffix in ("ann",)})
    folder_of(tmp_path / "train", {f"{part}/a.txt": TEXT for part in "xy"})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in reader.read("train")] == ["a"]
    assert [Path(bad.file).name for bad in reader.bad_rows] == ["train"]


def test_a_file_that_stands_twice_in_an_archive_is_reported_and_the_first_is_taken(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as archive:
        for name, data in (("a.txt", b"One."), ("a.ann", b""), ("a.txt", b"Two.")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert [row.text for row in reader.read("train")] == ["One."]
    assert [Path(bad.file).name for bad in reader.bad_rows] == ["a.txt"]


@pytest.mark.parametrize("name", ["train.tar.gz", "train.zip"])
def test_what_is_no_archive_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    assert problem_keys(tmp_path) == [str(tmp_path / name)]


def problem_keys(folder: Path) -> list[str]:
    with pytest.raises(InputError) as raised:
        list(Brat(str(folder)).read("train"))
    return [problem.key for problem in raised.value.problems]


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: data[:400] + b"\0" * 40 + data[440:]])
@pytest.mark.parametrize(("pack", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_a_damaged_archive_is_named(
    tmp_path: Path, pack: Packer, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    pack(tmp_path / "train", {"a.txt": " ".join(map(str, range(999))), "a.ann": ""})
    path = tmp_path / f"train.{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    assert problem_keys(tmp_path) == [str(path)]


@given(st.data())
def test_whatever_is_marked_is_found_at_its_offsets(data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    offsets = ";".join(f"{start} {end}" for start, end in spans)
    mention = " ".join(text[start:end] for start, end in spans)
    parts = [text[start:end] for start, end in spans]
    trimmed = [
        (start + len(part) - len(part.lstrip()), start + len(part.rstrip()))
        for (start, _), part in zip(spans, parts, strict=True)
        if part.strip()
    ]
    assume(trimmed)
    found = _read(text, f"T1\tX {offsets}\t{mention}\n")
    assert found.entities == [Entity("T1", "X", tuple(trimmed))]
    assert found.adjusted == ({TRIMMED: 1} if trimmed != spans else {})


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


def test_phees_attributes_are_those_of_its_events(data_folder: Path) -> None:
    """337, 327 and 68 attribute lines; four of them repeat one on an event with the same trigger."""
    reader = Brat(str(data_folder / "phee" / "brat"))
    found = Counter(
        name
        for split in ("train", "dev", "test")
        for row in reader.read(split)
        for entity in row.entities  # type: ignore[union-attr]
        for name in entity.attributes
    )
    assert found.total() == 337 + 327 + 68 - 4
    assert found["Negated"] == 68
    assert (reader.noted[KEPT], reader.noted[OVERLAPPING]) == (620, 18781)


# --- n2c2 2018, whose layout is brat's --------------------------------------------------------------------------------

# Invented text in the layout of n2c2 2018 track 2 (Henry et al. 2020): files `ID.txt` and `ID.ann` of a split in one
# folder, drugs with their attributes as relations, and mentions over line breaks in parts, as public parsers of
# `training_20180910` read it.
N2C2_TEXT = "Started on aspirin 81 mg daily\nfor chest\npain. No rash.\n"
N2C2_ANN = (
    "T1\tDrug 11 18\taspirin\nT2\tStrength 19 24\t81 mg\nT3\tFrequency 25 30\tdaily\n"
    "T4\tReason 35 40;41 45\tchest pain\nR1\tStrength-Drug Arg1:T2 Arg2:T1\nR2\tFrequency-Drug Arg1:T3 Arg2:T1\n"
    "R3\tReason-Drug Arg1:T4 Arg2:T1\n"
)


def test_n2c2_2018_is_read_as_brat(tmp_path: Path) -> None:
    folder_of(tmp_path / "training_20180910", {"100035.txt": N2C2_TEXT, "100035.ann": N2C2_ANN})
    reader = Brat(str(tmp_path), files={"train": "training_20180910"})
    (row,) = reader.read("train")
    assert marked(row) == ["aspirin", "81 mg", "daily", "chest\npain"]
    assert [(relation.head, relation.tail, relation.type) for relation in row.relations] == [  # type: ignore[union-attr]
        ("T2", "T1", "Strength-Drug"),
        ("T3", "T1", "Frequency-Drug"),
        ("T4", "T1", "Reason-Drug"),
    ]
    assert (reader.adjusted, reader.noted, reader.left_out) == ({DIVIDED: 1}, {}, {})


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("#1\tAnnotatorNotes T1\tfever", "# AnnotatorNotes"),
        ("E1\tCause:T1 Theme:T2", "E Cause"),
        ("A1\tNegated R1", "A Negated"),
        ("N1\tReference T1 UMLS:C01\tfever", "N Reference"),
        ("*\tEquiv T1 T2", "* Equiv"),
        ("#1\tFever was high", "# of another form"),
        ("#1\tSmith T4 was high", "# of another form"),
        ("#1\tVitamin B12", "# of another form"),
        ("#\tFever", "# of another form"),
        ("A1\tFever", "A of another form"),
    ],
)
def test_lines_that_are_not_read_are_counted_by_their_kind_and_show_no_text(
    line: str, kind: str, tmp_path: Path
) -> None:
    folder_of(tmp_path / "train", {"1.txt": SECRET, "1.ann": f"{ANN}{line}\n"})
    reader = Brat(str(tmp_path))
    assert len(list(reader.read("train"))) == 1
    assert dict(reader.left_out) == {kind: 1}


def test_a_file_name_is_hashed_like_the_id_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", b"key")
    folder_of(tmp_path / "train", {"smith-1.txt": SECRET, "smith-1.ann": "T1\n"})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert list(reader.read("train")) == []
    (bad,) = reader.bad_rows
    assert bad.file == str(tmp_path / "train" / f"{hashed_ids.hashed('smith-1', b'key')}.ann")


def test_a_line_of_colons_is_quick(tmp_path: Path) -> None:
    """With a pattern that tries every colon, this line would take hours."""
    folder_of(tmp_path / "train", {"a.txt": "a\n", "a.ann": f"R1\ta {':' * 20_000} {':' * 20_000} x\n"})
    reader = Brat(str(tmp_path), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert [bad.line for bad in reader.bad_rows] == [1]


def test_a_file_that_cannot_be_read_is_named_by_its_hashed_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", b"key")
    monkeypatch.setenv("MTL_READ_LIMIT_MB", "1")
    reader = Brat(str(tmp_path))
    folder_of(tmp_path / "train", {"smith-1.txt": " " * (2 << 20)})
    with pytest.raises(InputError) as raised:
        reader.content(tmp_path / "train" / "smith-2.txt")
    with pytest.raises(InputError) as too_large:
        reader.content(tmp_path / "train" / "smith-1.txt")
    keys = [raised.value.problems[0].key, too_large.value.problems[0].key]
    names = [hashed_ids.hashed(f"smith-{number}", b"key") for number in (2, 1)]
    assert keys == [str(tmp_path / "train" / f"{name}.txt") for name in names]


# --- files as people have them ----------------------------------------------------------------------------------------


def brat_of(place: Path, text: bytes, annotation: str, **options: Any) -> Brat:
    folder_of(place / "train", {"a.txt": text, "a.ann": annotation})
    return Brat(str(place), **options)


def marked(row: Any) -> list[str]:
    return [" ".join(row.text[start:end] for start, end in entity.spans) for entity in row.entities]


@pytest.mark.parametrize("counted", [True, False])
def test_offsets_may_count_carriage_returns_or_not(counted: bool, tmp_path: Path) -> None:
    start = 27 if counted else 26
    annotation = f"T1\tDrug 10 17\taspirin\nT2\tSign {start} {start + 4}\trash\n"
    reader = brat_of(tmp_path, b"John took aspirin.\r\nHe had rash.\r\n", annotation)
    (row,) = reader.read("train")
    assert marked(row) == ["aspirin", "rash"]
    assert list(reader.adjusted.values()) == [1] * (not counted)


@pytest.mark.parametrize(
    ("text", "start", "units"),
    [
        ("ä: ö, fever", 8, {"bytes"}),
        ("\U0001f600\U0001f600: fever", 6, {"UTF-16"}),
        ("a\nb\nc: fever", 9, {"line breaks"}),
        ("ä: fever", 4, {"bytes", "from 1"}),  # both explain it
        ("\U0001f600: fever", 4, {"UTF-16", "from 1"}),
        ("\nä: fever", 5, {"bytes", "line breaks", "from 1"}),
    ],
)
def test_offsets_that_count_something_else_are_named(text: str, start: int, units: set[str], tmp_path: Path) -> None:
    annotation = f"T1\tSign {start} {start + 5}\tfever\n"
    with pytest.raises(InputError) as raised:
        list(brat_of(tmp_path, text.encode(), annotation).read("train"))
    (problem,) = raised.value.problems
    assert {unit for unit in ("bytes", "UTF-16", "line breaks", "from 1") if unit in problem.message} == units


@pytest.mark.parametrize("counted", [True, False])
def test_offsets_may_count_a_byte_order_mark_or_not(counted: bool, tmp_path: Path) -> None:
    annotation = f"T1\tDrug {int(counted)} {7 + counted}\taspirin\n"
    reader = brat_of(tmp_path, b"\xef\xbb\xbfaspirin given", annotation)
    (row,) = reader.read("train")
    assert (row.text, marked(row)) == ("aspirin given", ["aspirin"])
    assert list(reader.adjusted.values()) == [1] * counted


def test_a_mention_that_ends_in_a_blank_is_trimmed_and_counted(tmp_path: Path) -> None:
    reader = brat_of(tmp_path, b"aspirin given", "T1\tDrug 0 8\taspirin \n")
    (row,) = reader.read("train")
    assert (marked(row), reader.adjusted) == (["aspirin"], {TRIMMED: 1})


def test_offsets_can_be_trusted(tmp_path: Path) -> None:
    text = "TNF-α rises".encode()
    reader = brat_of(tmp_path, text, "T1\tGene 0 5\tTNF-a\n", offsets="trust")
    (row,) = reader.read("train")
    assert (marked(row), reader.adjusted) == (["TNF-α"], {TRUSTED: 1})
    with pytest.raises(InputError) as raised:
        list(brat_of(tmp_path, text, "T1\tGene 0 5\tTNF-a\n").read("train"))
    assert "offsets: trust" in raised.value.problems[0].message


def test_the_same_cause_in_many_files_is_one_problem(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(66)]
    files: dict[str, str | bytes] = {f"{name}.txt": f"{'x' * int(name)} Fever" for name in names}
    files |= {f"{name}.ann": f"T1\tSign {int(name) + 2} {int(name) + 7}\tFever\n" for name in names}
    folder_of(tmp_path / "train", files)
    (problem,) = [p for p in _problems(tmp_path) if "count from 1" in p.message]
    assert "66 files" in problem.message


def _problems(place: Path) -> Any:
    with pytest.raises(InputError) as raised:
        list(Brat(str(place)).read("train"))
    return raised.value.problems
