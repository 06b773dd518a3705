"""The sentences of a text that comes without any: they are in order, cover it, and divide no mention."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads import Entity, SpanRow, TextRow
from heads.classification import Classification
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from mtl.data.sentence_spans import (
    are_single_sentences,
    has_several_sentences,
    reads_sentences,
    sentence_spans,
)

texts = st.text(st.sampled_from("aB1.!?: \n\r\t(é"), max_size=60)


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@given(texts)
def test_sentences_are_in_order_and_hold_every_character_that_is_not_blank(text: str) -> None:
    spans = sentence_spans(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    outside = text
    for start, end in reversed(spans):
        outside = outside[:start] + outside[end:]
    assert not outside.strip()


@given(texts, st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=4))
def test_a_mention_is_never_divided(text: str, places: list[tuple[int, int]]) -> None:
    mentions = [(start, min(start + size, len(text))) for start, size in places]
    visible = [(start, end) for start, end in mentions if text[start:end] == text[start:end].strip() != ""]
    spans = sentence_spans(text, visible)
    assert all(sum(a <= start and end <= b for a, b in spans) == 1 for start, end in visible)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fever fell. No rash.", ["Fever fell.", "No rash."]),
        ("Dose was 2.5 mg. 3 days later well.", ["Dose was 2.5 mg.", "3 days later well."]),
        ("NSAIDs (e.g. Aspirin) vs. Warfarin", ["NSAIDs (e.g. Aspirin) vs. Warfarin"]),
        ("Seen by Dr. Roe. Well.", ["Seen by Dr. Roe.", "Well."]),
        ("given\naspirin daily", ["given\naspirin daily"]),
        ("given\n\naspirin daily", ["given", "aspirin daily"]),
        ("Drugs:\naspirin\r\nWarfarin", ["Drugs:", "aspirin", "Warfarin"]),
        ("", []),
    ],
)
def test_ends_of_sentences(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


def test_a_discontinuous_mention_joins_what_is_between_its_parts() -> None:
    row = SpanRow("1", "1", "Left. And right lung.", entities=(Entity("T1", "Site", ((0, 4), (16, 20))),))
    assert not has_several_sentences(row)
    assert has_several_sentences(SpanRow("1", "1", row.text))
    assert has_several_sentences(TextRow("1", "1", row.text))
    assert not has_several_sentences(SpanRow("1", "1", row.text, sentences=((0, 5),)))


def test_most_rows_decide_whether_a_task_learned_from_single_sentences() -> None:
    one, two = SpanRow("1", "1", "No fever."), SpanRow("1", "1", "No fever. No rash.")
    given_ones = SpanRow("1", "1", two.text, sentences=((0, 9), (10, 18)))
    assert are_single_sentences([one, one, two])
    assert are_single_sentences([given_ones, given_ones, two])
    assert not are_single_sentences([one, two, two])
    assert not are_single_sentences([one] + [two] * 1500), "spread over all rows"


def test_only_heads_that_pair_or_read_mentions_within_a_sentence_read_sentences() -> None:
    pooling = {"input": "markers", "pooling": "entity_start"}
    for scope in ("sentence", "document"):
        relation = RelationClassification(["up", "none"], 4, negative="none", scope=scope, **pooling)  # type: ignore[arg-type]
        attribute = MentionClassification(["x", "y"], 4, attribute="negated", scope=scope)  # type: ignore[arg-type]
        assert reads_sentences(relation) == reads_sentences(attribute) == (scope == "sentence")
    assert not reads_sentences(Classification(["x", "y"], 4))
