from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.drafting.columns import label_type, roles

NOTES = [
    "No fever since Tuesday.",
    "Rash on the left arm.",
    "Discharged in good condition.",
    "Seen by the nurse at noon.",
]


def table(**columns: list[object]) -> dict[str, list[object]]:
    return {name: list(cells) for name, cells in columns.items()}


def test_usual_names_decide() -> None:
    found = roles(table(comment=NOTES[::-1], text=NOTES, id=["1", "2", "3", "4"], label=["a", "b", "a", "b"]))
    assert (found.text, found.id, found.label, found.text_pair) == ("text", "id", "label", None)


def test_values_decide_where_names_say_nothing() -> None:
    found = roles(table(c1=["7", "8", "9", "10"], c2=["yes", "no", "yes", "no"], c3=NOTES, c4=["x1", "x1", "x2", "x2"]))
    assert (found.text, found.label) == ("c3", "c4")


@pytest.mark.parametrize(
    ("first", "second"),
    [("sentence1", "sentence2"), ("question", "answer"), ("premise", "hypothesis"), ("a", "a_pair")],
)
def test_a_second_text_makes_a_pair_in_the_order_of_the_file(first: str, second: str) -> None:
    found = roles({first: NOTES, second: NOTES[::-1], "score": ["1.5", "2", "0", "3.5"]})
    assert (found.text, found.text_pair, found.label, found.label_type) == (first, second, "score", "number")


def test_two_notes_about_the_same_thing_are_no_pair() -> None:
    assert roles({"note": NOTES, "plan": NOTES[::-1], "label": ["a", "b", "a", "b"]}).text_pair is None


def test_patients_are_documents() -> None:
    assert roles({"patient_id": ["p1", "p1", "p2", "p2"], "note": NOTES, "sick": list("yyny")}).document == "patient_id"


def test_every_other_column_of_few_values_or_repeated_numbers_is_a_label_too() -> None:
    found = roles(
        table(
            text=NOTES,
            triage=["now", "later", "now", "later"],
            pain=["1.5", "7", "1.5", "3.25"],
            topics=[["a"], ["a", "b"], [], ["b"]],
            severity=["high", "low", "low", "low"],
        )
    )
    assert (found.label, found.other_labels) == ("severity", ("triage", "pain", "topics"))


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("site", ["A", "B", "A", "B"]),
        ("Age", ["71", "65", "71", "65"]),
        ("seen", ["2026-01-03", "2026-01-04", "2026-01-03", "2026-01-04"]),
        ("visit_nr", ["1", "1", "2", "2"]),
        ("snomed_id_1", ["7", "7", "8", "9"]),
        ("constant", ["A", "A", "A", "A"]),
        ("flag", [True, False, True, False]),
        ("remark", ["none", "some", "a bit", "much"]),
    ],
)
def test_columns_of_groups_dates_numbers_and_free_words_are_no_other_labels(name: str, cells: list[object]) -> None:
    assert roles(table(text=NOTES, **{name: cells}, label=["a", "b", "b", "b"])).other_labels == ()


def test_a_group_is_the_label_if_nothing_else_is() -> None:
    assert roles(table(text=NOTES, site=["A", "B", "A", "B"])).label == "site"


def test_without_a_text_there_are_no_roles() -> None:
    assert roles({"a": ["1", "2"], "b": ["x", "y"]}).text is None


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["0.5", "1.0", "2"], ("number", ",")),
        ([str(number) for number in range(20)], ("number", ",")),
        (["0", "1", "1"], ("text", ",")),
        ([0, 1, 4], ("text", ",")),
        (["a|b", "b|c", "a", "c|a", "a|b"], ("list", "|")),
        (["heart, lung", "lung", "heart", "lung, skin"], ("list", ",")),
        (["yes", "no"], ("text", ",")),
        ([["a"], []], ("list", ",")),
    ],
)
def test_types_of_labels(cells: list[object], kind: tuple[str, str]) -> None:
    assert label_type(cells) == kind


@given(st.data())
def test_any_table_has_roles_that_are_columns_of_it(data: st.DataObject) -> None:
    cell = st.one_of(st.none(), st.text(max_size=30), st.sampled_from(NOTES), st.integers(0, 5).map(str))
    names = data.draw(st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=1, max_size=5))
    columns = {name: data.draw(st.lists(cell, min_size=1, max_size=8)) for name in names}
    found = roles(columns)
    named = [getattr(found, field) for field in ("text", "text_pair", "label", "id", "document")]
    named += found.other_labels
    used = [name for name in named if name is not None]
    assert set(used) <= set(names)
    assert len(set(used)) == len(used)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [(str(number), NOTES[number % 4] + f" {number}", "ab"[number % 2]) for number in range(40)]
    expected = None
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        found = roles({name: [row[index] for row in rows] for index, name in enumerate(("k", "t", "l"))})
        expected = expected or found
        assert found == expected
