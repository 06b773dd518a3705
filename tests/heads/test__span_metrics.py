"""Entities that match in part, against nervaluate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator

from heads._span_metrics import METRICS, SCHEMES, span_counts, span_scores
from heads._tags import TypedSpan

TYPES = ["Drug", "Gene"]

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
    by_scheme = {scheme: overall["ent_type" if scheme == "type" else scheme] for scheme in SCHEMES}
    return {f"{scheme}_{name}": getattr(own, name) for scheme, own in by_scheme.items() for name in SCORES}


SCORES = ("f1", "precision", "recall")


@given(documents)
@example([(set(), set())])
@settings(max_examples=400, deadline=None)
def test_scores_equal_those_of_nervaluate(found: Documents) -> None:
    counts = torch.stack([span_counts(gold, predicted) for gold, predicted in found]).sum(0)
    ours = {name: float(value) for name, value in span_scores(counts).items()}
    assert set(ours) == set(METRICS)
    assert ours == pytest.approx(nervaluate_scores(found))


def test_the_four_schemes_by_hand() -> None:
    gold = [TypedSpan(0, 7, "Drug"), TypedSpan(10, 20, "Gene"), TypedSpan(30, 35, "Gene")]
    predicted = [TypedSpan(0, 7, "Gene"), TypedSpan(10, 14, "Gene"), TypedSpan(50, 55, "Drug")]
    scores = span_scores(span_counts(gold, predicted))
    credits = {scheme: 3 * float(scores[f"{scheme}_recall"]) for scheme in SCHEMES}
    assert credits == pytest.approx({"strict": 0, "exact": 1, "partial": 1.5, "type": 1})


def test_many_corpora_score_like_each_alone() -> None:
    counts = torch.stack([span_counts([TypedSpan(0, 4, "Drug")], [TypedSpan(0, end, "Drug")]) for end in (2, 4)])
    together = span_scores(counts)
    assert [{name: float(v[i]) for name, v in together.items()} for i in (0, 1)] == [
        {name: float(v) for name, v in span_scores(one).items()} for one in counts
    ]
