"""Inputs as people have them, without a run: encodings, layouts of tables, repeated ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.config.mixture import TaskSpec
from mtl.prediction.input_options import InputOptions
from mtl.prediction.inputs import open_input
from mtl.problems import InputError


def task(**data: Any) -> TaskSpec:
    return TaskSpec.model_validate({"head": "classification", "data": {"reader": "table", "path": "x", **data}})


def read(path: Path, *tasks: TaskSpec, **options: Any) -> tuple[list[Any], list[str]]:
    """The rows, and the rules that the others break."""
    rows, bad = open_input(path, tasks, InputOptions(**options)).read()
    return list(rows), [one.rule for one in bad]


FRENCH = "text;id\nfièvre;7\n"


@pytest.mark.parametrize(("name", "content"), [("notes.csv", FRENCH), ("notes.txt", "fièvre\n"), ("n.jsonl", "è\n")])
def test_an_error_about_the_encoding_names_the_option_of_the_command(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode("cp1252"))
    (rule,) = read(tmp_path / name)[1]
    assert "--encoding cp1252" in rule
    assert "encoding:" not in rule


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_encoding_of_the_run_is_taken_only_where_it_fits(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "notes.csv").write_bytes(FRENCH.encode(encoding))
    source = open_input(tmp_path / "notes.csv", [task(), task(encoding="cp1252")])
    assert [one.row.text for one in source.read()[0]] == ["fièvre"]
    assert sum("cp1252" in note for note in source.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "own", [{}, {"delimiter": ";"}, {"header": False, "columns": {"text": "0"}}, {"delimiter": ";", "quoting": False}]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_is_read_whatever_tables_the_run_has(tmp_path: Path, own: dict[str, Any], delimiter: str) -> None:
    (tmp_path / "NOTES.CSV").write_text(f"id{delimiter}text\n7{delimiter}high fever\n", encoding="utf-8")
    rows, bad = read(tmp_path / "NOTES.CSV", task(**own))
    assert ([(one.row.id, one.row.text) for one in rows], bad) == ([("7", "high fever")], [])


def test_carried_columns_of_one_name_are_an_error_unless_they_have_none(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("text,x,,x,\nhigh fever,1,2,3,4\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "notes.csv")
    assert "'x'" in str(caught.value.problems[0])
    (tmp_path / "blank.csv").write_text("text,x,,\nhigh fever,1,2,3\n", encoding="utf-8")
    assert len(read(tmp_path / "blank.csv")[0]) == 1


def test_the_user_says_how_a_table_is_written(tmp_path: Path) -> None:
    (tmp_path / "notes.tsv").write_text('text\tid\n"high\tfever"\t7\n', encoding="utf-8")
    assert len(read(tmp_path / "notes.tsv")[1]) == 1
    assert [one.row.text for one in read(tmp_path / "notes.tsv", quoting=True)[0]] == ["high\tfever"]
    (tmp_path / "notes.csv").write_text('text~id\n"fever" high~7\n', encoding="utf-8")
    (rule,) = read(tmp_path / "notes.csv", delimiter="~")[1]
    assert "--no-quoting" in rule
    assert [one.row.text for one in read(tmp_path / "notes.csv", delimiter="~", quoting=False)[0]] == ['"fever" high']


def test_a_table_without_a_header_is_read_like_those_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("yes,high fever\nno,no fever\n", encoding="utf-8")
    source = open_input(tmp_path / "notes.csv", [task(header=False, columns={"text": "1", "label": "0"})])
    assert [one.row.text for one in source.read()[0]] == ["high fever", "no fever"]
    assert len(source.notes) == 1
    with pytest.raises(InputError):
        read(tmp_path / "notes.csv", task())


def test_titles_keep_their_length_in_another_encoding_and_with_repeated_documents(tmp_path: Path) -> None:
    content = "7|t|Fièvre\n7|a|high.\n\n7|t|Other\n7|a|text.\n\n"
    (tmp_path / "in.PubTator").write_bytes(content.encode("cp1252"))
    rows, bad = read(tmp_path / "in.PubTator", encoding="cp1252")
    assert [(one.row.id, one.row.document, one.title_end) for one in rows] == [("7", "7", 6), ("7-2", "7", 5)]
    assert bad == []


@given(st.lists(st.sampled_from(["7", "7-2", "7-2-2", "8"])))
def test_ids_become_unique_and_begin_with_what_they_were(ids: list[str]) -> None:
    rows, bad = open_input([{"id": name, "text": "a"} for name in ids], []).read()
    found = list(rows)
    assert len({one.row.id for one in found}) == len(ids)
    assert all(one.row.id.startswith(name) for one, name in zip(found, ids, strict=True))
    assert [one.has_number for one in found] == [one.row.id != name for one, name in zip(found, ids, strict=True)]
    assert bad == []


def test_a_bioc_file_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    passage = "<passage><offset>0</offset><text>Fièvre.</text></passage>"
    xml = (
        f'<?xml version="1.0" encoding="ISO-8859-1"?><collection><document><id>7</id>{passage}</document></collection>'
    )
    (tmp_path / "in.xml").write_bytes(xml.encode("latin-1"))
    rows, bad = read(tmp_path / "in.xml")
    assert ([one.row.text for one in rows], bad) == (["Fièvre."], [])


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("x.txt", {"delimiter": ";"}, "--delimiter"),
        ("x.csv", {"encoding": "utf-16"}, "--encoding"),
        ("x.parquet", {"encoding": "cp1252"}, "--encoding"),
        ("x.csv", {"offsets": "trust"}, "--offsets"),
    ],
)
def test_an_option_that_does_not_fit_the_input_is_an_error(
    tmp_path: Path, name: str, options: dict[str, Any], key: str
) -> None:
    (tmp_path / name).write_text("text\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        open_input(tmp_path / name, [], InputOptions(**options))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_header_that_cannot_be_read_names_options_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("text,fièvre\na,b\n".encode("cp1252"))
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.csv")
    assert "--encoding cp1252" in str(caught.value)
    (tmp_path / "x.csv").write_text("note;text\na;b\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.csv", delimiter=",")
    assert caught.value.problems[0].key == "--delimiter"
    assert '--delimiter ";"' in caught.value.problems[0].suggestion


def test_relations_of_the_input_are_not_read_whatever_they_say(tmp_path: Path) -> None:
    relation = "7\tPositive_Correlation\tD1\tD2\tNovel\n"
    mentions = "7\t0\t7\tAspirin\tDrug\tD1\n7\t15\t20\tfever\tSign\tD2\n"
    (tmp_path / "in.PubTator").write_text(f"7|t|Aspirin\n7|a|treats fever.\n{mentions}{relation}", encoding="utf-8")
    rows, bad = open_input(tmp_path / "in.PubTator", []).read()
    (read,) = rows
    assert (bad, read.carried, read.title_end) == ([], {}, 7)


def test_bioc_gives_texts_and_mentions(tmp_path: Path) -> None:
    place = '<location offset="0" length="7"/><text>Aspirin</text>'
    annotation = f'<annotation id="1"><infon key="type">Drug</infon>{place}</annotation>'
    passage = f"<passage><offset>0</offset><text>Aspirin treats fever.</text>{annotation}</passage>"
    xml = f"<collection><document><id>7</id>{passage}</document></collection>"
    (tmp_path / "in.xml").write_text(xml, encoding="utf-8")
    rows, bad = open_input(tmp_path / "in.xml", []).read()
    (read,) = rows
    assert (bad, read.row.id, read.row.text, read.carried) == ([], "7", "Aspirin treats fever.", {})
