"""False positives of a relation head where mentions only occur together."""

from __future__ import annotations

from heads._cooccurrence import cooccurrence_counts
from heads._pairs import Key

AB, AC, DE = ("a", "b"), ("a", "c"), ("d", "e")
NONE = ("none",)


def counted(gold: dict[Key, tuple[str, ...]], *related: Key) -> tuple[int, int]:
    return cooccurrence_counts([[AB, AC], [DE]], gold, related, "none")


def test_only_sentences_without_a_related_pair_count() -> None:
    assert counted({AB: NONE, AC: NONE, DE: NONE}, AC, DE) == (2, 3)
    assert counted({AB: ("cause",), AC: NONE, DE: NONE}, AC, DE) == (1, 1)
    assert counted({AB: NONE, AC: ("cause", "treat"), DE: ("treat",)}, AB, AC, DE) == (0, 0)


def test_a_sentence_with_a_masked_pair_is_left_out() -> None:
    assert counted({AC: NONE, DE: NONE}, AB, AC) == (0, 1)
