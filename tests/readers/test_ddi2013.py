from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers.ddi2013 import DDI2013, ENTITY_TYPES
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

TRAIN = "DDICorpus/Train/DrugBank"
DDI_TEST = "DDICorpus/Test/Test for DDI Extraction task/MedLine"
NER_TEST = "DDICorpus/Test/Test for DrugNER task/DrugBank"

TEXT = "Aspirin and warfarin."
TWO_DRUGS = (
    '<entity id="{id}.e0" charOffset="0-6" type="brand" text="Aspirin"/>'
    '<entity id="{id}.e1" charOffset="12-19" type="drug" text="warfarin"/>'
)
PAIR = '<pair id="{id}.p0" e1="{id}.e0" e2="{id}.e1" ddi="true" type="effect"/>'


def sentence(sentence_id: str, inside: str = TWO_DRUGS + PAIR, text: str = TEXT) -> str:
    return f'<sentence id="{sentence_id}" text="{text}">{inside.format(id=sentence_id)}</sentence>'


def document(document_id: str, *sentences: str) -> str:
    body = "".join(sentences) or sentence(f"{document_id}.s0")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<document id="{document_id}">{body}</document>'


def pack(path: Path, members: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


SECRET = "Zaphod 𝛼 Aspirin and warfarin."
DRUGS = (
    '<entity id="{id}.e0" charOffset="9-15" type="brand" text="Aspirin"/>'
    '<entity id="{id}.e1" charOffset="21-28" type="drug" text="warfarin"/>'
)


def secret(sentence_id: str, inside: str = DRUGS + PAIR) -> str:
    return sentence(sentence_id, inside, SECRET) + "\n"


CHANGES = [
    DRUGS.replace("21-28", "21-31") + PAIR,
    DRUGS.replace("21-28", "28-21") + PAIR,
    DRUGS.replace("21-28", "21") + PAIR,
    DRUGS,
    DRUGS + PAIR.replace('e2="{id}.e1"', 'e2="{id}.e2"'),
    DRUGS + PAIR.replace('"true"', '"yes"'),
    DRUGS + PAIR.replace('ddi="true"', ""),
    DRUGS.replace('type="drug"', "") + PAIR,
]
FIRST, SECOND = f"{TRAIN}/a.xml", f"{TRAIN}/b.xml"
SAMPLE = Sample(
    DDI2013,
    files={
        FIRST: document("d0", secret("d0.s0"), secret("d0.s1")),
        SECOND: document("d1", secret("d1.s0"), sentence("d1.s1", "", " ")),
    },
    rows=(("Aspirin", "warfarin"),) * 3,
    row_type=SpanRow,
    left_out=1,
    malformed=(
        *(Malformed(FIRST, secret("d0.s1"), secret("d0.s1", inside), None) for inside in CHANGES),
        Malformed(FIRST, secret("d0.s1"), secret("d0.s0"), None, place="train.zip"),
        Malformed(FIRST, "</document>", "</docment>", 4, lost=2),
    ),
    rows_in_file={FIRST: 2, SECOND: 1},
    pack=lambda folder, files: pack(folder / "train.zip", files),
)


@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_is_an_error],
)
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def read(folder: Path, inside: str, text: str = TEXT) -> tuple[list[SpanRow], DDI2013]:
    """The rows of a document of three sentences, the middle one as given."""
    parts = [sentence("d0.s0"), sentence("d0.s1", inside, text), sentence("d0.s2")]
    pack(folder / "train.zip", {f"{TRAIN}/a.xml": document("d0", *parts)})
    reader = DDI2013(str(folder), on_bad_row="skip")
    return list(reader.read("train")), reader


def test_a_sentence_is_a_row_with_half_open_offsets_and_its_typed_relations(tmp_path: Path) -> None:
    pack(tmp_path / "train.zip", {f"{TRAIN}/Aspirin_ddi.xml": document("d0")})
    assert list(DDI2013(str(tmp_path)).read("train")) == [
        SpanRow(
            id="d0.s0",
            document="d0",
            text=TEXT,
            entities=(Entity("d0.s0.e0", "brand", ((0, 7),)), Entity("d0.s0.e1", "drug", ((12, 20),))),
            relations=(Relation("d0.s0.e0", "d0.s0.e1", "effect"),),
            meta={"source": "DrugBank"},
        )
    ]


def test_the_pmid_of_an_abstract_is_in_meta(tmp_path: Path) -> None:
    pack(tmp_path / "test.zip", {f"{DDI_TEST}/11121884.xml": document("d0")})
    (row,) = DDI2013(str(tmp_path)).read("test")
    assert row.meta == {"source": "MedLine", "pmid": "11121884"}


def test_a_false_pair_is_no_relation_and_a_true_one_without_a_type_is_not_annotated(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, TWO_DRUGS + PAIR.replace('"true" type="effect"', '"false"'))
    assert rows[1].relations == ()
    rows, _ = read(tmp_path, TWO_DRUGS + PAIR.replace(' type="effect"', ""))
    assert rows[1].relations == (Relation("d0.s1.e0", "d0.s1.e1", None),)


@pytest.mark.parametrize("offsets", ["0-2;12-16", "12-16;0-2"])
def test_parts_of_a_mention_are_in_text_order(tmp_path: Path, offsets: str) -> None:
    wording = "low doses" if offsets[0] == "0" else "doses low"
    entity = f'<entity id="e" charOffset="{offsets}" type="drug" text="{wording}"/>'
    rows, reader = read(tmp_path, entity, "low or high doses")
    assert rows[1].entities == (Entity("e", "drug", ((0, 3), (12, 17))),)
    assert not reader.left_out


def test_parts_that_the_text_attribute_joins_without_a_blank_agree_with_it(tmp_path: Path) -> None:
    entity = '<entity id="e" charOffset="0-2;11-17" type="group" text="mu-opioids"/>'
    rows, reader = read(tmp_path, entity, "mu- or big opioids")
    assert rows[1].entities[0].spans == ((0, 3), (11, 18))
    assert not reader.left_out


def test_a_mention_that_differs_from_its_text_attribute_stays_at_its_offsets_and_is_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, '<entity id="e" charOffset="0-5" type="drug" text="Aspirin"/>')
    assert rows[1].entities == (Entity("e", "drug", ((0, 6),)),)
    assert dict(reader.left_out) == {"text attribute of a mention that differs from its offsets": 1}
    assert not reader.bad_rows


def test_a_sentence_without_text_is_skipped_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "", text=" ")
    assert [row.id for row in rows] == ["d0.s0", "d0.s2"]
    assert dict(reader.left_out) == {"empty sentence": 1}
    assert not reader.bad_rows


def test_a_malformed_sentence_is_named_by_its_id(tmp_path: Path) -> None:
    _, reader = read(tmp_path, TWO_DRUGS)
    (bad,) = reader.bad_rows
    assert bad.file.endswith(f"train.zip/{TRAIN}/a.xml")
    assert "'d0.s1'" in bad.found


def keys(reader: DDI2013, split: str) -> list[str]:
    """The keys of what stops the reading of a split."""
    with pytest.raises(InputError) as raised:
        list(reader.read(split))
    return [problem.key for problem in raised.value.problems]


def test_a_damaged_document_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    pack(tmp_path / "train.zip", {f"{TRAIN}/a.xml": document("d0"), f"{TRAIN}/b.xml": document("d1")})
    path = tmp_path / "train.zip"
    path.write_bytes(path.read_bytes().replace(b"warfarin", b"heparins", 1))  # the checksum tells
    reader = DDI2013(str(tmp_path), on_bad_row="skip")
    assert [row.document for row in reader.read("train")] == ["d1"]
    assert [bad.file for bad in reader.bad_rows] == [str(path / TRAIN / "a.xml")]


def test_an_archive_without_the_folder_of_a_split_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "test.zip", {f"{NER_TEST}/a.xml": document("d0")})
    assert keys(DDI2013(str(tmp_path)), "test") == [str(tmp_path / "test.zip")]


def test_rows_come_in_the_order_of_the_names_whatever_the_order_in_the_archive(tmp_path: Path) -> None:
    members = {f"{TRAIN}/b.xml": document("d1"), f"{TRAIN}/a.xml": document("d0"), "DDICorpus/README.txt": "Read me."}
    pack(tmp_path / "train.zip", members)
    assert [row.document for row in DDI2013(str(tmp_path)).read("train")] == ["d0", "d1"]


def test_one_archive_of_the_whole_corpus_serves_both_splits_and_either_test_set(tmp_path: Path) -> None:
    members: dict[str, str | bytes] = {
        f"{folder}/a.xml": document(name) for folder, name in ((TRAIN, "d0"), (DDI_TEST, "d1"), (NER_TEST, "d2"))
    }
    pack(tmp_path / "all.zip", members)
    files = {"train": "all.zip", "test": "all.zip"}
    reader = DDI2013(str(tmp_path), files=files)
    assert [row.document for split in ("train", "test") for row in reader.read(split)] == ["d0", "d1"]
    reader = DDI2013(str(tmp_path), files=files, test="ner")
    assert [row.document for split in ("train", "test") for row in reader.read(split)] == ["d0", "d2"]


def test_the_test_set_of_names_says_that_interactions_were_not_annotated(tmp_path: Path) -> None:
    pack(tmp_path / "all.zip", {f"{TRAIN}/a.xml": document("d0"), f"{NER_TEST}/a.xml": document("d2")})
    reader = DDI2013(str(tmp_path), files={"train": "all.zip", "test": "all.zip"}, test="ner")
    (train,), (test,) = (list(reader.read(split)) for split in ("train", "test"))
    assert isinstance(train, SpanRow)
    assert isinstance(test, SpanRow)
    assert (train.annotated, len(train.relations)) == (None, 1)
    assert (test.annotated, test.relations, len(test.entities)) == (ENTITY_TYPES, (), 2)


# --- dev, cut from train by the ids of its pairs ------------------------------------------------------------------


def dev_corpus(folder: Path, ids: str) -> None:
    pack(folder / "train.zip", {f"{TRAIN}/{n}.xml": document(f"D.d{n}") for n in range(3)})
    pack(folder / "test.zip", {f"{DDI_TEST}/1.xml": document("D.d1")})
    (folder / "dev.tsv").write_text(ids)


def test_documents_of_the_dev_pairs_leave_train_and_make_up_dev(tmp_path: Path) -> None:
    dev_corpus(tmp_path, "D.d1.s0.p0\tany text\tDDI-false\nD.d1.s0.p1\tany text\tDDI-false\n")
    reader = DDI2013(str(tmp_path), dev_ids="dev.tsv")
    assert list(reader.sources()) == ["train", "dev", "test"]
    found = {split: [row.document for row in reader.read(split)] for split in reader.sources()}
    assert found == {"train": ["D.d0", "D.d2"], "dev": ["D.d1"], "test": ["D.d1"]}


def test_dev_is_cut_from_a_single_archive_too(tmp_path: Path) -> None:
    dev_corpus(tmp_path, "D.d1.s0.p0\t\t\n")
    reader = DDI2013(str(tmp_path / "train.zip"), dev_ids="dev.tsv")
    assert [row.document for row in reader.read("dev")] == ["D.d1"]


@pytest.mark.parametrize(("ids", "line"), [("D.d1.s0.p0\t\nD.d7.s0.p0\t\n", 2), ("id\ttext\nD.d1.s0.p0\t\n", 1)])
def test_a_dev_id_that_names_no_document_of_train_is_reported(tmp_path: Path, ids: str, line: int) -> None:
    dev_corpus(tmp_path, ids)
    for split in ("train", "dev"):
        assert keys(DDI2013(str(tmp_path), dev_ids="dev.tsv"), split) == [f"{tmp_path / 'dev.tsv'}:{line}"]


def test_dev_ids_must_exist_and_not_contradict_the_files(tmp_path: Path) -> None:
    dev_corpus(tmp_path, "D.d1.s0.p0\t\n")
    assert keys(DDI2013(str(tmp_path), dev_ids="none.tsv"), "dev") == ["dev_ids"]
    for files in ({"test": "test.zip"}, {"train": "train.zip", "dev": "test.zip"}):
        assert keys(DDI2013(str(tmp_path), dev_ids="dev.tsv", files=files), "dev") == ["dev_ids"]


# --- the corpus itself --------------------------------------------------------------------------------------------


def documented(data_folder: Path, dataset: str, split: str) -> dict[str, int]:
    with (data_folder / "counts.csv").open(newline="") as file:
        return {
            r["unit"]: int(r["count"]) for r in csv.DictReader(file) if (r["dataset"], r["split"]) == (dataset, split)
        }


def counted(rows: list[SpanRow]) -> Counter[str]:
    """Documents, mentions and pairs under the names of counts.csv."""
    found: Counter[str] = Counter()
    sources = {row.document: row.meta["source"] for row in rows}
    found["documents"] = len(sources)
    found.update(f"documents:{source}" for source in sources.values())
    found["sentences"] = len(rows)
    for row in rows:
        found["mentions"] += len(row.entities)
        found.update(f"mentions:{entity.type}" for entity in row.entities)
        found["pairs"] += len(list(combinations(row.entities, 2)))
        found.update(f"pairs:{relation.type or 'untyped'}" for relation in row.relations)
    found["pairs:false"] = found["pairs"] - sum(len(row.relations) for row in rows)
    return found


def rows_of(reader: DDI2013, split: str) -> list[SpanRow]:
    return list(reader.read(split))


def test_the_corpus_has_the_documented_counts(data_folder: Path) -> None:
    reader = DDI2013(str(data_folder / "ddi2013"))
    train = counted(rows_of(reader, "train"))
    assert reader.left_out["empty sentence"] == 71
    assert reader.left_out["text attribute of a mention that differs from its offsets"] == 1
    train["sentences"] += reader.left_out["empty sentence"]
    assert train == documented(data_folder, "ddi2013/xml", "train")
    assert counted(rows_of(reader, "test")) == documented(data_folder, "ddi2013/xml", "test (DDI task)")
    names = rows_of(DDI2013(str(data_folder / "ddi2013"), test="ner"), "test")
    assert counted(names) == documented(data_folder, "ddi2013/xml", "test (DrugNER task)")
    assert reader.bad_rows == []


def pair_labels(rows: list[SpanRow]) -> dict[frozenset[str], str]:
    return {
        frozenset(pair): {frozenset((r.head, r.tail)): f"DDI-{r.type}" for r in row.relations}.get(
            frozenset(pair), "DDI-false"
        )
        for row in rows
        for pair in combinations([entity.id for entity in row.entities], 2)
    }


def pair_ends(archive: Path) -> dict[str, frozenset[str]]:
    """The two entities of each pair id, found by another way than the reader's."""
    found = {}
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            for tag in re.findall(r"<pair [^>]*>", file.read(name).decode() if name.endswith(".xml") else ""):
                fields = dict(re.findall(r'(\w+)="([^"]*)"', tag))
                found[fields["id"]] = frozenset((fields["e1"], fields["e2"]))
    return found


@pytest.mark.parametrize(("split", "archive", "num_documents"), [("dev", "train.zip", 79), ("test", "test.zip", None)])
def test_pairs_and_labels_are_those_of_blurb(
    data_folder: Path, split: str, archive: str, num_documents: int | None
) -> None:
    folder = data_folder / "ddi2013"
    rows = rows_of(DDI2013(str(folder), dev_ids="blurb/dev.tsv"), split)
    ends = pair_ends(folder / archive)
    lines = (folder / "blurb" / f"{split}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    blurb = {ends[line.split("\t")[0]]: line.split("\t")[2] for line in lines}
    assert len(blurb) == documented(data_folder, "ddi2013/blurb", split)["pairs"]
    assert pair_labels(rows) == blurb
    assert num_documents is None or len({row.document for row in rows}) == num_documents


def test_train_without_the_dev_documents_has_the_pairs_of_blurb_train(data_folder: Path) -> None:
    found = counted(rows_of(DDI2013(str(data_folder / "ddi2013"), dev_ids="blurb/dev.tsv"), "train"))
    expected = documented(data_folder, "ddi2013/blurb (derivable)", "train")
    assert {unit: count for unit, count in found.items() if unit.startswith("pairs")} == expected
