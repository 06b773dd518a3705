from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heads._invisible import simplified, trimmed


@given(st.text(max_size=40))
def test_a_simplified_text_has_the_same_length_and_the_same_letters(text: str) -> None:
    found = simplified(text)
    assert len(found) == len(text)
    assert [one for one in text if one.isalnum()] == [one for one in found if one.isalnum()]


@given(st.text(max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_trimming_twice_is_trimming_once_and_never_empties_a_span(text: str, one: int, other: int) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    first, last = trimmed(text, start, end)
    assert start <= first <= last <= end
    assert (first < last) == (start < end)
    assert trimmed(text, first, last) == (first, last)


def test_what_is_trimmed() -> None:
    for edge in ("\u200b", "\u200d", "\ufeff", "\x00", "\ue000", "\ufffd", "\u00a0", " ", "\u0301"):
        assert trimmed(f"{edge}asthma{edge}", 0, 8) == (1, 7), repr(edge)
    assert trimmed("(x)", 0, 3) == (0, 3)
