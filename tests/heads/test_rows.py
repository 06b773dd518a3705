"""The two row types and their JSON format."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.rows import Entity, Relation, Row, SpanRow, TextRow, row_from_dict, row_to_dict

names = st.text(max_size=8)
metas = st.dictionaries(names, names, max_size=2)
numbers = st.floats(allow_nan=False, allow_infinity=False)
spans = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=3).map(tuple)
text_rows = st.builds(
    TextRow,
    id=names,
    document=names,
    text=names,
    text_pair=st.none() | names,
    label=st.none() | names | numbers | st.lists(names, max_size=3).map(tuple),
    meta=metas,
)
span_rows = st.builds(
    SpanRow,
    id=names,
    document=names,
    text=names,
    text_pair=st.none() | names,
    words=st.none() | spans,
    sentences=st.none() | spans,
    entities=st.lists(
        st.builds(
            Entity,
            id=names,
            type=names,
            spans=spans,
            concepts=st.lists(names, max_size=2).map(tuple),
            attributes=metas,
        ),
        max_size=2,
    ).map(tuple),
    relations=st.lists(st.builds(Relation, head=names, tail=names, type=st.none() | names), max_size=2).map(tuple),
    annotated=st.none() | st.lists(names, max_size=2).map(tuple),
    meta=metas,
)


@given(text_rows | span_rows)
def test_a_row_is_the_same_after_writing_and_reading_json(row: Row) -> None:
    back = row_from_dict(json.loads(json.dumps(row_to_dict(row))))
    assert back == row
    assert type(back) is type(row)


def test_not_annotated_differs_from_annotated_with_nothing() -> None:
    unknown, nothing = TextRow("1", "d", "a"), TextRow("1", "d", "a", label=())
    assert row_to_dict(unknown) == {"id": "1", "document": "d", "text": "a"}
    assert row_from_dict(row_to_dict(nothing)).label == ()  # type: ignore[union-attr]
    everything, none = SpanRow("1", "d", "a"), SpanRow("1", "d", "a", annotated=())
    assert row_from_dict(row_to_dict(everything)).annotated is None  # type: ignore[union-attr]
    assert row_from_dict(row_to_dict(none)).annotated == ()  # type: ignore[union-attr]


def test_a_discontinuous_mention_and_an_untyped_relation_by_hand() -> None:
    row = SpanRow(
        "1",
        "d",
        "left and right pain",
        entities=(Entity("T1", "Sign", ((0, 4), (15, 19)), ("D1", "D2")),),
        relations=(Relation("D1", "D2", None),),
        sentences=((0, 19),),
    )
    assert row_to_dict(row) == {
        "id": "1",
        "document": "d",
        "text": "left and right pain",
        "entities": [{"id": "T1", "type": "Sign", "spans": [[0, 4], [15, 19]], "concepts": ["D1", "D2"]}],
        "relations": [{"head": "D1", "tail": "D2", "type": None}],
        "sentences": [[0, 19]],
    }


def test_only_entities_with_attributes_have_them_in_json_so_that_others_keep_their_fingerprints() -> None:
    absent = Entity("T1", "Problem", ((0, 4),), attributes={"assertion": "absent"})
    row = SpanRow("1", "d", "pain", entities=(absent, Entity("T2", "Problem", ((0, 4),))))
    assert row_to_dict(row)["entities"] == [
        {"id": "T1", "type": "Problem", "spans": [[0, 4]], "attributes": {"assertion": "absent"}},
        {"id": "T2", "type": "Problem", "spans": [[0, 4]]},
    ]


@pytest.mark.parametrize("missing", ["id", "document", "text"])
def test_a_row_must_have_id_document_and_text(missing: str) -> None:
    fields = {"id": "1", "document": "d", "text": "a"}
    del fields[missing]
    with pytest.raises(KeyError, match=missing):
        row_from_dict(fields)


@pytest.mark.parametrize("more", [{"lable": "yes"}, {"entities": [], "label": "yes"}])
def test_an_unknown_key_is_rejected(more: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"lable|label"):
        row_from_dict({"id": "1", "document": "d", "text": "a", **more})


def test_reading_does_not_change_the_dictionary() -> None:
    fields = row_to_dict(SpanRow("1", "d", "a", words=((0, 1),), annotated=("Drug",)))
    before = json.dumps(fields)
    row_from_dict(fields)
    assert json.dumps(fields) == before


def test_rows_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TextRow("1", "d", "a").text = "b"  # type: ignore[misc]
