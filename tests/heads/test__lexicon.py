"""The trivial predictor of entities."""

from __future__ import annotations

import pytest

from heads import SpanRow
from heads._lexicon import AnnotatedRow, Lexicon
from heads._tags import TypedSpan

TYPES = ("Drug", "Disease")


def annotated(text: str, *gold: tuple[int, int, str], types: tuple[str, ...] = TYPES) -> AnnotatedRow:
    return AnnotatedRow(SpanRow("1", "d", text), [TypedSpan(*span) for span in gold], types)


def find(train: list[AnnotatedRow], text: str) -> list[TypedSpan]:
    return Lexicon(train).find(SpanRow("2", "d", text))


def test_the_longest_known_mention_is_found_ignoring_case_and_spacing() -> None:
    train = [
        annotated("breast cancer and cancer", (0, 13, "Disease"), (18, 24, "Disease")),
        annotated("no IL-2 drug", (3, 12, "Drug")),
    ]
    found = find(train, "Breast  Cancer, cancer: il-2 drug")
    assert found == [(0, 14, "Disease"), (16, 22, "Disease"), (24, 33, "Drug")]


def test_a_mention_has_its_most_frequent_type() -> None:
    train = [annotated("flu flu flu", (0, 3, "Disease"), (4, 7, "Drug"), (8, 11, "Drug"))]
    assert find(train, "flu") == [(0, 3, "Drug")]


@pytest.mark.parametrize(("text", "is_kept"), [("cold fever cold", True), ("cold cold cold", False)])
def test_a_mention_that_is_mostly_not_annotated_is_dropped(text: str, is_kept: bool) -> None:
    assert bool(find([annotated(text, (0, 4, "Disease"))], "cold")) == is_kept


def test_words_inside_a_longer_mention_do_not_count_as_not_annotated() -> None:
    train = [annotated("cold and cold sore , cold sore", (0, 4, "Disease"), (9, 18, "Disease"), (21, 30, "Disease"))]
    assert find(train, "cold") == [(0, 4, "Disease")]


def test_rows_not_annotated_for_a_type_do_not_count_against_it() -> None:
    train = [annotated("cold", (0, 4, "Disease")), annotated("cold cold cold", types=("Drug",))]
    assert find(train, "cold") == [(0, 4, "Disease")]


def test_no_rows_and_no_words_give_nothing() -> None:
    assert find([], "cold") == []
    assert find([annotated("cold", (0, 4, "Disease"))], "") == []
