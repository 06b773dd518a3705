"""Definitions as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._generated_texts import Definition
from heads._generation_kinds import Parsed
from heads._generation_templates import one_line
from heads.rows import SpanRow, TextRow

KIND = Definition((), "it means {text}")


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_parsing_undoes_rendering(text: str) -> None:
    items = KIND.items(TextRow("1", "1", "term", label=text))
    assert items == (one_line(text),)
    assert KIND.parse(KIND.render(items)) == Parsed(items)
    assert KIND.parsed(KIND.prediction(Parsed(items))) == Parsed(items)


@pytest.mark.parametrize(
    ("found", "token_f1", "exact", "failed"),
    [
        ("a fast heart beat", 1.0, 1.0, 0.0),
        ("A fast heart-beat.", 1.0, 1.0, 0.0),
        ("a fast heart beat . ( )", 1.0, 1.0, 0.0),
        (".", 0.0, 0.0, 0.0),
        ("a slow heart beat", 3 / 4, 0.0, 0.0),
        ("other", 0.0, 0.0, 0.0),
        (None, 0.0, 0.0, 1.0),
    ],
)
def test_words_are_compared(found: str | None, token_f1: float, exact: float, failed: float) -> None:
    row = TextRow("1", "1", "tachycardia", label="a fast heart beat")
    scores = {name: float(value) for name, value in KIND.score(KIND.counts({"text": found}, row)).items()}
    assert scores == pytest.approx({"token_f1": token_f1, "exact_match": exact, "parse_failure_rate": failed})


def test_the_gold_is_a_text() -> None:
    assert KIND.problem(SpanRow("1", "1", "text"))
    assert KIND.problem(TextRow("1", "1", "text", label=2.0))
    assert KIND.problem(TextRow("1", "1", "text", label=" "))
    assert KIND.problem(TextRow("1", "1", "text", label="a")) is None
    with pytest.raises(ValueError, match=r"^labels"):
        Definition(["a"], None)
    with pytest.raises(ValueError, match=r"^template"):
        Definition((), "no field")
