"""Predictions as they are written, and as readers read them back."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from mtl.problems import InputError
from mtl.readers.brat import Brat
from mtl.readers.pubtator import Pubtator
from tests.prediction.planted import TEXT, predict, table

pytestmark = pytest.mark.usefixtures("planted")

PUBTATOR = "7|t|Aspirin\n7|a|increases fever and risk.\n\n8|t|No\n8|a|finding.\n\n"


def test_a_label_has_its_probability(planted_run: Path) -> None:
    (line,) = predict(planted_run, ["fever"])
    kind = line["predictions"]["kind"]
    assert list(kind) == ["label", "score", "scores"]
    assert kind["score"] == max(kind["scores"].values()) == kind["scores"][kind["label"]]
    assert sum(kind["scores"].values()) == pytest.approx(1)


def test_pubtator_in_and_out(planted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.PubTator").write_text(PUBTATOR, encoding="utf-8")
    predict(planted_run, tmp_path / "in.PubTator", tmp_path / "x.PubTator", tasks=["mentions", "links"])
    assert (tmp_path / "x.PubTator").read_text(encoding="utf-8").startswith("7|t|Aspirin\n7|a|increases")
    first, second = Pubtator("", files={"test": str(tmp_path / "x.PubTator")}).read("test")
    assert [(e.type, first.text[slice(*e.spans[0])]) for e in first.entities] == [
        ("Drug", "Aspirin"),
        ("Event", "fever"),
        ("Event", "risk"),
    ]
    assert len(first.relations) == 2
    assert (second.id, second.entities) == ("8", ())


def test_brat_and_bioc(planted_run: Path, tmp_path: Path) -> None:
    predict(planted_run, [TEXT], tmp_path / "x.ann", tasks=["mentions", "links"])
    predict(planted_run, [TEXT, "fever"], tmp_path / "many.ann", tasks=["mentions"])
    predict(planted_run, [TEXT], tmp_path / "x.xml", tasks=["mentions", "links", "kind"])
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == TEXT
    rows = list(Brat("", files={"test": str(tmp_path / "many.ann")}).read("test"))
    assert [len(row.entities) for row in rows] == [3, 1]
    assert (tmp_path / "x.ann").read_text(encoding="utf-8").count("\nR") == 2
    predict(planted_run, [TEXT], tmp_path / "y.ann", tasks=["mentions", "links", "asserted"])
    lines = (tmp_path / "y.ann").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line[0] == "A"] == ["A1\tassertion T2 absent", "A2\tassertion T3 absent"]
    root = ElementTree.parse(tmp_path / "x.xml").getroot()
    assert len(root.findall("document/passage/annotation")) == 3
    assert root.findtext("document/infon[@key='kind']") in ("yes", "no")


def test_the_long_form_of_a_table(planted_run: Path, tmp_path: Path) -> None:
    predict(planted_run, [{"text": TEXT, "site": "A"}, "none"], tmp_path / "x.csv", tasks=["mentions"], long=True)
    rows = table(tmp_path / "x.csv")
    assert [(row["id"], row["site"], row["text"]) for row in rows] == [
        ("row-1", "A", "aspirin"),
        ("row-1", "A", "fever"),
        ("row-1", "A", "risk"),
    ]


def test_attributes_are_refused_by_a_format_that_has_none(planted_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        predict(planted_run, [TEXT], tmp_path / "x.PubTator", tasks=["mentions", "asserted"])
    assert caught.value.problems[0].key == "--output"
    assert caught.value.problems[0].suggestion.startswith("Add --task mentions,")


@pytest.mark.parametrize("name", ["x.PubTator", "x.ann"])
def test_labels_are_refused_by_formats_that_have_none(planted_run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        predict(planted_run, [TEXT], tmp_path / name, tasks=["mentions", "kind"])
    assert caught.value.problems[0].key == "--output"
    assert "--task mentions" in caught.value.problems[0].suggestion
