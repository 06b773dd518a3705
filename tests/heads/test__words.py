"""The words of a row, and the words that mentions cover."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads import SpanRow
from heads._tags import TypedSpan
from heads._words import flat, overlapped, typed_words, words_of, words_problem


@given(st.text(max_size=30))
def test_words_are_in_order_and_contain_every_visible_character_once(text: str) -> None:
    row = SpanRow("1", "d", text)
    words = words_of(row)
    assert words_problem(SpanRow("1", "d", text, words=tuple(words))) is None
    inside = [index for start, end in words for index in range(start, end)]
    assert len(set(inside)) == len(inside)
    visible = {index for index, one in enumerate(text) if unicodedata.category(one)[0] in "LNPS" and one != "\ufffd"}
    assert visible <= set(inside)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Me\u0301nie\u0300re disease", ["Me\u0301nie\u0300re", "disease"]),
        ("hyper\u00adtension\u00ad.", ["hyper\u00adtension", "."]),
        ("\u200basthma\u200bnoted", ["asthma", "noted"]),
        ("\ufeffna\ufffdve \ufffd", ["na\ufffdve"]),
        ("\u092e\u0927\u0941\u092e\u0947\u0939 \u0939\u0948", ["\u092e\u0927\u0941\u092e\u0947\u0939", "\u0939\u0948"]),
        ("a\x00b \u2764\ufe0f", ["a\x00b", "\u2764\ufe0f"]),
    ],
)
def test_a_word_keeps_its_accents_and_what_is_invisible_inside_it(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(SpanRow("1", "d", text))] == words


def test_many_invisible_characters_take_linear_time() -> None:
    assert words_of(SpanRow("1", "d", "a" + "\u00ad" * 500_000 + " b")) == [(0, 1), (500_002, 500_003)]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=4), st.lists(st.integers(1, 3), max_size=6))
def test_a_target_overlaps_the_spans_that_share_a_character_with_it(
    drawn: list[tuple[int, int]], lengths: list[int]
) -> None:
    targets = [(start, start + size) for start, size in drawn]
    spans = [(sum(lengths[:i]) + i // 2, sum(lengths[: i + 1]) + i // 2) for i in range(len(lengths))]
    expected = [
        [i for i, (start, end) in enumerate(spans) if start < target[1] and target[0] < end] for target in targets
    ]
    assert [list(own) for own in overlapped(targets, spans)] == expected


def test_of_mentions_that_share_a_word_the_longest_is_kept() -> None:
    words = [(0, 3), (4, 7), (8, 11)]
    mentions = [TypedSpan(0, 7, "A"), TypedSpan(4, 12, "B"), TypedSpan(0, 3, "C"), TypedSpan(3, 4, "D")]
    assert flat(mentions, words) == [(1, 3, "B"), (0, 1, "C")]


def test_words_are_grouped_by_type() -> None:
    words = [(0, 3), (4, 7), (8, 11)]
    found = typed_words([TypedSpan(0, 5, "A"), TypedSpan(8, 9, "A"), TypedSpan(3, 4, "B")], words)
    assert found == {"A": {0, 1, 2}, "B": set()}
