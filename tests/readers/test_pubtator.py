from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers.pubtator import Pubtator

HEAD = "7|t|Aspirin rash\n7|a|Low fever and rash.\n"
TEXT = "Aspirin rash Low fever and rash."
DOCUMENT = (
    HEAD
    + "7\t0\t7\tAspirin\tChemical\tD001241\n"
    + "7\t8\t12\trash\tDisease\tD005076\n"
    + "7\t13\t31\tLow fever and rash\tDisease\tD005334|D005076\tLow fever|rash\n"
    + "7\tCID\tD001241\tD005076\n"
)


def reader_of(folder: Path, content: str, **options: Any) -> Pubtator:
    (folder / "train.txt").write_text(content, encoding="utf-8")
    return Pubtator(str(folder), **options)


def read(reader: Pubtator, split: str = "train") -> list[SpanRow]:
    rows = []
    for row in reader.read(split):
        assert isinstance(row, SpanRow)
        rows.append(row)
    return rows


def problem(folder: Path, content: str) -> str:
    """The only problem of a file."""
    with pytest.raises(InputError) as raised:
        read(reader_of(folder, content))
    (found,) = raised.value.problems
    return f"{Path(found.key).name}: {found.message}"


def test_a_document_becomes_title_space_abstract_with_mentions_and_relations(tmp_path: Path) -> None:
    assert read(reader_of(tmp_path, DOCUMENT)) == [
        SpanRow(
            "7",
            "7",
            TEXT,
            entities=(
                Entity("T1", "Chemical", ((0, 7),), ("D001241",)),
                Entity("T2", "Disease", ((8, 12),), ("D005076",)),
                Entity("T3", "Disease", ((13, 31),), ("D005334", "D005076")),
            ),
            relations=(Relation("D001241", "D005076", "CID"),),
        )
    ]


def test_documents_are_parted_by_blank_lines_and_crlf_changes_nothing(tmp_path: Path) -> None:
    content = (
        f"\n{DOCUMENT}\n\n{DOCUMENT.replace('7|', '8|').replace(chr(10) + '7' + chr(9), chr(10) + '8' + chr(9))}\n"
    )
    rows = read(reader_of(tmp_path, content))
    assert [row.id for row in rows] == ["7", "8"]
    assert read(reader_of(tmp_path, content.replace("\n", "\r\n"))) == rows


@pytest.mark.parametrize(
    ("cell", "concepts"),
    [
        ("\tD1", ("D1",)),
        ("\tD1+D2", ("D1", "D2")),
        ("\tD1|OMIM:2|D1", ("D1", "OMIM:2")),
        ("\t-1", ()),
        ("\t-1|D1", ("D1",)),
        ("\t-", ()),
        ("\t", ()),
        ("", ()),
    ],
)
def test_concept_ids_are_parted_at_bars_and_pluses(cell: str, concepts: tuple[str, ...], tmp_path: Path) -> None:
    (row,) = read(reader_of(tmp_path, f"{HEAD}7\t0\t7\tAspirin\tChemical{cell}\n"))
    assert row.entities == (Entity("T1", "Chemical", ((0, 7),), concepts),)


def test_types_are_chosen_and_merged_and_the_others_counted(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, DOCUMENT, types={"Disease": "Finding"})
    (row,) = read(reader)
    assert [(entity.id, entity.type) for entity in row.entities] == [("T2", "Finding"), ("T3", "Finding")]
    assert row.relations == ()
    assert reader.left_out == {"Chemical": 1, "CID": 1}
    assert reader.bad_rows == []


def test_relation_types_are_chosen_and_renamed(tmp_path: Path) -> None:
    (row,) = read(reader_of(tmp_path, DOCUMENT, relations={"CID": "induces"}))
    assert row.relations == (Relation("D001241", "D005076", "induces"),)
    none = reader_of(tmp_path, DOCUMENT, relations={"PART_OF": "part of"})
    assert read(none)[0].relations == ()
    assert none.left_out == {"CID": 1}


@pytest.mark.parametrize(
    ("line", "span"),
    [
        ("7\t8\t13\trash \tDisease\tD1", (8, 12)),
        ("7\t8\t13\trash  \tDisease\tD1", (8, 12)),
        ("7\t7\t13\trash\tDisease\tD1", (8, 12)),
        ("7\t27\t34\trash.  \tDisease\tD1", (27, 32)),
    ],
)
def test_blanks_at_the_ends_of_a_mention_are_left_outside_and_counted(
    line: str, span: tuple[int, int], tmp_path: Path
) -> None:
    reader = reader_of(tmp_path, f"{HEAD}{line}\n")
    (row,) = read(reader)
    assert row.entities[0].spans == (span,)
    assert reader.trimmed == 1


def test_a_mention_without_blanks_is_not_counted_as_trimmed(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, DOCUMENT)
    read(reader)
    assert reader.trimmed == 0


OFFSETS = "A mention must have a type and be the text at its offsets; found "
START = "A document must start with the lines id|t|title and id|a|abstract; found another line."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEAD}7\t8\t12\tRash\tDisease\tD1\n", f"3: {OFFSETS}8-12 of 32 against 4 characters."),
        (f"{HEAD}7\t9\t13\trash\tDisease\tD1\n", f"3: {OFFSETS}9-13 of 32 against 4 characters."),
        (f"{HEAD}7\t50\t54\trash\tDisease\tD1\n", f"3: {OFFSETS}50-54 of 32 against 4 characters."),
        (f"{HEAD}7\t8\t12\trash\t\tD1\n", f"3: {OFFSETS}8-12 of 32 against 4 characters."),
        (f"{HEAD}7\t12\t13\t \tDisease\tD1\n", f"3: {OFFSETS}12-13 of 32 against 1 characters."),
        (f"{HEAD}7\t-8\t12\trash\tDisease\tD1\n", "3: start and end must be whole numbers; found 2 and 2 characters."),
        (f"{HEAD}7\tx\n", "3: A mention must have 5 to 7 columns, a relation 4; found 2."),
        (
            f"{HEAD}8\t8\t12\trash\tDisease\tD1\n",
            "3: A line must start with the id of its title; found 1 other characters.",
        ),
        (
            f"{DOCUMENT}7\tCID\tD001241\tD9\n",
            "7: A relation must have a type and two concepts of its document; found 1 of them there.",
        ),
        (f"{HEAD}8|t|b\n8|a|c\n", "3: A blank line must stand between documents; found a title or an abstract"),
        ("7|t|a\n8|a|b\n", "2: Title and abstract must have the same id; found '7' and '8'."),
        ("7|t|a\n", "1: A document must have the lines id|t|title and id|a|abstract; found one line."),
        ("7|a|b\n7|t|a\n", f"1: {START}"),
        ("7\t0\t1\ta\tX\tD1\n", f"1: {START}"),
    ],
)
def test_a_malformed_line_is_named_with_its_rule(content: str, message: str, tmp_path: Path) -> None:
    assert problem(tmp_path, content).startswith(f"train.txt:{message}")


def test_no_message_holds_text_of_the_row(tmp_path: Path) -> None:
    lines = ["7\t0\t6\tZaphod\tX\tD1", "7\t0\t6\tZaphod", "Zaphod\t1\t2\tx\ty", "7\tZaphod", "7\tZaphod\t1\tx\ty\tz"]
    found = [problem(tmp_path, f"{HEAD}{line}\n") for line in lines] + [problem(tmp_path, "Zaphod\n")]
    assert len(found) == 6
    assert not any("Zaphod" in message for message in found)


def test_a_document_with_a_malformed_mention_is_refused_whole_and_once(tmp_path: Path) -> None:
    wrong = "7\t0\t7\taspirin\tChemical\tD1\n"
    reader = reader_of(tmp_path, f"{DOCUMENT}{wrong}{wrong}\n8|t|a\n8|a|b\n", on_bad_row="skip")
    assert [row.id for row in read(reader)] == ["8"]
    assert [bad.line for bad in reader.bad_rows] == [7]
    assert reader.bad_rows[0].found.endswith("; more in the same row at line 8")


def test_a_line_that_is_not_utf8_takes_its_document_along(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(HEAD.encode() + b"7\t0\t1\t\xff\tX\tD1\n\n8|t|a\n8|a|b\n")
    reader = Pubtator(str(tmp_path), on_bad_row="skip")
    assert [row.id for row in read(reader)] == ["8"]
    assert [bad.line for bad in reader.bad_rows] == [3]


# --- public data ----------------------------------------------------------------------------------------------------

CDR = {
    split: f"CDR_{name}Set.PubTator.txt"
    for split, name in (("train", "Training"), ("dev", "Development"), ("test", "Test"))
}
NCBI = {
    split: f"NCBI{name}set_corpus.txt" for split, name in (("train", "train"), ("dev", "develop"), ("test", "test"))
}
MERGED = dict.fromkeys(("SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"), "Disease")


def documented(folder: Path, dataset: str) -> dict[tuple[str, str], int]:
    with (folder / "counts.csv").open(encoding="utf-8") as file:
        return {
            (row["split"], row["unit"]): int(row["count"]) for row in csv.DictReader(file) if row["dataset"] == dataset
        }


def counted(reader: Pubtator) -> Counter[tuple[str, str]]:
    """Counts in the words of the data's own table."""
    counts: Counter[tuple[str, str]] = Counter()
    for split in reader.sources():
        for row in read(reader, split):
            counts[split, "documents (unique PMID)"] += 1
            counts[split, "mentions"] += len(row.entities)
            for entity in row.entities:
                counts[split, f"mentions:{entity.type}"] += 1
            for relation in row.relations:
                counts[split, f"relations:{relation.type}"] += 1
    return counts


def test_bc5cdr_gives_the_documented_counts(data_folder: Path) -> None:
    reader = Pubtator(str(data_folder / "bc5cdr_pubtator"), files=CDR)
    expected = {k: v for k, v in documented(data_folder, "bc5cdr_pubtator").items() if k[1] != "document blocks"}
    assert len(expected) == 15
    assert counted(reader) == expected
    assert reader.trimmed == 0


def test_ncbi_stops_at_the_document_that_is_there_twice(data_folder: Path) -> None:
    reader = Pubtator(str(data_folder / "ncbi_disease" / "pubtator"), files=NCBI)
    with pytest.raises(InputError, match="'8528200' again") as raised:
        read(reader)
    assert len(raised.value.problems) == 1


def test_ncbi_gives_the_documented_counts_less_the_document_that_is_there_twice(data_folder: Path) -> None:
    reader = Pubtator(str(data_folder / "ncbi_disease" / "pubtator"), files=NCBI, on_bad_row="skip")
    counts = counted(reader)
    expected = {k: v for k, v in documented(data_folder, "ncbi_disease/pubtator").items() if k[1] != "document blocks"}
    # The documented mentions count both blocks of 8528200, which has ten SpecificDisease and one Modifier.
    again = {"mentions": 11, "mentions:SpecificDisease": 10, "mentions:Modifier": 1}
    expected |= {("train", unit): expected["train", unit] - number for unit, number in again.items()}
    assert counts == expected
    assert len(reader.bad_rows) == 1
    assert reader.trimmed == 1


def test_ncbis_four_types_merged_give_the_mentions_of_its_conll_form(data_folder: Path) -> None:
    folder = str(data_folder / "ncbi_disease" / "pubtator")
    counts = counted(Pubtator(folder, files=NCBI, types=MERGED, on_bad_row="skip"))
    conll = documented(data_folder, "ncbi_disease")
    assert [counts[split, "mentions:Disease"] for split in NCBI] == [conll[split, "mentions"] for split in NCBI]


def test_the_mention_of_ncbi_with_blanks_at_its_end_is_the_text_at_its_offsets(data_folder: Path) -> None:
    reader = Pubtator(str(data_folder / "ncbi_disease" / "pubtator"), files=NCBI, on_bad_row="skip")
    (row,) = [row for row in read(reader) if row.id == "10923035"]
    assert ((711, 761),) in [entity.spans for entity in row.entities]
    assert row.text[710] == row.text[761] == " "
    assert row.text[760] == '"'
