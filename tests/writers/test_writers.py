"""What the writers write is read back by our readers, and by parsers of others."""

from __future__ import annotations

import csv
import json
import math
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from heads import SpanRow
from mtl.problems import InputError
from mtl.readers.bioc import BioC
from mtl.readers.brat import Brat
from mtl.readers.conll import Conll
from mtl.readers.pubtator import Pubtator
from mtl.readers.table import Table
from mtl.writers import PredictedRow, PredictionWriter, writer_class
from mtl.writers._annotations import annotated

TEXT = "Aspirin & ibuprofen.\nThey cause 𝒜-rash\tand a <new> fever."


def entity(word: str, kind: str, score: float | None = 0.5, **more: Any) -> dict[str, Any]:
    start = TEXT.index(word)
    return {"type": kind, "start": start, "end": start + len(word), "text": word, "score": score, **more}


MENTIONS = [entity("Aspirin", "Drug"), entity("𝒜-rash\tand", "Sign"), entity("fever", "Sign", 0.25)]
RELATIONS = [{"type": "causes", "head": 0, "tail": 1, "score": 0.75}]
ROW = PredictedRow(
    "n1", "d1", TEXT, {"found": {"entities": MENTIONS}, "links": {"entities": MENTIONS[:2], "relations": RELATIONS}}
)
SECOND = PredictedRow("n2", "d1", "No finding", {"found": {"entities": []}})
LABELS = PredictedRow(
    "n1",
    "d1",
    "Fever.",
    {
        "kind": {"label": "yes", "score": 0.75, "scores": {"yes": 0.75, "no": 0.25}},
        "topics": {"labels": ["a", "b"], "scores": {"a": 0.75, "b": 0.5, "c": 0.25}},
        "size": {"value": 1.5},
    },
    {"site": "A, 1", "year": 2019},
)


def write(path: Path, *rows: PredictedRow, **options: Any) -> Path:
    writer_class(path)(**options).write(path, rows)
    return path


def spans(row: SpanRow) -> set[tuple[str, Any]]:
    return {(entity.type, entity.spans) for entity in row.entities}


def related(row: SpanRow) -> set[tuple[str | None, str, str]]:
    """The relations of a row between the texts of their arguments."""
    words = {entity.id: row.text[slice(*entity.spans[0])] for entity in row.entities}
    words |= {concept: words[entity.id] for entity in row.entities for concept in entity.concepts}
    return {(relation.type, words[relation.head], words[relation.tail]) for relation in row.relations}


START = TEXT.index("𝒜")
IN_PARTS = {
    ("Drug", ((0, 7),)),
    ("Sign", ((START, START + 6), (START + 7, START + 10))),
    ("Sign", ((TEXT.index("fever"), TEXT.index("fever") + 5),)),
}
"""The mentions with a tab left out."""
GOLD = {(e["type"], ((e["start"], e["end"]),)) for e in MENTIONS}


@pytest.mark.parametrize("name", ["x.PubTator", "x.pubtator.txt"])
def test_a_pubtator_file_is_read_back_with_the_same_mentions_and_relations(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROW, SECOND)
    rows = list(Pubtator("", files={"test": str(tmp_path / name)}).read("test"))
    assert [row.id for row in rows] == ["n1", "n2"]
    assert isinstance(rows[0], SpanRow)
    assert spans(rows[0]) == GOLD
    assert related(rows[0]) == {("causes", "Aspirin", "𝒜-rash and")}, "a tab would end a column"
    assert len(rows[0].text) == len(TEXT)


def test_pubtator_keeps_titles_and_concept_ids_of_the_input(tmp_path: Path) -> None:
    given = [entity("Aspirin", "Drug", None, concepts=["D1", "D2"]), entity("fever", "Sign", None, concepts=["D3"])]
    relations = [{"type": "causes", "head": 0, "tail": 1, "score": 0.5}]
    row = PredictedRow("7", "7", TEXT.replace("\n", " "), {"r": {"entities": given, "relations": relations}}, {}, 9)
    content = write(tmp_path / "x.PubTator", row).read_text(encoding="utf-8").splitlines()
    assert content[:2] == ["7|t|Aspirin &", "7|a|ibuprofen. They cause 𝒜-rash and a <new> fever."]
    (read,) = Pubtator("", files={"test": str(tmp_path / "x.PubTator")}).read("test")
    assert [entity.concepts for entity in read.entities] == [("D1", "D2"), ("D3",)]


def test_a_bioc_file_is_read_back_with_the_same_mentions_and_relations(tmp_path: Path) -> None:
    write(tmp_path / "x.xml", ROW, SECOND)
    rows = list(BioC("", files={"test": str(tmp_path / "x.xml")}).read("test"))
    assert [(row.id, row.text) for row in rows] == [("n1", TEXT), ("n2", "No finding")]
    assert spans(rows[0]) == GOLD
    assert related(rows[0]) == {("causes", "Aspirin", "𝒜-rash\tand")}


def test_brat_files_of_several_texts_are_read_back(tmp_path: Path) -> None:
    strange = PredictedRow("../n 3", "d2", "a\r\nfever", {"found": {"entities": []}})
    write(tmp_path / "x.ann", ROW, SECOND, strange)
    rows = {row.id: row for row in Brat("", files={"test": str(tmp_path / "x.ann")}).read("test")}
    assert len(rows) == 3
    assert rows["n1"].text == TEXT
    assert {row.text for row in rows.values()} == {TEXT, "No finding", "a\r\nfever"}
    assert spans(rows["n1"]) == IN_PARTS
    assert related(rows["n1"]) == {("causes", "Aspirin", "𝒜-rash")}


def test_long_ids_give_short_names_of_brat_files(tmp_path: Path) -> None:
    ids = [f"{letter * 300}{number}" for letter in ("a", "ä") for number in range(2)]
    rows = [PredictedRow(row_id, "d", TEXT, {"found": {"entities": []}}) for row_id in ids]
    write(tmp_path / "x.ann", *rows)
    names = [path.name for path in (tmp_path / "x.ann").glob("*.ann")]
    assert len(names) == 4
    assert max(len(name.encode()) for name in names) < 220


def test_one_text_gives_one_pair_of_brat_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "x.ann", ROW)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["x.ann", "x.txt"]
    (row,) = Brat("", files={"test": str(tmp_path / "in")}).read("test")
    assert spans(row) == IN_PARTS


def test_brat_does_not_overwrite_another_text(tmp_path: Path) -> None:
    writer = writer_class(Path("x.ann"))()
    (tmp_path / "x.txt").write_text("another text\n", encoding="utf-8")
    assert writer.problem(tmp_path / "x.ann", ["found"], [TEXT]) is not None
    (tmp_path / "x.txt").write_text(TEXT + "\n", encoding="utf-8")
    assert writer.problem(tmp_path / "x.ann", ["found"], [TEXT]) is None


def test_bioc_follows_its_document_type(tmp_path: Path) -> None:
    carrying = PredictedRow("n3", "d3", "a\r\nb\x0bc & <d>", {"kind": LABELS.predictions["kind"]}, {"site": 'A "1"'})
    content = write(tmp_path / "x.xml", ROW, carrying).read_text(encoding="utf-8")
    assert '<!DOCTYPE collection SYSTEM "BioC.dtd">' in content
    root = ElementTree.fromstring(content)
    assert [child.tag for child in root] == ["source", "date", "key", "document", "document"]
    first, second = root.findall("document")
    assert [child.tag for child in first] == ["id", "infon", "passage"]
    passage = first.find("passage")
    assert passage is not None
    assert [child.tag for child in passage] == ["offset", "text", *["annotation"] * 3, "relation"]
    assert passage.findtext("text") == TEXT
    found = set()
    for annotation in passage.findall("annotation"):
        assert [child.tag for child in annotation] == ["infon", "infon", "location", "text"]
        (location,) = annotation.findall("location")
        start, length = int(location.attrib["offset"]), int(location.attrib["length"])
        assert annotation.findtext("text") == TEXT[start : start + length]
        found.add((annotation.findtext("infon[@key='type']"), ((start, start + length),)))
    assert found == GOLD
    (relation,) = passage.findall("relation")
    assert [(node.attrib["refid"], node.attrib["role"]) for node in relation.findall("node")] == [
        ("T1", "head"),
        ("T2", "tail"),
    ]
    assert second.findtext("passage/text") == "a\r\nb c & <d>", "offsets after a carriage return stay the same"
    infons = {infon.attrib["key"]: infon.text for infon in second.findall("infon")}
    assert infons == {"document": "d3", "site": 'A "1"', "kind": "yes", "kind.score": "0.75"}


def test_a_conll_file_is_read_back_with_the_same_words_and_mentions(tmp_path: Path) -> None:
    """By our reader and by seqeval's."""
    text = "Low fever after IL-2 ."
    words = ((0, 3), (4, 9), (10, 15), (16, 20), (21, 22))
    found = [{"type": "Sign", "start": 0, "end": 9, "text": "Low fever", "score": 0.5}]
    found.append({"type": "Drug", "start": 16, "end": 20, "text": "IL-2", "score": 0.5})
    rows = [PredictedRow("n1", "d1", text, {"found": {"entities": found}}, words=words)]
    rows.append(PredictedRow("n2", "d1", "Nothing here", {"found": {"entities": []}}))
    path = write(tmp_path / "x.conll", *rows)
    first, second = Conll("", files={"test": str(path)}).read("test")
    assert (first.text, first.words, second.text) == (text, words, "Nothing here")
    assert spans(first) == {("Sign", ((0, 9),)), ("Drug", ((16, 20),))}
    assert spans(second) == set()
    tags = [line.split("\t")[1] for line in path.read_text().splitlines() if line]
    assert get_entities(tags) == [("Sign", 0, 1), ("Drug", 3, 3)]


def test_without_words_a_conll_file_has_those_that_heads_tag_and_of_overlapping_mentions_the_longest(
    tmp_path: Path,
) -> None:
    text = "No IL-2\tfever."
    found = [{"type": kind, "start": a, "end": b, "text": text[a:b], "score": 0.5} for kind, a, b in OVERLAPPING]
    content = write(tmp_path / "x.bio", PredictedRow("n", "n", text, {"a": {"entities": found}})).read_text()
    assert content == "No\tO\nIL\tB-Gene\n-\tI-Gene\n2\tI-Gene\nfever\tB-Sign\n.\tO\n\n"


OVERLAPPING = [("Gene", 3, 7), ("Letter", 3, 5), ("Sign", 8, 13)]


def test_the_mentions_of_ddi_end_with_their_last_character(tmp_path: Path) -> None:
    text = "aspirin | or heparin"
    parts = {"type": "group", "start": 0, "end": 20, "spans": [[0, 7], [13, 20]], "text": "aspirin | heparin"}
    found = [{"type": "drug", "start": 0, "end": 7, "text": "aspirin", "score": 1.0}, {**parts, "score": None}]
    path = write(tmp_path / "x.ddi", PredictedRow("D.s0", "D", text, {"names": {"entities": found}}))
    assert path.read_text().splitlines() == ["D.s0|0-6|aspirin|drug", "D.s0|0-6;13-19|aspirin   heparin|group"]


def test_a_ddi_file_has_every_pair_of_mentions_with_the_ids_of_the_input(tmp_path: Path) -> None:
    text = "aspirin heparin warfarin"
    places = [(0, 7, "S.e0"), (8, 15, "S.e1"), (16, 24, "S.e2")]
    given = [
        {"type": "drug", "start": a, "end": b, "text": text[a:b], "score": None, "id": name} for a, b, name in places
    ]
    relations = [{"type": "effect", "head": 2, "tail": 0, "score": 0.5}]
    predictions = {"ddi": {"entities": given, "relations": relations}}
    none = {"ddi": {"entities": [], "relations": []}}
    rows = [PredictedRow("S", "D", text, predictions), PredictedRow("S1", "D", "No drug.", none)]
    lines = write(tmp_path / "x.ddi.txt", *rows).read_text().splitlines()
    assert lines == ["S|S.e0|S.e1|0|null", "S|S.e0|S.e2|1|effect", "S|S.e1|S.e2|0|null"]
    found = [{**one, "id": None, "score": 0.5} for one in given[:2]]
    predicted = PredictedRow("S", "D", text, {"ddi": {"entities": found, "relations": []}})
    assert write(tmp_path / "y.ddi", predicted).read_text() == "S|S.e0|S.e1|0|null\n"


def test_a_bioasq_file_has_an_exact_answer_for_each_question(tmp_path: Path) -> None:
    def row(name: str, **prediction: Any) -> PredictedRow:
        return PredictedRow(name, name, "Is it?", {"answer": prediction})

    path = write(tmp_path / "x.bioasq.json", row("a", label="yes", score=0.5), row("b", label="No", score=0.5))
    assert json.loads(path.read_text())["questions"] == [
        {"id": "a", "type": "yesno", "exact_answer": "yes"},
        {"id": "b", "type": "yesno", "exact_answer": "no"},
    ]
    for prediction in ({"label": "maybe"}, {"labels": ["yes"]}, {"value": 1.0}):
        with pytest.raises(InputError):
            write(tmp_path / "x.bioasq.json", row("a", **prediction))
    assert len(json.loads(path.read_text())["questions"]) == 2, "an older file stays as it is"


@pytest.mark.parametrize("name", ["x.ddi", "x.bioasq.json"])
def test_the_layouts_of_shared_tasks_hold_one_task(name: str) -> None:
    problem = writer_class(Path(name))().problem(Path(name), ["one", "two"], [])
    assert problem is not None
    assert "one, two" in problem


def test_json_lines_have_null_where_there_is_no_number(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", PredictedRow("1", "1", "A text.", {"risk": {"value": math.nan}}))
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["predictions"] == {"risk": {"value": None}}


def test_json_lines_carry_further_keys(tmp_path: Path) -> None:
    (line,) = write(tmp_path / "x.jsonl", LABELS).read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert list(record) == ["id", "document", "site", "year", "predictions"]
    assert record["predictions"] == LABELS.predictions


def test_attributes_of_several_tasks_belong_to_one_mention(tmp_path: Path) -> None:
    def task(name: str, value: str) -> dict[str, Any]:
        return {"entities": [entity("fever", "Sign", 0.25, attributes={name: {"value": value, "score": 0.75}})]}

    tasks = {
        "found": {"entities": MENTIONS},
        "status": task("assertion", "absent"),
        "grade": task("How bad", "very <b>"),
    }
    row = PredictedRow("n1", "d1", TEXT, tasks)
    assert len(annotated(row).mentions) == len(MENTIONS)
    lines = write(tmp_path / "x.ann", row).read_text(encoding="utf-8").splitlines()
    number = next(line.split("\t")[0] for line in lines if line.endswith("\tfever"))
    assert [line for line in lines if line[0] == "A"] == [
        f"A1\tassertion {number} absent",
        f"A2\tHow_bad {number} very_<b>",
    ]
    assert [line.split("\t")[1:] for line in lines if "Notes A" in line] == [
        [f"AnnotatorNotes A{i}", "score 0.75"] for i in (1, 2)
    ]
    root = ElementTree.parse(write(tmp_path / "x.xml", row)).getroot()
    infons = [{i.attrib["key"]: i.text for i in found.findall("infon")} for found in root.iter("annotation")]
    assert {
        "type": "Sign",
        "score": "0.25",
        "assertion": "absent",
        "assertion.score": "0.75",
        "How bad": "very <b>",
        "How bad.score": "0.75",
    } in infons
    with write(tmp_path / "x.csv", row, long=True).open(encoding="utf-8", newline="") as file:
        found = [line for line in csv.DictReader(file) if line["kind"] == "attribute"]
    assert [(line["task"], line["type"], line["head"], line["text"], line["score"]) for line in found] == [
        ("status", "absent", "0", "fever", "0.75"),
        ("grade", "very <b>", "0", "fever", "0.75"),
    ]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_table_has_one_row_per_text(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, LABELS, LABELS, carried=["site", "year"])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="," if name.endswith("csv") else "\t"))
    assert len(rows) == 2
    assert rows[0] == {
        "id": "n1",
        "document": "d1",
        "site": "A, 1",
        "year": "2019",
        "kind.label": "yes",
        "kind.score": "0.75",
        "topics.labels": "a|b",
        "topics.score.a": "0.75",
        "topics.score.b": "0.5",
        "topics.score.c": "0.25",
        "size.value": "1.5",
    }


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_table_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    texts = ['He said "no rash" today.', '"quoted"', "a,b;c", "two\tcolumns", "two\nlines", "all\r\nlines", "", "'x'"]
    rows = [replace(LABELS, id=str(number), carried={"note": text}) for number, text in enumerate(texts)]
    path = write(tmp_path / name, *rows, carried=["note"])
    reader = Table(str(path), columns={"text": "id", "label": "kind.label"}, meta=["note"])
    found = [row.meta.get("note", "") for row in reader.read("train")]
    expected = {
        "x.csv": [text.replace("\r\n", "\n") for text in texts],
        "x.tsv": [re.sub(r"[\t\r\n]", " ", text) for text in texts],
    }
    assert found == expected[name]


def test_the_long_form_has_one_row_per_entity_relation_and_label(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ROW, SECOND, LABELS, long=True, carried=["site"])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = [(row["id"], row["task"], row["kind"], row["type"]) for row in rows]
    assert kinds[:3] == [("n1", "found", "entity", e["type"]) for e in MENTIONS]
    assert kinds[5:] == [
        ("n1", "links", "relation", "causes"),
        ("n1", "kind", "label", "yes"),
        ("n1", "topics", "label", "a"),
        ("n1", "topics", "label", "b"),
        ("n1", "size", "value", ""),
    ]
    places = [(int(row["start"]), int(row["end"]), row["text"]) for row in rows[:3]]
    assert places == [(e["start"], e["end"], e["text"]) for e in MENTIONS]
    assert (rows[5]["head"], rows[5]["tail"], rows[5]["score"]) == ("0", "1", "0.75")
    assert rows[9]["score"] == "1.5"
    assert [row["site"] for row in rows[6:]] == ["A, 1"] * 4


def test_only_the_first_shard_of_a_table_has_a_header(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.csv", LABELS, LABELS, carried=["site"]).read_bytes()
    first = write(tmp_path / "1.csv", LABELS, carried=["site"]).read_bytes()
    second = write(tmp_path / "2.csv", LABELS, carried=["site"], is_first=False).read_bytes()
    assert first + second == whole


@pytest.mark.parametrize(("carried", "long"), [(["kind.label"], False), (["type"], True)])
def test_columns_of_the_input_must_not_have_names_of_the_output(carried: list[str], long: bool) -> None:
    writer = writer_class(Path("x.csv"))(carried=carried, long=long)
    problem = writer.problem(Path("x.csv"), ["kind"], [])
    assert problem is not None
    assert carried[0] in problem
    assert writer_class(Path("x.csv"))(carried=["site"], long=long).problem(Path("x.csv"), ["kind"], []) is None


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.PubTator", "x.ann", "x.xml", "x.conll", "x.ddi"])
def test_outputs_are_private_and_replace_an_older_one_as_a_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def failing() -> Any:
        yield ROW
        yield SECOND
        raise ZeroDivisionError

    write(path, ROW, SECOND)
    files = [path] if path.is_file() else sorted(path.iterdir())
    before = {file: file.read_bytes() for file in files}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    with pytest.raises(ZeroDivisionError):
        writer_class(path)().write(path, failing())
    assert {file: file.read_bytes() for file in files} == before
    assert [left.name for left in tmp_path.iterdir()] == [name]


def test_an_unknown_suffix_names_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        writer_class(Path("x.docx"))
    assert all(
        suffix in caught.value.problems[0].suggestion for suffix in (".jsonl", ".csv", ".pubtator", ".ann", ".xml")
    )


def test_mentions_of_several_tasks_are_merged() -> None:
    found = annotated(ROW)
    assert len(found.mentions) == 3
    assert [(link.head, link.tail) for link in found.links] == [(0, 1)]
    assert PredictionWriter.__abstractmethods__ == {"write"}


def test_labels_without_probabilities_are_written(tmp_path: Path) -> None:
    row = PredictedRow("n1", "d1", "Fever.", {"kind": {"label": "yes"}, "topics": {"labels": ["a", "b"], "failed": 1}})
    with write(tmp_path / "x.csv", row).open(encoding="utf-8", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert {**cells} == {
        "id": "n1",
        "document": "d1",
        "kind.label": "yes",
        "topics.labels": "a|b",
        "topics.failed": "1",
    }
    with write(tmp_path / "y.csv", row, long=True).open(encoding="utf-8", newline="") as file:
        assert [(line["type"], line["score"]) for line in csv.DictReader(file)] == [("yes", ""), ("a", ""), ("b", "")]
    infons = ElementTree.parse(write(tmp_path / "x.xml", row)).iter("infon")
    found = {infon.get("key"): infon.text for infon in infons}
    assert found == {"document": "d1", "kind": "yes", "topics": "a|b"}
