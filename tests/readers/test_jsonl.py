from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from heads.rows import Entity, Relation, Row, SpanRow, TextRow, WordProbabilities, row_to_dict
from mtl.problems import InputError, Problem
from mtl.readers._mentions import TRIMMED, TRUSTED
from mtl.readers.jsonl import Jsonl
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

SPAN_ROW = SpanRow(
    "1",
    "d",
    "Low fever and rash.",
    words=((0, 3), (4, 9)),
    sentences=((0, 19),),
    entities=(
        Entity("T1", "Finding", ((0, 3), (14, 18)), ("C1", "C2")),
        Entity("T2", "Finding", ((4, 9),), attributes={"assertion": "absent"}),
    ),
    relations=(Relation("T1", "T2", "with"), Relation("C1", "T2", None)),
    annotated=("Finding", "with"),
    meta={"site": "a"},
    probabilities=(WordProbabilities(4, 9, {"B-Finding": 0.75, "O": 0.25}),),
)


def read(folder: Path, *lines: Any, **options: Any) -> list[Row]:
    file = folder / "train.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return list(Jsonl(str(folder), **options).read("train"))


def problem(folder: Path, *lines: Any, **options: Any) -> Problem:
    """The only problem of some lines."""
    with pytest.raises(InputError) as raised:
        read(folder, *lines, **options)
    (found,) = raised.value.problems
    return found


def span_row(**fields: Any) -> dict[str, Any]:
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 7]]}
    return {"text": "Aspirin 𝛼: Zaphod.", "entities": [entity]} | fields


def entity(**fields: Any) -> dict[str, Any]:
    return span_row(entities=[{"id": "T1", "type": "Drug", "spans": [[0, 7]]} | fields])


MALFORMED_LINES = [
    '{"text": "Zaphod", "label": true}',
    '{"text": "Zaphod", "label": NaN}',
    '{"text": "Zaphod", "label": -Infinity}',
    '{"text": "Zaphod", "label": {"x": 1}}',
    '{"text": "Zaphod", "label": ["x", 1.5]}',
    '{"text": "Zaphod"',
    '["Zaphod"]',
    "9" * 5000,
    "[" * 200_000,
    '{"label": "x"}',
    '{"text": ""}',
    '{"text": ["Zaphod"]}',
    '{"text": "Zaphod\\ud800"}',
    '{"text": "Zaphod", "id": 1.5}',
    '{"text": "Zaphod", "meta": "x"}',
    '{"text": "Zaphod", "words": [[0, 1]]}',
    '{"text": "Zaphod", "year": 2019}',
]
MALFORMED_ANNOTATIONS = [
    entity(spans=[[0, 99]]),
    entity(spans=[[-1, 3]]),
    entity(spans=[[3, 3]]),
    entity(spans=[[0, 2.0]]),
    entity(spans=[[0, True]]),
    entity(spans=[0, 7]),
    entity(spans=7),
    entity(spans=[[8, 13], [0, 7]]),
    entity(spans=[[0, 5], [4, 7]]),
    entity(spans=[]),
    entity(text="Zaphod"),
    entity(concept="C1"),
    entity(concepts="C1"),
    entity(attributes=["absent"]),
    entity(attributes={"assertion": 1.5}),
    entity(attributes={"negated": True}),
    entity(attributes={"": "absent"}),
    span_row(entities=["T1"]),
    span_row(entities=[{"id": "T1"}]),
    span_row(words=[[0, 7], [6, 9]]),
    span_row(sentences=[[0, 99]]),
    span_row(label="x"),
    span_row(relations=[{"head": "T1", "tail": "T2", "type": "r"}]),
    span_row(relations=[{"head": "T1"}]),
    span_row(entities=[{"id": "T1", "type": "A", "spans": [[0, 2]]}] * 2),
]


def sample(lines: list[Any], second: list[Any], **fields: Any) -> Sample:
    """Three lines, and what takes the place of the second in malformed files."""
    written = [json.dumps(line, ensure_ascii=False) for line in lines]
    wrong = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in second]
    changes = tuple(Malformed("train.jsonl", written[1], line, 2) for line in wrong)
    return Sample(Jsonl, files={"train.jsonl": "\n".join(written) + "\n"}, malformed=changes, **fields)


SAMPLES = {
    "texts": sample(
        [{"text": f"Zaphod {n}", "label": label} for n, label in enumerate(("yes", ["a", "b"], 2.5))],
        MALFORMED_LINES,
        rows=("yes", ("a", "b"), 2.5),
    ),
    "mentions": sample(
        [
            span_row(id="1"),
            entity(spans=[[0, 7], [11, 17]], text="Aspirin Zaphod") | {"words": [[0, 7]], "sentences": [[0, 18]]},
            span_row(entities=[]),
        ],
        MALFORMED_ANNOTATIONS,
        rows=(("Aspirin",), ("Aspirin Zaphod",), ()),
        row_type=SpanRow,
    ),
}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_gives_no_rows])
def test_property(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


def test_spans_lie_inside_the_text(tmp_path: Path) -> None:
    has.assert_spans_lie_inside_the_text(SAMPLES["mentions"], tmp_path)


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
    before, after = (len(row.text[start:]) - len(row.text[start:].lstrip()), len(row.text.rstrip()))
    assume(row.text[start:].strip())
    trimmed = replace(row, entities=(Entity("T1", "X", ((start + before, after),)),))
    assert read(tmp_path, json.dumps(line, ensure_ascii=ascii_only)) == [trimmed]


def test_renamed_keys_become_the_fields(tmp_path: Path) -> None:
    columns = {"text": "sentence", "label": "gold"}
    rows = read(tmp_path, {"sentence": "a", "gold": "no"}, "", {"sentence": "b", "gold": "yes"}, columns=columns)
    assert rows == [TextRow("train-1", "train-1", "a", label="no"), TextRow("train-3", "train-3", "b", label="yes")]


def test_a_renamed_field_is_no_longer_read_from_its_own_name(tmp_path: Path) -> None:
    found = problem(tmp_path, {"text": "a", "label": "x", "gold": "y"}, columns={"label": "gold"})
    assert "'label'" in found.message


def test_columns_may_only_name_fields(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Jsonl(str(tmp_path), columns={"lable": "gold"})
    (found,) = raised.value.problems
    assert (found.key, "'label'" in found.suggestion) == ("columns.lable", True)


def test_the_document_is_the_id_by_default(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"id": 7, "text": "a"})
    assert (row.id, row.document) == ("7", "7")


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("1", "1"),
        (1, "1"),
        ([0, 1], ("0", "1")),
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


def test_the_text_of_a_discontinuous_entity_is_its_parts_with_a_space_between(tmp_path: Path) -> None:
    line = {"text": "left and right lung", "entities": []}
    parts = {"id": "T1", "type": "Site", "spans": [[0, 4], [15, 19]]}
    (row,) = read(tmp_path, line | {"entities": [parts | {"text": "left lung"}]})
    assert isinstance(row, SpanRow)
    assert row.entities[0].spans == ((0, 4), (15, 19))
    assert problem(tmp_path, line | {"entities": [parts | {"text": "leftlung"}]}).key.endswith(":1")


def test_a_relation_may_join_concepts(tmp_path: Path) -> None:
    line = entity(concepts=["C1", "C2"]) | {"relations": [{"head": "C1", "tail": "C2"}]}
    (row,) = read(tmp_path, line)
    assert isinstance(row, SpanRow)
    assert row.relations == (Relation("C1", "C2", None),)


def test_an_unknown_key_is_malformed_unless_it_is_named(tmp_path: Path) -> None:
    line = {"text": "a", "year": 2019, "note": {"x": 1}}
    assert "'note', 'year'" in problem(tmp_path, line).message
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


@pytest.mark.parametrize(
    "row",
    [
        '{"text": "a", "meta": {"site": "\\udc00"}}',
        '{"text": "a", "meta": {"\\ud800": 1}}',
        '{"text": "a", "label": ["\\ud800"]}',
        '{"text": "a", "meta": {"b": ["\\ud800"]}}',
        '{"text": "a", "\\ud800": 1}',
        '{"text": "a", "label": ' + "1" * 4301 + "}",
        '{"text": "a", "meta": {"b": ' + "[" * 100_000 + "]" * 100_000 + "}}",
    ],
)
def test_halves_of_surrogate_pairs_long_numbers_and_deep_values_are_bad_rows(tmp_path: Path, row: str) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "\\ud83d\\ude00"}\n' + row + "\n")
    reader = Jsonl(str(tmp_path), on_bad_row="skip")
    assert [found.text for found in reader.read("train")] == ["😀"]
    assert [bad.line for bad in reader.bad_rows] == [2]
    str(reader.bad_rows[0]).encode()


def test_blanks_at_the_ends_of_an_entity_are_trimmed_and_counted(tmp_path: Path) -> None:
    row = {"text": "Visit: asthma noted.", "entities": [{"id": "T1", "type": "Dx", "spans": [[6, 14]]}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    reader = Jsonl(str(tmp_path))
    (found,) = reader.read("train")
    assert isinstance(found, SpanRow)
    assert (found.entities[0].spans, reader.adjusted) == (((7, 13),), {TRIMMED: 1})


def test_offsets_can_be_trusted(tmp_path: Path) -> None:
    row = {"text": "TNF-α rises", "entities": [{"id": "T1", "type": "Gene", "spans": [[0, 5]], "text": "TNF-a"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row, ensure_ascii=False))
    reader = Jsonl(str(tmp_path), offsets="trust")
    (found,) = reader.read("train")
    assert isinstance(found, SpanRow)
    assert (found.entities[0].spans, reader.adjusted) == (((0, 5),), {TRUSTED: 1})
    with pytest.raises(InputError) as raised:
        list(Jsonl(str(tmp_path)).read("train"))
    assert "offsets: trust" in raised.value.problems[0].message
