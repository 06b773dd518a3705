"""The layout is that of BioCreative VI as public parsers read it; the abstracts are invented."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow, TextRow
from mtl.readers._parts import OVERLAPPING
from mtl.readers.chemprot import ChemProt
from mtl.readers.jsonl import Jsonl
from mtl.readers.table import Table
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def table(*lines: str) -> str:
    return "".join(line.replace(" | ", "\t") + "\n" for line in lines)


FILES = {
    "chemprot_training_abstracts.tsv": table(
        "7 | Zaphod 𝛼 zinc. | It blocks ACE.", "8 | On Zaphod. | Nothing.", "9 | Zaphod | Zinc"
    ),
    "chemprot_training_entities.tsv": table(
        "7 | T1 | CHEMICAL | 9 | 13 | zinc",
        "7 | T2 | GENE-Y | 25 | 28 | ACE",
        "7 | T3 | GENE-N | 18 | 28 | blocks ACE",
        "9 | T1 | CHEMICAL | 7 | 11 | Zinc",
    ),
    "chemprot_training_relations.tsv": table(
        "7 | CPR:4 | Y  | INHIBITOR | Arg1:T1 | Arg2:T2",
        "7 | CPR:1 | N | PART-OF | Arg1:T1 | Arg2:T3",
    ),
    "chemprot_training_gold_standard.tsv": table("7 | CPR:4 | Arg1:T1 | Arg2:T2"),
}
ABSTRACTS, ENTITIES, RELATIONS, GOLD = FILES


def change(file: str, old: str, new: str, line: int) -> Malformed:
    return Malformed(file, old.replace(" | ", "\t"), new.replace(" | ", "\t"), line)


def sample(relations: str, file: str, *malformed: Malformed, **fields: Any) -> Sample:
    """The documents with one of the two tables of relations."""
    return Sample(
        ChemProt,
        files={name: FILES[name] for name in (ABSTRACTS, ENTITIES, file)},
        rows=(("zinc", "ACE", "blocks ACE"), (), ("Zinc",)),
        row_type=SpanRow,
        options={"relations": relations},
        malformed=malformed,
        **{"pack": lambda folder, files: has.write_files(folder / "chemprot_training", files)} | fields,
    )


SAMPLES = {
    "gold_standard": sample(
        "gold_standard",
        GOLD,
        change(ABSTRACTS, "8 | On", "8 On", 2),
        change(ENTITIES, "9 | 13", "10 | 14", 1),
        change(ENTITIES, "25 | 28", "25 | x", 2),
        change(ENTITIES, "25 | 28", "25 | 99", 2),
        change(ENTITIES, "T2 | GENE-Y", "T1 | GENE-Y", 2),
        change(ENTITIES, "T2 | GENE-Y", "T2 | ", 2),
        change(ENTITIES, "9 | 13 | zinc", "9 | 13", 1),
        change(GOLD, "Arg2:T2", "Arg2:T9", 1),
        change(GOLD, "Arg2:T2", "T2", 1),
        change(GOLD, "CPR:4", "", 1),
    ),
    "names": sample("names", RELATIONS, change(RELATIONS, "PART-OF", "", 2), change(RELATIONS, "T3", "T8", 2)),
}
ARCHIVE = sample("gold_standard", GOLD, pack=has.pack_tar("chemprot_training.tar.gz"))


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


@pytest.mark.parametrize("has_property", [has.assert_every_row_is_read, has.assert_an_empty_file_is_an_error])
def test_property_of_an_archive(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(ARCHIVE, tmp_path)


def read(tmp_path: Path, files: dict[str, str] = FILES, **options: Any) -> tuple[list[Any], ChemProt]:
    has.write_files(tmp_path / "chemprot_training", {name: text.encode() for name, text in files.items()})
    reader = ChemProt(str(tmp_path), on_bad_row="skip", **options)
    return list(reader.read("train")), reader


def test_a_document_is_its_title_and_abstract_with_the_groups_that_were_evaluated(tmp_path: Path) -> None:
    rows, reader = read(tmp_path)
    assert rows[0] == SpanRow(
        "7",
        "7",
        "Zaphod 𝛼 zinc. It blocks ACE.",
        entities=(
            Entity("T1", "CHEMICAL", ((9, 13),)),
            Entity("T2", "GENE-Y", ((25, 28),)),
            Entity("T3", "GENE-N", ((18, 28),)),
        ),
        relations=(Relation("T1", "T2", "CPR:4"),),
    )
    assert reader.noted == {OVERLAPPING: 2}


@pytest.mark.parametrize(
    ("relations", "types"),
    [("gold_standard", ["CPR:4"]), ("groups", ["CPR:4", "CPR:1"]), ("names", ["INHIBITOR", "PART-OF"])],
)
def test_relations_are_evaluated_groups_all_groups_or_names(relations: str, types: list[str], tmp_path: Path) -> None:
    rows, _ = read(tmp_path, relations=relations)
    assert [relation.type for relation in rows[0].relations] == types


def test_types_are_merged_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, types={"CHEMICAL": "CHEMICAL", "GENE-Y": "GENE"}, relations="groups")
    assert [entity.type for entity in rows[0].entities] == ["CHEMICAL", "GENE"]
    assert dict(reader.left_out) == {"GENE-N": 1, "CPR:1": 1}


def test_other_tables_of_a_split_are_not_read(tmp_path: Path) -> None:
    others = {f"chemprot_sample_{name}.tsv": "Zaphod" for name in ("predictions", "notes")}
    assert read(tmp_path / "a", FILES | others)[0] == read(tmp_path / "b")[0]


def test_the_names_of_the_test_sets_files_are_known(tmp_path: Path) -> None:
    names = {name: name.replace("training_", "test_").replace(".tsv", "_gs.tsv") for name in FILES}
    has.write_files(tmp_path / "chemprot_test_gs", {names[name]: text.encode() for name, text in FILES.items()})
    assert len(list(ChemProt(str(tmp_path)).read("test"))) == 3


@pytest.mark.parametrize("missing", ["entities", "gold_standard", "abstracts"])
def test_a_split_without_one_of_its_tables_is_a_bad_row(missing: str, tmp_path: Path) -> None:
    rows, reader = read(tmp_path, {name: text for name, text in FILES.items() if missing not in name})
    assert (rows, [missing in bad.found for bad in reader.bad_rows]) == ([], [True])


def test_a_line_of_an_unknown_document_loses_no_row(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, FILES | {ENTITIES: FILES[ENTITIES] + "1\tT1\tCHEMICAL\t0\t1\tx\n"})
    assert (len(rows), [bad.line for bad in reader.bad_rows]) == (3, [5])


def test_an_id_that_occurs_again_is_a_bad_row_and_the_first_is_kept(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, FILES | {ABSTRACTS: FILES[ABSTRACTS] + "7\tOther\tText\n"})
    assert ([row.id for row in rows], [bad.line for bad in reader.bad_rows]) == (["7", "8", "9"], [4])


# --- the sentences that others made of the corpus, which readers of tables and JSON lines read ------------------------


def counts(folder: Path, data_set: str) -> dict[str, Counter[str]]:
    """The documented rows by split and label."""
    found: dict[str, Counter[str]] = {}
    with (folder / "counts.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            if record["dataset"] == data_set and record["unit"].startswith("rows:"):
                found.setdefault(record["split"], Counter())[record["unit"][5:]] = int(record["count"])
    return found


def labels(reader: Any, split: str) -> Counter[str]:
    rows: list[TextRow] = list(reader.read(split))
    return Counter(str(row.label) for row in rows)


def test_the_sentences_with_five_groups_and_a_negative_class_have_the_documented_counts(data_folder: Path) -> None:
    reader = Table(str(data_folder / "chemprot" / "bio_electra"), quoting=True, columns={"text": "sentence"})
    expected = counts(data_folder, "chemprot/bio_electra")
    assert {split: labels(reader, split) for split in expected} == expected
    assert {label for own in expected.values() for label in own} == {
        "CPR:3",
        "CPR:4",
        "CPR:5",
        "CPR:6",
        "CPR:9",
        "False",
    }


def test_the_sentences_with_thirteen_classes_have_the_documented_counts(data_folder: Path) -> None:
    files = {split: f"{split}.txt" for split in ("train", "dev", "test")}
    reader = Jsonl(str(data_folder / "chemprot" / "scibert"), files=files, ignore=["metadata"])
    expected = counts(data_folder, "chemprot/scibert")
    assert {split: labels(reader, split) for split in expected} == expected
    assert len({label for own in expected.values() for label in own}) == 13
