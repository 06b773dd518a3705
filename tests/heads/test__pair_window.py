"""The tokens of a marked text that fit into the maximum length."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._marking import Marked, Place, markers
from heads._pair_window import Window, fit, read_tokens, token_span

FILLER = " of the cell in a patient"


def read(tokenizer: Any, marked: Marked, max_length: int, *, starts: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The fields of a text, and its tokens."""
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["[E1]", "[/E1]", "[E2]", "[/E2]"], special_tokens=True)
    fields = read_tokens(own([marked.text], return_offsets_mapping=True), 0, marked, max_length, starts=starts)
    return fields, own.convert_ids_to_tokens(fields["input_ids"])


def far_apart(distance: int) -> Marked:
    text = "aspirin" + FILLER * distance + " fever"
    return markers(text, [((0, 7),)], [((len(text) - 5, len(text)),)])


def test_a_window_is_centred_on_head_and_tail() -> None:
    assert fit([(10, 11)], [(14, 15)], length=40, size=11) == Window(list(range(7, 18)), True)


@pytest.mark.parametrize(("head", "tail", "kept"), [((0, 1), (2, 3), range(8)), ((38, 39), (36, 37), range(32, 40))])
def test_a_window_stays_inside_the_text(head: tuple[int, int], tail: tuple[int, int], kept: range) -> None:
    assert fit([head], [tail], length=40, size=8) == Window(list(kept), True)


def test_a_text_that_fits_is_kept_whole() -> None:
    assert fit([(0, 1)], [(3, 4)], length=5, size=5) == Window([0, 1, 2, 3, 4], False)


def test_of_many_mentions_the_nearest_pair_is_kept() -> None:
    window = fit([(0, 1), (50, 52)], [(20, 21), (54, 55)], length=80, size=9)
    assert window.kept == list(range(48, 57))


def test_without_head_and_tail_the_beginning_of_the_text_is_kept() -> None:
    assert fit([], [], length=9, size=4) == Window([0, 1, 2, 3], True)


SPAN = st.integers(0, 59).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, min(60, start + 12))))


@given(SPAN, SPAN, st.integers(2, 70))
def test_a_window_fits_and_always_contains_the_start_of_head_and_tail(
    head: tuple[int, int], tail: tuple[int, int], size: int
) -> None:
    kept, truncated = fit([head], [tail], length=60, size=size)
    assert kept == sorted(set(kept))
    assert len(kept) <= size
    assert truncated == (size < 60)
    assert {head[0], tail[0]} <= set(kept)
    assert set(kept) <= set(range(60))
    if max(head[1], tail[1]) - min(head[0], tail[0]) <= size:
        assert {*range(*head), *range(*tail)} <= set(kept)
        assert len(kept) == min(size, 60)


def test_tokens_of_a_position_are_those_that_overlap_it() -> None:
    offsets = [(0, 3), (4, 6), (6, 9), (10, 12)]
    assert token_span(Place(4, 4, 9), offsets) == (1, 3)
    assert token_span(Place(5, 5, 7), offsets) == (1, 3)
    assert token_span(Place(3, 3, 4), offsets) == (1, 1)
    assert token_span(Place(0, 4, 9), offsets, opening=True) == (0, 3)


def test_the_tokens_of_head_and_tail_are_found(tokenizer: Any) -> None:
    fields, tokens = read(tokenizer, markers("no aspirin in xyz fever", [((3, 10),)], [((14, 23),)]), 40)
    assert [tokens[i] for i in fields["head_tokens"]] == ["aspirin"]
    assert [tokens[i] for i in fields["tail_tokens"]] == ["x", "##y", "##z", "fever"]
    assert fields["truncated"] is False


def test_a_marked_mention_starts_at_its_marker(tokenizer: Any) -> None:
    fields, tokens = read(tokenizer, markers("no aspirin in fever", [((14, 19),)], [((3, 10),)]), 40, starts=True)
    assert [tokens[i] for i in fields["head_tokens"]] == ["[E1]"]
    assert [tokens[i] for i in fields["tail_tokens"]] == ["[E2]"]


def test_if_head_and_tail_are_too_far_apart_the_text_between_them_is_dropped(tokenizer: Any) -> None:
    fields, tokens = read(tokenizer, far_apart(9), 12)
    assert tokens == [
        "[CLS]",
        "[E1]",
        "aspirin",
        "[/E1]",
        "of",
        "the",
        "a",
        "patient",
        "[E2]",
        "fever",
        "[/E2]",
        "[SEP]",
    ]
    assert [tokens[i] for i in fields["head_tokens"]] == ["aspirin"]
    assert [tokens[i] for i in fields["tail_tokens"]] == ["fever"]
    assert fields["truncated"] is True
    assert len(fields["token_type_ids"]) == len(tokens)


@pytest.mark.parametrize("max_length", [3, 4, 5, 9, 48])
def test_a_text_is_never_longer_than_the_maximum(tokenizer: Any, max_length: int) -> None:
    fields, tokens = read(tokenizer, far_apart(20), max_length)
    assert len(tokens) == max_length
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    assert fields["truncated"] is True


def test_a_mention_that_was_cut_off_has_no_tokens(tokenizer: Any) -> None:
    fields, _ = read(tokenizer, far_apart(20), 3)
    assert [] in (fields["head_tokens"], fields["tail_tokens"])


def test_an_empty_text_has_its_special_tokens(tokenizer: Any) -> None:
    fields, tokens = read(tokenizer, Marked("", (), ()), 8)
    assert tokens == ["[CLS]", "[SEP]"]
    assert (fields["head_tokens"], fields["tail_tokens"], fields["truncated"]) == ([], [], False)
