from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError
from mtl.readers._mentions import TRIMMED, TRUSTED
from mtl.readers.bioc import BioC
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

XML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection>
{}</collection>
"""
DOCUMENT = """<document><id>{0}</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Zaphod 𝛼</text></passage>
<passage><offset>9</offset><text>Aspirin &amp; rash.</text>
<annotation id="1"><infon key="type">Drug</infon><infon key="identifier">D1</infon>
<location offset="9" length="7"/><text>Aspirin</text></annotation>
<annotation id="2"><infon key="type">Sign</infon><infon key="identifier">D2,D3</infon>
<location offset="19" length="4"/><text>rash</text></annotation>
</passage>
<relation id="R1"><infon key="type">causes</infon><node refid="1" role="x"/><node refid="2" role="y"/></relation>
</document>
"""
SECOND_OF_XML = DOCUMENT.format(8)


def document(name: str = "7", **fields: Any) -> dict[str, Any]:
    annotations = [
        annotation("1", "Drug", 9, "Aspirin", identifier="D1"),
        annotation("2", "Sign", 19, "rash", identifier="D2;D3"),
    ]
    passages = [
        {"offset": 0, "text": "Zaphod 𝛼"},
        {"offset": 9, "text": "Aspirin & rash.", "annotations": annotations},
    ]
    nodes = [{"refid": "1", "role": "x"}, {"refid": "2", "role": "y"}]
    relations = [{"id": "R1", "infons": {"type": "causes"}, "nodes": nodes}]
    return {"id": name, "infons": {}, "passages": passages, "relations": relations, **fields}


def annotation(name: str, kind: str, offset: int, text: str, **infons: Any) -> dict[str, Any]:
    locations = [{"offset": offset, "length": len(text)}]
    return {"id": name, "infons": {"type": kind, **infons}, "text": text, "locations": locations}


def changed(old: str, new: str, line: int, lost: int = 1) -> Malformed:
    """A change of the second document in XML."""
    assert SECOND_OF_XML.count(old) == 1, old
    return Malformed("train.xml", SECOND_OF_XML, SECOND_OF_XML.replace(old, new), line, lost=lost)


LINE = 14  # of the second document
XML_SAMPLE = Sample(
    BioC,
    files={"train.xml": XML.format("".join(DOCUMENT.format(name) for name in (7, 8, 9)))},
    rows=(("Aspirin", "rash"),) * 3,
    row_type=SpanRow,
    malformed=(
        changed(">Aspirin</text>", ">aspirin</text>", LINE),
        changed('offset="9"', 'offset="10"', LINE),
        changed('offset="9"', 'offset="-9"', LINE),
        changed('offset="9"', 'offset="900"', LINE),
        changed("<offset>9<", "<offset>Zaphod<", LINE),
        changed('<annotation id="2">', '<annotation id="1">', LINE),
        changed('refid="2"', 'refid="3"', LINE),
        changed("<id>8</id>", "<id></id>", LINE),
        Malformed("train.xml", SECOND_OF_XML, DOCUMENT.format(7), None),
        changed("</passage>\n<relation", "</document>\n<relation", 21, lost=3),
    ),
    rows_in_file={"train.xml": 3},
)
LINES = [json.dumps(document(name), ensure_ascii=False) for name in "789"]


def wrong(**fields: Any) -> Malformed:
    return Malformed("train.jsonl", LINES[1], json.dumps(document("8", **fields), ensure_ascii=False), None)


LINES_SAMPLE = Sample(
    BioC,
    files={"train.jsonl": "\n".join(LINES) + "\n"},
    rows=(("Aspirin", "rash"),) * 3,
    row_type=SpanRow,
    malformed=tuple(
        change._replace(line=2)
        for change in (
            wrong(id=""),
            wrong(id=None),
            wrong(passages="Zaphod"),
            wrong(passages=["Zaphod"]),
            wrong(passages=[{"text": ["Zaphod"]}]),
            wrong(passages=[{"text": "Zaphod", "offset": True}]),
            wrong(passages=[{"text": " "}]),
            wrong(annotations=[{"infons": "Zaphod"}]),
            wrong(annotations=[annotation("3", "Drug", 9, "Zaphod")]),
            wrong(relations=[{"infons": {"type": "a"}, "nodes": [{"refid": "1"}, {"refid": "9"}]}]),
            wrong(relations=["Zaphod"]),
        )
    ),
    rows_in_file={"train.jsonl": 3},
)
SAMPLES = {"xml": XML_SAMPLE, "lines": LINES_SAMPLE}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_gives_no_rows],
)
def test_property(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


def reader_of(folder: Path, content: Any, name: str = "train.json", **options: Any) -> BioC:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (folder / name).write_text(text, encoding="utf-8")
    return BioC(str(folder), **options)


def read(reader: BioC) -> list[SpanRow]:
    return [row for row in reader.read("train") if isinstance(row, SpanRow)]


EXPECTED = SpanRow(
    "7",
    "7",
    "Zaphod 𝛼 Aspirin & rash.",
    entities=(Entity("1", "Drug", ((9, 16),), ("D1",)), Entity("2", "Sign", ((19, 23),), ("D2", "D3"))),
    relations=(Relation("1", "2", "causes"),),
)


@pytest.mark.parametrize(
    "content",
    [
        document(),
        {"source": "x", "documents": [document()]},
        {"PubTator3": [document()]},
        [{"documents": [document()]}],
        [document()],
        XML.format(DOCUMENT.format(7)),
    ],
    ids=["document", "collection", "pubtator", "collections", "list", "xml"],
)
def test_every_form_of_a_collection_gives_the_same_row(content: Any, tmp_path: Path) -> None:
    assert read(reader_of(tmp_path, content)) == [EXPECTED]


def test_offsets_count_from_the_start_of_the_document_whatever_is_between_passages(tmp_path: Path) -> None:
    passages = [
        {"offset": 100, "text": "Fever.", "annotations": [annotation("1", "Sign", 100, "Fever")]},
        {"offset": 9_000_000_000, "text": "No rash.", "annotations": [annotation("1", "Sign", 9_000_000_003, "rash")]},
    ]
    everywhere = [annotation("D", "Sign", 100, "Fever")]
    (row,) = read(reader_of(tmp_path, document(passages=passages, relations=[], annotations=everywhere)))
    assert row.text == "Fever. No rash."
    assert {entity.id: row.text[slice(*entity.spans[0])] for entity in row.entities} == {
        "D": "Fever",
        "1": "Fever",
        "1.3": "rash",
    }


def test_sentences_are_kept(tmp_path: Path) -> None:
    sentences = [
        {"offset": 0, "text": "Fever.", "annotations": [annotation("1", "Sign", 0, "Fever")]},
        {"offset": 7, "text": "No rash.", "annotations": [annotation("2", "Sign", 10, "rash")]},
    ]
    nodes = [{"refid": "1"}, {"refid": "2"}]
    passages = [{"offset": 0, "sentences": sentences, "relations": [{"infons": {"type": "a"}, "nodes": nodes}]}]
    (row,) = read(reader_of(tmp_path, document(passages=passages, relations=[])))
    assert (row.text, row.sentences) == ("Fever. No rash.", ((0, 6), (7, 15)))
    assert row.relations == (Relation("1", "2", "a"),)


def test_a_discontinuous_annotation_has_several_spans(tmp_path: Path) -> None:
    one = annotation("1", "Sign", 0, "skin rash")
    one["locations"] = [{"offset": 13, "length": 4}, {"offset": 0, "length": 4}]
    (row,) = read(
        reader_of(tmp_path, document(passages=[{"text": "skin or eye  rash", "annotations": [one]}], relations=[]))
    )
    assert row.entities[0].spans == ((0, 4), (13, 17))


@pytest.mark.parametrize(
    "infons",
    [
        {"relation": "CID", "Chemical": "D1", "Disease": "D3"},
        {"type": "CID", "entity1": "D1", "entity2": "D3", "novel": "No", "score": 0.5},
    ],
)
def test_relations_between_concepts_are_read(infons: dict[str, Any], tmp_path: Path) -> None:
    (row,) = read(reader_of(tmp_path, document(relations=[{"id": "R0", "infons": infons, "nodes": []}])))
    assert row.relations == (Relation("D1", "D3", "CID"),)
    assert row.meta == ({"CID D1 D3": "No"} if "novel" in infons else {})


def test_what_cannot_be_a_mention_or_a_pair_is_counted(tmp_path: Path) -> None:
    nowhere = {"id": "3", "infons": {"type": "Drug"}, "locations": []}
    untyped = {"id": "4", "infons": {}, "locations": [{"offset": 0, "length": 1}]}
    alone = {"infons": {"type": "a"}, "nodes": [{"refid": "1"}]}
    reader = reader_of(tmp_path, document(annotations=[nowhere, untyped], relations=[alone]))
    read(reader)
    assert sorted(reader.left_out.values()) == [1, 1, 1]


def test_relations_of_pubtator_3_name_concepts_with_their_types(tmp_path: Path) -> None:
    """In JSON as objects and in XML after a type, with one node that refers to no annotation."""
    roles = {"role1": {"type": "Drug", "identifier": "D1", "name": "aspirin"}, "role2": {"identifier": "D3"}}
    infons = {"score": "0.99", **roles, "type": "Association"}
    relation = {"id": "R1", "infons": infons, "nodes": [{"refid": "0", "role": "0,1"}]}
    (row,) = read(reader_of(tmp_path, document(relations=[relation])))
    assert row.relations == (Relation("D1", "D3", "Association"),)
    in_xml = (
        '<relation id="R1"><infon key="score">0.99</infon><infon key="role1">Drug|D1</infon>'
        '<infon key="role2">Sign|D3</infon><infon key="type">Association</infon><node refid="0" role="0,1"/></relation>'
    )
    start, end = DOCUMENT.index("<relation"), DOCUMENT.index("</document>")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "train.xml").write_text(XML.format((DOCUMENT[:start] + in_xml + DOCUMENT[end:]).format(7)))
    (row,) = read(BioC(str(tmp_path / "xml")))
    assert row.relations == (Relation("D1", "D3", "Association"),)
    unknown = {"id": "R1", "infons": {**infons, "role2": {"identifier": "D9"}}, "nodes": []}
    reader = reader_of(tmp_path, document(relations=[unknown]))
    assert [row.relations for row in read(reader)] == [()]
    assert reader.left_out["relation without a type and two ends"] == 1


def test_types_and_relations_are_chosen_and_merged(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, document(), types={"Drug": "D", "Sign": "S"}, relations={"causes": "R"})
    (row,) = read(reader)
    assert ([entity.type for entity in row.entities], row.relations[0].type) == (["D", "S"], "R")
    reader = reader_of(tmp_path, document(), types={"Drug": "D"})
    (row,) = read(reader)
    assert ([entity.type for entity in row.entities], row.relations) == (["D"], ())
    assert reader.left_out == {"Sign": 1, "causes": 1}


def test_offsets_can_be_trusted_and_blanks_are_trimmed(tmp_path: Path) -> None:
    passages = [
        {
            "text": "TNF-α rises",
            "annotations": [
                annotation("1", "Gene", 0, "TNF-a "),
            ],
        }
    ]
    with pytest.raises(InputError) as raised:
        read(reader_of(tmp_path, document(passages=passages, relations=[])))
    assert "offsets: trust" in raised.value.problems[0].message
    reader = reader_of(tmp_path, document(passages=passages, relations=[]), offsets="trust")
    assert read(reader)[0].entities[0].spans == ((0, 5),)
    assert reader.adjusted == {TRUSTED: 1, TRIMMED: 1}


def test_entities_of_xml_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE c [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><collection>&b;</collection>'
    with pytest.raises(InputError) as raised:
        read(reader_of(tmp_path, bomb, "train.xml"))
    assert "declarations" in raised.value.problems[0].message


def test_another_kind_of_xml_or_json_is_named(tmp_path: Path) -> None:
    for content in ("<root/>", '{"text": "Zaphod"}', "Zaphod", "3", '{"documents": 3}'):
        with pytest.raises(InputError) as raised:
            read(reader_of(tmp_path, content))
        assert "Zaphod" not in str(raised.value)


def test_a_long_document_takes_linear_time(tmp_path: Path) -> None:
    passages = [
        {"offset": 7 * n, "text": "fever.", "annotations": [annotation("1", "Sign", 7 * n, "fever")]}
        for n in range(20_000)
    ]
    (row,) = read(reader_of(tmp_path, document(passages=passages, relations=[])))
    assert len({entity.id for entity in row.entities}) == 20_000
