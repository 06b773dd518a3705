"""Overlapping windows of a long text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._windows import owner, windows


@pytest.mark.parametrize(
    ("num_tokens", "size", "stride"), [(0, 5, 2), (5, 5, 2), (6, 5, 2), (50, 7, 3), (50, 7, 30), (9, 1, 4), (50, 7, 0)]
)
def test_windows_cover_every_token_and_overlap_by_the_stride(num_tokens: int, size: int, stride: int) -> None:
    parts = windows(num_tokens, size, stride)
    assert set().union(*parts) == set(range(num_tokens))
    assert all(len(window) == min(size, num_tokens) for window in parts)
    for one, following in itertools.pairwise(parts):
        assert one.start < following.start
        assert one.stop - following.start >= min(stride, size // 2)


def test_a_word_belongs_to_the_window_with_the_most_context() -> None:
    parts = [range(0, 8), range(4, 12)]
    assert [owner(range(token, token + 1), parts) for token in range(12)] == [0] * 6 + [1] * 6


def test_the_edges_of_the_text_do_not_count_as_missing_context() -> None:
    parts = windows(10, 6, 2)
    assert owner(range(0, 1), parts) == 0
    assert owner(range(9, 10), parts) == 1


def test_a_window_with_the_whole_word_is_preferred_to_one_with_its_beginning() -> None:
    assert owner(range(5, 8), [range(0, 6), range(4, 10)]) == 1
    assert owner(range(0, 30), windows(40, 10, 3)) == 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 8))
def test_a_later_word_never_belongs_to_an_earlier_window(lengths: list[int], size: int, stride: int) -> None:
    ends = list(itertools.accumulate(lengths))
    parts = windows(ends[-1], size, stride)
    owners = [owner(range(end - length, end), parts) for end, length in zip(ends, lengths, strict=True)]
    assert owners == sorted(owners)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 30), st.data())
def test_the_owner_has_the_most_context_of_all_windows_with_the_first_token(
    num_tokens: int, size: int, stride: int, data: st.DataObject
) -> None:
    parts = windows(num_tokens, size, stride)
    start = data.draw(st.integers(0, num_tokens - 1))
    word = range(start, data.draw(st.integers(start + 1, num_tokens)))

    def context(part: range) -> float:
        before = start - part.start if part.start else float("inf")
        return min(before, part.stop - word.stop if part.stop < num_tokens else float("inf"))

    best = max(context(part) for part in parts if start in part)
    assert owner(word, parts) == next(i for i, part in enumerate(parts) if start in part and context(part) == best)
