from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, Relation, SpanRow
from mtl.readers._parts import KEPT, OVERLAPPING
from mtl.readers.tac2017 import TAC2017
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

SECTION = "  Zaphod 𝛼: no  rash,\n   fever or pain"
MENTIONS = """
<Mention id="M1" section="S1" type="AdverseReaction" start="16" len="4" str="rash" />
<Mention id="M2" section="S1" type="Negation" start="12" len="2" str="no" />
<Mention id="M3" section="S1" type="AdverseReaction" start="25,34" len="5,4" str="fever pain" />"""
RELATIONS = """
<Relation id="RL1" type="Negated" arg1="M1" arg2="M2" />
<Relation id="RL2" type="Hypothetical" arg1="M3" arg2="M2" />"""


def label(drug: str, section: str = SECTION, mentions: str = MENTIONS, relations: str = RELATIONS) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Label drug="{drug}" track="TAC2017_ADR">\n<Text>\n'
        f'<Section name="adverse reactions" id="S1">{section}</Section>\n'
        f'<Section name="boxed warnings" id="S2">Zaphod &lt;3</Section>\n</Text>\n'
        f"<Mentions>{mentions}\n</Mentions>\n<Relations>{relations}\n</Relations>\n"
        f'<Reactions>\n<Reaction id="AR1" str="rash"></Reaction>\n</Reactions>\n</Label>\n'
    )


def change(old: str, new: str, line: int | None = None) -> Malformed:
    return Malformed("TAC/b.xml", old, new, line, lost=2)


OTHER = '<Label drug="a">\n<Text><Section id="S1">On Zaphod</Section></Text>\n</Label>'
GOLD = ("rash", "no", "fever pain")
SAMPLE = Sample(
    TAC2017,
    files={"TAC/a.xml": OTHER, "TAC/b.xml": label("b")},
    rows=((), GOLD, ()),
    row_type=SpanRow,
    left_out=1,
    malformed=(
        change('start="16"', 'start="14"'),
        change('start="16"', 'start="x"'),
        change('start="25,34"', 'start="25"'),
        change('start="16" len="4"', 'start="16" len="99"'),
        change('id="M2"', 'id="M1"'),
        change('id="M2" section="S1"', 'id="M2" section="S9"'),
        change('id="M2" section="S1"', 'id="M2" section="S2"'),
        change('id="M2" ', ""),
        change('id="S2"', 'id="S1"'),
        change('arg1="M1"', 'arg1="M9"'),
        change('<Relation id="RL1"', '<Relation id="RL1" x="Zaphod" x="y"', 14),
        change("</Label>", "</Labels>", 20),
    ),
    rows_in_file={"TAC/b.xml": 2},
    pack=has.pack_tar("train.tar.gz"),
)


@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_is_an_error],
)
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def read(tmp_path: Path, text: str, **options: Any) -> tuple[list[Any], TAC2017]:
    has.write_files(tmp_path, {"train/zinx.xml": text.encode()})
    reader = TAC2017(str(tmp_path), **options)
    return list(reader.read("train")), reader


def test_a_section_is_a_row_with_its_text_as_it_is_written(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, label("zinx"))
    assert rows == [
        SpanRow(
            "zinx.S1",
            "zinx",
            SECTION,
            entities=(
                Entity("M1", "AdverseReaction", ((16, 20),), attributes={"status": "negated"}),
                Entity("M2", "Negation", ((12, 14),)),
                Entity("M3", "AdverseReaction", ((25, 30), (34, 38)), attributes={"status": "hypothetical"}),
            ),
            relations=(Relation("M1", "M2", "Negated"), Relation("M3", "M2", "Hypothetical")),
        ),
        SpanRow("zinx.S2", "zinx", "Zaphod <3"),
    ]
    assert (reader.left_out, reader.noted) == ({"Reaction": 1}, {KEPT: 1})


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ((), "affirmed"),
        (("Effect",), "affirmed"),
        (("Effect", "Hypothetical"), "hypothetical"),
        (("Hypothetical", "Negated"), "negated"),
    ],
)
def test_the_status_of_a_reaction_follows_from_its_relations(
    kinds: tuple[str, ...], status: str, tmp_path: Path
) -> None:
    relations = "".join(
        f'<Relation id="RL{number}" type="{kind}" arg1="M1" arg2="M2"/>' for number, kind in enumerate(kinds)
    )
    rows, reader = read(tmp_path, label("zinx", relations=relations))
    assert rows[0].entities[0].attributes == {"status": status}
    assert reader.adjusted.total() == ({"Negated", "Hypothetical"} <= set(kinds))


def test_a_mention_over_a_line_break_is_written_with_one_blank(tmp_path: Path) -> None:
    mention = '<Mention id="M1" section="S1" type="Severity" start="16" len="14" str="rash, fever"/>'
    rows, reader = read(tmp_path, label("zinx", mentions=mention, relations=""))
    assert (rows[0].entities[0].spans, reader.adjusted.total()) == (((16, 30),), 0)


def test_types_are_chosen_and_renamed_and_the_rest_is_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, label("zinx"), types={"AdverseReaction": "ADR"})
    assert [(entity.type, entity.attributes["status"]) for entity in rows[0].entities] == [
        ("ADR", "negated"),
        ("ADR", "hypothetical"),
    ]
    assert dict(reader.left_out) == {"Negation": 1, "Negated": 1, "Hypothetical": 1, "Reaction": 1}


def test_an_empty_section_is_left_out_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, label("zinx", section=" \n", mentions="", relations=""))
    assert ([row.id for row in rows], reader.left_out["empty section"]) == (["zinx.S2"], 1)


def test_the_corpus_has_the_documented_counts(data_folder: Path) -> None:
    with (data_folder / "counts.csv").open(newline="") as file:
        expected = {r["unit"]: int(r["count"]) for r in csv.DictReader(file) if r["dataset"] == "tac2017_adr"}
    reader = TAC2017(str(data_folder / "tac2017_adr"), files={"train": "train_xml.tar.gz"})
    rows: list[Any] = list(reader.read("train"))
    mentions = Counter(entity.type for row in rows for entity in row.entities)
    relations = Counter(relation.type for row in rows for relation in row.relations)
    found = {
        "sections": len(rows),
        "documents": len({row.document for row in rows}),
        "mentions": mentions.total(),
        "relations": relations.total(),
        "discontinuous mentions": reader.noted[KEPT],
        **{f"mentions:{name}": number for name, number in mentions.items()},
        **{f"relations:{name}": number for name, number in relations.items()},
    }
    assert found == expected
    assert reader.noted[OVERLAPPING] == 1775
    statuses = Counter(entity.attributes["status"] for row in rows for entity in row.entities if entity.attributes)
    assert statuses == {"affirmed": 12070, "hypothetical": 1564, "negated": 161}
