from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heads.rows import Entity, Relation, Row, SpanRow, TextRow, row_to_dict
from mtl.problems import InputError
from mtl.readers.jsonl import Jsonl

SPAN_ROW = SpanRow(
    "1",
    "d",
    "Low fever and rash.",
    words=((0, 3), (4, 9)),
    sentences=((0, 19),),
    entities=(Entity("T1", "Finding", ((0, 3), (14, 18)), ("C1", "C2")), Entity("T2", "Finding", ((4, 9),))),
    relations=(Relation("T1", "T2", "with"), Relation("C1", "T2", None)),
    annotated=("Finding", "with"),
    meta={"site": "a"},
)

INSIDE = "spans must lie inside the text and hold a character; found "


def read(folder: Path, *lines: Any, **options: Any) -> list[Row]:
    file = folder / "train.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return list(Jsonl(str(folder), **options).read("train"))


def problem(folder: Path, *lines: Any, **options: Any) -> str:
    """The only problem of some lines."""
    with pytest.raises(InputError) as raised:
        read(folder, *lines, **options)
    (found,) = raised.value.problems
    return f"{Path(found.key).name}: {found.message}"


def span_row(**fields: Any) -> dict[str, Any]:
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 7]]}
    return {"text": "Aspirin helps.", "entities": [entity]} | fields


def entity(**fields: Any) -> dict[str, Any]:
    return span_row(entities=[{"id": "T1", "type": "Drug", "spans": [[0, 7]]} | fields])


@pytest.mark.parametrize(
    "row",
    [
        TextRow("1", "d", "a", "b", "yes", {"year": "2019"}),
        TextRow("1", "d", "a", label=("x", "y")),
        TextRow("1", "d", "a", label=()),
        TextRow("1", "d", "a", label=2.5),
        TextRow("1", "d", "a"),
        SpanRow("1", "d", "a"),
        SPAN_ROW,
    ],
)
def test_what_row_to_dict_wrote_is_read_back(row: Row, tmp_path: Path) -> None:
    assert read(tmp_path, row_to_dict(row)) == [row]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1), cut=st.integers(0, 100), ascii_only=st.booleans())
def test_any_unicode_text_keeps_its_offsets(text: str, cut: int, ascii_only: bool, tmp_path: Path) -> None:
    start = min(cut, len(text) - 1)
    row = SpanRow("1", "1", text, entities=(Entity("T1", "X", ((start, len(text)),)),))
    line = row_to_dict(row)
    line["entities"][0]["text"] = text[start:]
    assert read(tmp_path, json.dumps(line, ensure_ascii=ascii_only)) == [row]


def test_renamed_keys_become_the_fields(tmp_path: Path) -> None:
    columns = {"text": "sentence", "label": "gold"}
    rows = read(tmp_path, {"sentence": "a", "gold": "no"}, "", {"sentence": "b", "gold": "yes"}, columns=columns)
    assert rows == [TextRow("train-1", "train-1", "a", label="no"), TextRow("train-3", "train-3", "b", label="yes")]


def test_a_renamed_field_is_no_longer_read_from_its_own_name(tmp_path: Path) -> None:
    assert "found 'label'" in problem(tmp_path, {"text": "a", "label": "x", "gold": "y"}, columns={"label": "gold"})


def test_columns_may_only_name_fields(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"columns\.lable.*Did you mean 'label'"):
        Jsonl(str(tmp_path), columns={"lable": "gold"})


def test_the_document_is_the_id_by_default(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"id": 7, "text": "a"})
    assert (row.id, row.document) == ("7", "7")


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("1", "1"),
        (1, 1.0),
        (0.25, 0.25),
        (["a", "b"], ("a", "b")),
        (None, None),
    ],
)
def test_a_label_is_what_json_says(written: Any, label: Any, tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"text": "a", "label": written})
    assert isinstance(row, TextRow)
    assert row.label == label
    assert type(row.label) is type(label)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "label": true}', "label must be quoted where it looks like a boolean; found a boolean"),
        ('{"text": "a", "label": NaN}', "label must be a finite number; found nan"),
        ('{"text": "a", "label": -Infinity}', "label must be a finite number; found -inf"),
        ('{"text": "a", "label": {"x": 1}}', "label must be a text that isn't empty; found an object"),
        ('{"text": "a", "label": ["x", 1]}', "label must be a text that isn't empty; found a whole number"),
        ('{"text": "a"', "A line must be one JSON object; found Expecting ',' delimiter at character 12"),
        ('["a"]', "A line must be one JSON object; found a list of 1"),
        ("9" * 5000, "A line must be one JSON object; found ValueError"),
        ("[" * 200_000, "A line must be one JSON object; found RecursionError"),
        ('{"label": "x"}', "text must be a text that isn't empty; found nothing"),
        ('{"text": ""}', "text must be a text that isn't empty; found a text of 0 characters"),
        ('{"text": "a\\ud800"}', "text must be valid Unicode; found half a surrogate pair at 1"),
        ('{"text": "a", "id": 1.5}', "id must be a text that isn't empty; found a number"),
        ('{"text": "a", "meta": "x"}', "meta must be an object; found a text of 1 characters"),
        ('{"text": "a", "words": [[0, 1]]}', "A row with words must have entities, if only []; found no key entities"),
    ],
)
def test_a_malformed_line_is_named_with_its_rule(line: str, message: str, tmp_path: Path) -> None:
    assert problem(tmp_path, '{"text": "fine"}', line) == f"train.jsonl:2: {message}."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            entity(spans=[[0, 15]]),
            INSIDE + "[0, 15] in 14 characters",
        ),
        (
            entity(spans=[[-1, 3]]),
            INSIDE + "[-1, 3] in 14 characters",
        ),
        (entity(spans=[[3, 3]]), INSIDE + "[3, 3] in 14 characters"),
        (entity(spans=[[0, 2.0]]), "spans must be pairs of whole numbers; found a list of 2"),
        (entity(spans=[[0, True]]), "spans must be pairs of whole numbers; found a list of 2"),
        (entity(spans=[0, 7]), "spans must be pairs of whole numbers; found a whole number"),
        (entity(spans=[[8, 13], [0, 7]]), "spans must be in text order without overlap; found [8, 13], [0, 7]"),
        (entity(spans=[[0, 5], [4, 7]]), "spans must be in text order without overlap; found [0, 5], [4, 7]"),
        (entity(spans=[]), "An entity must have at least one span; found none"),
        (entity(text="aspirin"), "The text of an entity must be the row's text at its offsets; found another text at "),
        (entity(concept="C1"), "An entity must have no keys but id, type, spans, concepts, text; found concept"),
        (span_row(entities=[{"id": "T1"}]), "An entity must have id, type, spans; found no type, spans"),
        (span_row(words=[[0, 7], [6, 9]]), "words must be in text order without overlap; found [0, 7], [6, 9]"),
        (span_row(sentences=[[0, 99]]), "sentences must lie inside the text"),
        (span_row(label="x"), "A row must have a label or entities (put the other one under ignore); found both"),
        (span_row(relations=[{"head": "T1", "tail": "T2", "type": "r"}]), "A relation's tail must be an entity or"),
        (span_row(relations=[{"head": "T1"}]), "A relation must have head, tail; found no tail"),
        (
            span_row(entities=[{"id": "T1", "type": "A", "spans": [[0, 2]]}] * 2),
            "The ids of a row's entities must be unique; found 1 used again",
        ),
    ],
)
def test_a_malformed_annotation_is_named_with_its_rule(line: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert problem(tmp_path, line).startswith(f"train.jsonl:1: {message}")


def test_no_message_holds_text_of_the_row(tmp_path: Path) -> None:
    secret = "Zaphod"
    lines = [
        entity(text=secret),
        {"text": secret, "label": True},
        f'{{"text": "{secret}",',
        {"text": [secret]},
        span_row(text=secret),
    ]
    with pytest.raises(InputError) as raised:
        read(tmp_path, *lines)
    assert len(raised.value.problems) == len(lines)
    assert secret not in str(raised.value)


def test_the_text_of_a_discontinuous_entity_is_its_parts_with_a_space_between(tmp_path: Path) -> None:
    line = {"text": "left and right lung", "entities": []}
    parts = {"id": "T1", "type": "Site", "spans": [[0, 4], [15, 19]]}
    (row,) = read(tmp_path, line | {"entities": [parts | {"text": "left lung"}]})
    assert isinstance(row, SpanRow)
    assert row.entities[0].spans == ((0, 4), (15, 19))
    assert "at its offsets" in problem(tmp_path, line | {"entities": [parts | {"text": "leftlung"}]})


def test_a_relation_may_join_concepts(tmp_path: Path) -> None:
    line = entity(concepts=["C1", "C2"]) | {"relations": [{"head": "C1", "tail": "C2"}]}
    (row,) = read(tmp_path, line)
    assert isinstance(row, SpanRow)
    assert row.relations == (Relation("C1", "C2", None),)


def test_an_unknown_key_is_malformed_unless_it_is_named(tmp_path: Path) -> None:
    line = {"text": "a", "year": 2019, "note": {"x": 1}}
    assert "found 'note', 'year'" in problem(tmp_path, line)
    (row,) = read(tmp_path, line, meta=["year"], ignore=["note"])
    assert row.meta == {"year": "2019"}


def test_a_null_is_as_good_as_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, {"text": "a", "id": None, "text_pair": None, "entities": None, "meta": None}) == [
        TextRow("train-1", "train-1", "a")
    ]


def test_one_file_feeds_a_text_task_and_a_span_task_by_what_they_ignore(tmp_path: Path) -> None:
    line = span_row(label="yes")
    assert isinstance(read(tmp_path, line, ignore=["entities"])[0], TextRow)
    assert isinstance(read(tmp_path, line, ignore=["label"])[0], SpanRow)


def test_meta_is_text_and_the_files_own_meta_wins(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path, {"text": "a", "site": "x", "meta": {"year": 2019, "site": "y", "none": None}}, meta=["site"]
    )
    assert row.meta == {"site": "y", "year": "2019"}


@pytest.mark.slow
def test_chemprot_lines_give_the_documented_counts(data_folder: Path) -> None:
    files = {"train": "train.txt", "dev": "dev.txt", "test": "test.txt"}
    reader = Jsonl(str(data_folder / "chemprot" / "scibert"), files=files, ignore=["metadata"])
    assert [sum(1 for _ in reader.read(split)) for split in files] == [4169, 2427, 3469]
