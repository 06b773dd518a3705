from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._windows import owner, windows


@pytest.mark.parametrize(
    ("num_pieces", "room", "stride"), [(0, 5, 2), (5, 5, 2), (6, 5, 2), (50, 7, 3), (50, 7, 30), (9, 1, 4), (50, 7, 0)]
)
def test_windows_cover_every_piece_and_share_the_stride(num_pieces: int, room: int, stride: int) -> None:
    found = windows(num_pieces, room, stride)
    assert set().union(*found) == set(range(num_pieces))
    assert all(len(window) == min(room, num_pieces) for window in found)
    for one, following in itertools.pairwise(found):
        assert one.start < following.start
        assert one.stop - following.start >= min(stride, room // 2)


def test_a_word_belongs_to_the_window_that_shows_most_around_it() -> None:
    cuts = [range(0, 8), range(4, 12)]
    assert [owner(range(piece, piece + 1), cuts) for piece in range(12)] == [0] * 6 + [1] * 6


def test_no_context_is_missing_where_a_text_begins_or_ends() -> None:
    cuts = windows(10, 6, 2)
    assert owner(range(0, 1), cuts) == 0
    assert owner(range(9, 10), cuts) == 1


def test_a_window_with_the_whole_word_goes_before_one_with_its_beginning() -> None:
    assert owner(range(5, 8), [range(0, 6), range(4, 10)]) == 1
    assert owner(range(0, 30), windows(40, 10, 3)) == 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 8))
def test_a_later_word_never_belongs_to_an_earlier_window(sizes: list[int], room: int, stride: int) -> None:
    ends = list(itertools.accumulate(sizes))
    cuts = windows(ends[-1], room, stride)
    owners = [owner(range(end - size, end), cuts) for end, size in zip(ends, sizes, strict=True)]
    assert owners == sorted(owners)
