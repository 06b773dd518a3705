"""Tagging schemes, against seqeval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, Tokens

from heads._tags import Scheme, TypedSpan, is_legal, tag_names, to_spans, to_tags

TYPES = ["Drug", "side-effect", "O"]
SCHEMES: list[Scheme] = ["BIO", "BIOUL", "IO"]


def tags_of(scheme: Scheme) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(tag_names(TYPES, scheme)), max_size=12)


@st.composite
def flat_spans(draw: st.DrawFn) -> tuple[list[TypedSpan], int]:
    spans = []
    end = 0
    for _ in range(draw(st.integers(0, 4))):
        start = end + draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 4))
        spans.append(TypedSpan(start, end, draw(st.sampled_from(TYPES))))
    return spans, end + draw(st.integers(0, 2))


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("BIO", ["B-A", "O", "B-A", "I-A", "B-B", "I-B", "I-B"]),
        ("BIOUL", ["U-A", "O", "B-A", "L-A", "B-B", "I-B", "L-B"]),
        ("IO", ["I-A", "O", "I-A", "I-A", "I-B", "I-B", "I-B"]),
    ],
)
def test_spans_of_one_two_and_three_words_get_the_tags_of_the_scheme(scheme: Scheme, expected: list[str]) -> None:
    spans = [TypedSpan(0, 1, "A"), TypedSpan(2, 4, "A"), TypedSpan(4, 7, "B")]
    assert to_tags(spans, 7, scheme) == expected
    assert to_spans(expected, scheme) == spans


@given(flat_spans())
@pytest.mark.parametrize("scheme", ["BIO", "BIOUL"])
def test_spans_are_the_same_after_tagging_and_reading(scheme: Scheme, drawn: tuple[list[TypedSpan], int]) -> None:
    spans, num_words = drawn
    assert to_spans(to_tags(spans, num_words, scheme), scheme) == spans


def test_io_merges_only_adjacent_spans_of_one_type() -> None:
    spans = [TypedSpan(0, 1, "A"), TypedSpan(1, 3, "A"), TypedSpan(3, 4, "B")]
    assert to_spans(to_tags(spans, 4, "IO"), "IO") == [TypedSpan(0, 3, "A"), TypedSpan(3, 4, "B")]


@given(st.sampled_from(SCHEMES).flatmap(lambda scheme: st.tuples(st.just(scheme), tags_of(scheme))))
def test_any_tags_read_leniently_as_by_seqeval_by_default(drawn: tuple[Scheme, list[str]]) -> None:
    scheme, tags = drawn
    renamed = [{"U": "S", "L": "E"}.get(tag[0], tag[0]) + tag[1:] for tag in tags]  # seqeval knows IOBES only
    expected = [TypedSpan(start, end + 1, kind) for kind, start, end in get_entities(renamed)]
    assert to_spans(tags, scheme, lenient=True) == expected


def test_a_stray_inside_tag_begins_an_entity_only_if_read_leniently() -> None:
    tags = ["O", "I-A", "I-A", "B-B", "I-A"]
    assert to_spans(tags, "BIO") == [TypedSpan(3, 4, "B")]
    assert to_spans(tags, "BIO", lenient=True) == [TypedSpan(1, 3, "A"), TypedSpan(3, 4, "B"), TypedSpan(4, 5, "A")]


@given(tags_of("BIO"))
def test_any_bio_tags_read_as_seqeval_reads_iob2_strictly(tags: list[str]) -> None:
    expected = [(e.start, e.end, e.tag) for e in Tokens(tags, IOB2).entities]
    assert to_spans(tags, "BIO") == expected


@given(tags_of("BIOUL"))
def test_any_bioul_tags_read_as_seqeval_reads_bilou_strictly(tags: list[str]) -> None:
    expected = [(e.start, e.end, e.tag) for e in Tokens(tags, BILOU).entities]
    assert to_spans(tags, "BIOUL") == expected


@given(tags_of("IO"))
def test_any_io_tags_read_as_seqeval_reads_runs(tags: list[str]) -> None:
    assert to_spans(tags, "IO") == [(start, end + 1, kind) for kind, start, end in get_entities(tags)]


@given(st.data())
@pytest.mark.parametrize("scheme", SCHEMES)
def test_tags_are_legal_if_and_only_if_reading_them_loses_nothing(scheme: Scheme, data: st.DataObject) -> None:
    tags = data.draw(tags_of(scheme))
    steps = zip(["O", *tags], [*tags, "O"], strict=True)
    loses_nothing = to_tags(to_spans(tags, scheme), len(tags), scheme) == tags
    assert all(is_legal(before, after, scheme) for before, after in steps) == loses_nothing


def test_o_is_the_first_tag_and_every_type_has_the_prefixes_of_the_scheme() -> None:
    assert tag_names(["A", "B"], "BIOUL") == ("O", "B-A", "I-A", "U-A", "L-A", "B-B", "I-B", "U-B", "L-B")
    assert tag_names(["A", "B"], "IO") == ("O", "I-A", "I-B")
