from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers._mentions import TRIMMED, TRUSTED
from mtl.readers.pubtator import Pubtator
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

HEAD = "7|t|Aspirin rash\n7|a|Low fever and rash.\n"
TEXT = "Aspirin rash Low fever and rash."
DOCUMENT = (
    HEAD
    + "7\t0\t7\tAspirin\tChemical\tD001241\n"
    + "7\t8\t12\trash\tDisease\tD005076\n"
    + "7\t13\t31\tLow fever and rash\tDisease\tD005334|D005076\tLow fever|rash\n"
    + "7\tCID\tD001241\tD005076\n"
)


SECRET = (
    "{0}|t|Zaphod 𝛼\n{0}|a|Aspirin rash.\n"
    "{0}\t9\t16\tAspirin\tChemical\tD1\n{0}\t17\t21\trash\tDisease\tD2\n{0}\tCID\tD1\tD2\n"
)
MENTION = "8\t17\t21\trash\tDisease\tD2\n"  # line 10 of the sample
MALFORMED = [
    (MENTION, "8\t17\t21\tRash\tDisease\tD2\n", 10),
    (MENTION, "8\t18\t22\trash\tDisease\tD2\n", 10),
    (MENTION, "8\t50\t54\trash\tDisease\tD2\n", 10),
    (MENTION, "8\t17\t21\trash\t\tD2\n", 10),
    (MENTION, "8\t16\t17\t \tDisease\tD2\n", 10),
    (MENTION, "8\t-17\t21\trash\tDisease\tD2\n", 10),
    (MENTION, MENTION + "8\tZaphod\n", 11),
    (MENTION, MENTION + "Zaphod\t9\t16\tAspirin\tChemical\tD1\n", 11),
    (MENTION, MENTION + "8\tCID\tD1\tD9\n", 11),
    (MENTION, MENTION + "8\tZaphod\tD8\tD9\n", 11),
    ("8|t|Zaphod 𝛼\n", "", 7),
    ("8|t|Zaphod", "18|t|Zaphod", 8),
    ("8|t|Zaphod 𝛼\n", "Zaphod\n", 7),
]
SAMPLE = Sample(
    Pubtator,
    files={"train.txt": "\n".join(SECRET.format(name) for name in (7, 8, 9))},
    rows=(("Aspirin", "rash"),) * 3,
    row_type=SpanRow,
    malformed=(
        *(Malformed("train.txt", *change) for change in MALFORMED),
        Malformed("train.txt", "9|t|", "7|a|Zaphod\n\n9|t|", 13, lost=0),
    ),
)


@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_gives_no_rows],
)
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def reader_of(folder: Path, content: str, **options: Any) -> Pubtator:
    (folder / "train.txt").write_text(content, encoding="utf-8")
    return Pubtator(str(folder), **options)


def read(reader: Pubtator, split: str = "train") -> list[SpanRow]:
    rows = []
    for row in reader.read(split):
        assert isinstance(row, SpanRow)
        rows.append(row)
    return rows


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


def test_documents_are_separated_by_any_number_of_blank_lines(tmp_path: Path) -> None:
    content = f"\n{SECRET.format(7)}\n\n\n{SECRET.format(8)}\n"
    assert [row.id for row in read(reader_of(tmp_path, content))] == ["7", "8"]


@pytest.mark.parametrize(
    ("cell", "concepts"),
    [
        ("\tD1", ("D1",)),
        ("\tD1+D2", ("D1", "D2")),
        ("\tD1|OMIM:2|D1", ("D1", "OMIM:2")),
        ("\tMESH:D1;MESH:D2", ("MESH:D1", "MESH:D2")),
        ("\tD1,D2", ("D1", "D2")),
        ("\t-1", ()),
        ("\t-1|D1", ("D1",)),
        ("\t-", ()),
        ("\t", ()),
        ("", ()),
    ],
)
def test_concept_ids_are_parted_at_each_separator(cell: str, concepts: tuple[str, ...], tmp_path: Path) -> None:
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
    assert reader.adjusted == {TRIMMED: 1}


def test_a_mention_without_blanks_is_not_counted_as_trimmed(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, DOCUMENT)
    read(reader)
    assert reader.adjusted == {}


@pytest.mark.parametrize(
    ("content", "line"),
    [(f"{HEAD}8|t|b\n8|a|c\n", 3), ("7|t|a\n", 1), ("7|a|b\n7|t|a\n", 1), ("7\t0\t1\ta\tX\tD1\n", 1)],
)
def test_lines_that_make_no_document_are_named(content: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(reader_of(tmp_path, content))
    assert [problem.key for problem in raised.value.problems] == [f"{tmp_path / 'train.txt'}:{line}"]


def test_a_document_that_ends_in_a_line_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(HEAD.encode() + b"7\t0\t7\tAspirin\tX\t\xff")
    reader = Pubtator(str(tmp_path), on_bad_row="skip")
    assert read(reader) == []  # without its last mention the row would teach that there is none
    assert [bad.line for bad in reader.bad_rows] == [3]


def test_a_document_with_a_malformed_mention_is_refused_whole_and_once(tmp_path: Path) -> None:
    wrong = "7\t0\t7\taspirin\tChemical\tD1\n"
    reader = reader_of(tmp_path, f"{DOCUMENT}{wrong}{wrong}\n8|t|a\n8|a|b\n", on_bad_row="skip")
    assert [row.id for row in read(reader)] == ["8"]
    assert [bad.line for bad in reader.bad_rows] == [7]
    assert reader.bad_rows[0].found.endswith("line 8)")


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
    assert reader.adjusted == {}


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
    assert reader.adjusted == {TRIMMED: 1}


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


# --- files as people have them ----------------------------------------------------------------------------------------

BIORED = (
    "9|t|Statins and the p.V158M variant.\n9|a|Risk of myopathy.\n"
    "9\t0\t7\tStatins\tChemical\tD019161,D008148\n"
    "9\t16\t23\tp.V158M\tVariant\tp|SUB|V|158|M;RS#:4680\n"
    "9\t41\t49\tmyopathy\tDisease\tD009135\n"
    "9\tPositive_Correlation\tD008148\tD009135\tNovel\n"
    "9\tAssociation\tp|SUB|V|158|M\tD009135\tNo\n"
)


def test_the_layout_of_biored_is_read(tmp_path: Path) -> None:
    (row,) = read(reader_of(tmp_path, BIORED))
    assert [entity.concepts for entity in row.entities] == [
        ("D019161", "D008148"),
        ("p|SUB|V|158|M", "RS#:4680"),
        ("D009135",),
    ]
    assert [relation.head for relation in row.relations] == ["D008148", "p|SUB|V|158|M"]
    assert row.meta == {
        "Positive_Correlation D008148 D009135": "Novel",
        "Association p|SUB|V|158|M D009135": "No",
    }


def test_ids_that_a_relation_names_as_a_whole_are_not_divided(tmp_path: Path) -> None:
    lines = "7\t0\t7\tAspirin\tDrug\tA|B\n7\t8\t12\trash\tSign\tC+D,E\n7\tcauses\tA|B\tE\n"
    (row,) = read(reader_of(tmp_path, HEAD + lines))
    assert [entity.concepts for entity in row.entities] == [("A|B",), ("C", "D", "E")]


def test_a_mention_of_five_columns_is_no_relation(tmp_path: Path) -> None:
    (row,) = read(reader_of(tmp_path, HEAD + "7\t0\t7\tAspirin\tDrug\n"))
    assert (len(row.entities), row.relations) == (1, ())


NORMALISED = "8|t|TNF-α and folic\u00a0acid\n8|a|Low Fever.\n"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("8\t0\t5\tTNF-a\tGene\t1", "offsets: trust"),
        ("8\t10\t20\tfolic acid\tDrug\t1", "offsets: trust"),
        ("8\t25\t30\tfever\tSign\t1", "offsets: trust"),
        ("8\t26\t31\tFever\tSign\t1", "count from 1 instead of 0"),
        ("8\t25\t29\tFever\tSign\t1", "last character instead of"),
        ("8\t26\t30\tFever\tSign\t1", "count from 1 and the end"),
        ("8\t24\t29\tFever\tSign\t1", "1 too small"),
        ("8\t27\t32\tFever\tSign\t1", "count bytes"),
        ("8\t28\t33\tFever\tSign\t1", "within"),
    ],
)
def test_the_reason_for_another_text_at_the_offsets_is_named(line: str, hint: str, tmp_path: Path) -> None:
    reader = reader_of(tmp_path, f"{NORMALISED}{line}\n", on_bad_row="skip")
    assert read(reader) == []
    (bad,) = reader.bad_rows
    assert hint in bad.rule
    assert all(word not in str(bad) for word in ("TNF", "folic", "ever"))


def test_offsets_can_be_trusted_and_the_mentions_are_counted(tmp_path: Path) -> None:
    lines = "8\t0\t5\tTNF-a\tGene\t1\n8\t25\t30\tFever\tSign\t1\n"
    reader = reader_of(tmp_path, NORMALISED + lines, offsets="trust")
    (row,) = read(reader)
    assert [row.text[slice(*entity.spans[0])] for entity in row.entities] == ["TNF-α", "Fever"]
    assert reader.adjusted == {TRUSTED: 1}
    with pytest.raises(InputError):
        read(reader_of(tmp_path, NORMALISED + "8\t90\t95\tTNF-a\tGene\t1\n", offsets="trust"))


def test_the_same_cause_in_many_documents_is_one_problem(tmp_path: Path) -> None:
    def document(number: int) -> str:
        start = number + 2
        return f"{number}|t|{'x' * number} Fever\n{number}|a|a\n{number}\t{start}\t{start + 5}\tFever\tSign\tD1\n\n"

    with pytest.raises(InputError) as raised:
        read(reader_of(tmp_path, "".join(document(number) for number in range(1, 67))))
    (problem,) = raised.value.problems
    assert problem.key.endswith("train.txt:3")
    assert "66" in problem.message
    assert "count from 1" in problem.message
