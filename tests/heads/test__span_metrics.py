"""Entities that match in part, against nervaluate, and near entities against all ways to pair them."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator

from heads._span_metrics import METRICS, SCHEMES, span_counts, span_scores
from heads._tags import TypedSpan

TYPES = ["Drug", "Gene"]
SEMEVAL = ("strict", "exact", "partial", "type")

spans = st.builds(
    lambda start, size, kind: TypedSpan(start, start + size, kind),
    st.integers(0, 12),
    st.integers(1, 5) | st.just(300),  # overlaps of less than one hundredth
    st.sampled_from(TYPES),
)
documents = st.lists(st.tuples(st.sets(spans, max_size=5), st.sets(spans, max_size=5)), min_size=1, max_size=4)
Documents = list[tuple[set[TypedSpan], set[TypedSpan]]]


def nervaluate_scores(found: Documents) -> dict[str, float]:
    def entities(spans: set[TypedSpan]) -> list[dict[str, object]]:
        return [{"label": span.type, "start": span.start, "end": span.end - 1} for span in sorted(spans)]

    gold, predicted = ([entities(document[side]) for document in found] for side in (0, 1))
    overall = Evaluator(gold, predicted, tags=TYPES, loader="dict").evaluate()["overall"]
    by_scheme = {scheme: overall["ent_type" if scheme == "type" else scheme] for scheme in SEMEVAL}
    return {f"{scheme}_{name}": getattr(own, name) for scheme, own in by_scheme.items() for name in SCORES}


SCORES = ("f1", "precision", "recall")


@given(documents)
@example([(set(), set())])
@settings(max_examples=400, deadline=None)
def test_scores_equal_those_of_nervaluate(found: Documents) -> None:
    counts = torch.stack([span_counts(gold, predicted) for gold, predicted in found]).sum(0)
    ours = {name: float(value) for name, value in span_scores(counts).items()}
    assert set(ours) == set(METRICS)
    ours = {name: value for name, value in ours.items() if not name.startswith("near")}
    assert ours == pytest.approx(nervaluate_scores(found))


def test_the_four_schemes_by_hand() -> None:
    gold = [TypedSpan(0, 7, "Drug"), TypedSpan(10, 20, "Gene"), TypedSpan(30, 35, "Gene")]
    predicted = [TypedSpan(0, 7, "Gene"), TypedSpan(10, 14, "Gene"), TypedSpan(50, 55, "Drug")]
    scores = span_scores(span_counts(gold, predicted))
    credits = {scheme: 3 * float(scores[f"{scheme}_recall"]) for scheme in SCHEMES}
    assert credits == pytest.approx({"strict": 0, "exact": 1, "partial": 1.5, "type": 1, "near": 0})


@pytest.mark.parametrize(
    ("predicted", "is_near"),
    [
        (TypedSpan(10, 20, "Drug"), True),
        (TypedSpan(9, 21, "Drug"), True),
        (TypedSpan(11, 20, "Drug"), True),
        (TypedSpan(8, 20, "Drug"), False),
        (TypedSpan(10, 22, "Drug"), False),
        (TypedSpan(10, 20, "Gene"), False),
    ],
)
def test_near_entities_have_one_type_and_offsets_within_one_character(predicted: TypedSpan, is_near: bool) -> None:
    scores = span_scores(span_counts([TypedSpan(10, 20, "Drug")], [predicted]))
    assert float(scores["near_f1"]) == is_near


def test_a_gold_entity_is_near_to_one_prediction_only() -> None:
    scores = span_scores(span_counts([TypedSpan(5, 9, "Drug")], [TypedSpan(5, 8, "Drug"), TypedSpan(5, 9, "Drug")]))
    assert (float(scores["near_precision"]), float(scores["near_recall"])) == (0.5, 1.0)


close = st.builds(lambda start, size: TypedSpan(start, start + size, "Drug"), st.integers(0, 3), st.integers(1, 3))


@given(st.sets(close, max_size=5), st.sets(close, max_size=5))
@settings(max_examples=200, deadline=None)
def test_near_entities_are_paired_so_that_most_match(gold: set[TypedSpan], predicted: set[TypedSpan]) -> None:
    few, many = sorted([sorted(gold), sorted(predicted)], key=len)
    best = max(
        sum(max(abs(a.start - b.start), abs(a.end - b.end)) <= 1 for a, b in zip(few, order, strict=True))
        for order in permutations(many, len(few))
    )
    found = span_scores(span_counts(gold, predicted))
    assert float(found["near_recall"]) * len(gold) == pytest.approx(best)


def test_many_corpora_score_like_each_alone() -> None:
    counts = torch.stack([span_counts([TypedSpan(0, 4, "Drug")], [TypedSpan(0, end, "Drug")]) for end in (2, 4)])
    together = span_scores(counts)
    assert [{name: float(v[i]) for name, v in together.items()} for i in (0, 1)] == [
        {name: float(v) for name, v in span_scores(one).items()} for one in counts
    ]
