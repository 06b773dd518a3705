"""Scores of groups of rows, with sums by hand and against those of the whole."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heads import Row, SpanRow, TextRow
from heads.classification import Classification
from heads.regression import Regression
from heads.token_classification import TokenClassification
from mtl.evaluation.intervals import score_intervals
from mtl.evaluation.scoring import score_rows
from mtl.evaluation.subgroups import MOST_GROUPS, Gap, scores_by_group
from mtl.training.subgroup_report import group_columns, group_metrics

HEAD = Classification(["yes", "no"], 8, positive="yes", primary_metric="f1")


def rows_of(*items: tuple[str, str, str]) -> tuple[list[Row], dict[str, Any]]:
    """Rows and predictions from triples of site, gold and prediction; two rows make a document."""
    rows: list[Row] = [
        TextRow(f"{n}", f"{site}-{n // 2}", "Fever.", label=gold or None, meta={"site": site} if site else {})
        for n, (site, gold, _) in enumerate(items)
    ]
    return rows, {f"{n}": {"label": label, "scores": {}} for n, (_, _, label) in enumerate(items)}


A = [("A", "yes", "yes"), ("A", "yes", "no"), ("A", "no", "no"), ("A", "no", "yes")]
B = [("B", "yes", "yes"), ("B", "yes", "yes"), ("B", "no", "yes")]


def test_each_group_has_its_own_scores_and_the_gap_is_between_the_extremes() -> None:
    rows, predictions = rows_of(*A, *B, ("C", "yes", "yes"), ("", "no", "yes"), ("", "", "no"))
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=2)
    assert list(found.groups) == ["A", "B"]
    a, b = (found.groups[name].result for name in ("A", "B"))
    assert (a.num_rows, len(a.documents), b.num_rows) == (4, 2, 3)
    assert (a.scores["accuracy"], b.scores["accuracy"]) == (0.5, pytest.approx(2 / 3))
    assert (a.scores["f1"], b.scores["f1"]) == (0.5, pytest.approx(0.8))
    assert found.small == {"C": 1}
    assert found.num_without == 1, "an unlabelled row does not count"
    assert found.gaps()["f1"] == Gap(pytest.approx(0.3), "A", "B")
    assert found.metric == "f1"


def test_a_gap_of_0_is_between_two_groups() -> None:
    found = scores_by_group(HEAD, *rows_of(("A", "yes", "yes"), ("B", "yes", "yes")), "site", min_rows=1)
    assert found.gaps()["accuracy"] == Gap(0.0, "A", "B")


def test_intervals_are_those_of_the_groups_own_documents() -> None:
    rows, predictions = rows_of(*A, *A, *B)
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=2)
    alone = score_rows(HEAD, ((row, predictions[row.id]) for row in rows if row.meta["site"] == "A"))
    assert found.groups["A"].intervals == score_intervals(HEAD, alone)
    assert set(found.groups["A"].intervals) == set(HEAD.metrics)
    of_two_documents = scores_by_group(HEAD, *rows_of(*A), "site", min_rows=2)
    assert set(of_two_documents.groups["A"].intervals) == {"accuracy"}  # too few for a bootstrap


labels = st.sampled_from(["yes", "no"])


@given(st.lists(st.tuples(st.sampled_from("ABC"), labels, labels), min_size=1, max_size=30))
def test_groups_that_partition_the_rows_add_up_to_the_whole(items: list[tuple[str, str, str]]) -> None:
    rows, predictions = rows_of(*items)
    whole = score_rows(HEAD, ((row, predictions[row.id]) for row in rows))
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=1)
    counts = [HEAD.combined(one.result.counts) for one in found.groups.values()]
    assert torch.equal(torch.stack(counts).sum(0), HEAD.combined(whole.counts))
    assert sum(one.result.num_rows for one in found.groups.values()) == whole.num_rows
    documents = [name for one in found.groups.values() for name in one.result.documents]
    assert sorted(documents) == whole.documents


@given(st.lists(st.tuples(st.sampled_from("ABC"), labels, labels), min_size=1, max_size=30), st.integers(1, 12))
def test_every_row_is_scored_or_counted(items: list[tuple[str, str, str]], least: int) -> None:
    found = scores_by_group(HEAD, *rows_of(*items), "site", min_rows=least)
    assert all(one.result.num_rows >= least for one in found.groups.values())
    assert all(number < least for number in found.small.values())
    scored = sum(one.result.num_rows for one in found.groups.values())
    assert scored + sum(found.small.values()) + found.num_without == len(items)
    assert ("accuracy" in found.gaps()) == (len(found.groups) > 1)


def test_a_group_that_leaves_a_metric_undefined_has_no_part_in_its_gap() -> None:
    """Without a positive row, F1 says how often the class occurs, not how well it is predicted."""
    rows, predictions = rows_of(*A, *B, ("C", "no", "yes"), ("C", "no", "no"))
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=2)
    assert found.groups["C"].undefined == {"f1"}
    assert math.isnan(found.groups["C"].result.scores["f1"])
    assert found.groups["C"].result.scores["accuracy"] == 0.5
    assert set(found.groups["C"].intervals) <= set(HEAD.metrics) - {"f1"}
    assert found.gaps()["f1"] == Gap(pytest.approx(0.3), "A", "B")
    assert found.to_dict()["groups"]["C"]["scores"]["f1"] is None
    assert group_metrics("test/x", [found]).keys() == {f"test/x/by_site/{name}/f1" for name in "AB"} | {
        "test/x/by_site/gap/f1"
    }
    columns = group_columns([found])
    assert [v for m, v, g in zip(*(columns[c] for c in ("metric", "value", "group")), strict=True) if m == "f1"][
        2
    ] is None


def test_mentions_ranks_and_correlations_are_undefined_where_even_perfect_predictions_have_no_score() -> None:
    tagger = TokenClassification(["Drug"], 4)
    rows: list[Row] = [SpanRow(f"{n}", f"{n}", "No drug here.", meta={"site": "A"}) for n in range(3)]
    spurious = {"entities": [{"type": "Drug", "start": 3, "end": 7, "score": 0.9}]}
    predictions = {"0": spurious, "1": {"entities": []}, "2": {"entities": []}}
    assert {"f1", "precision", "recall"} <= scores_by_group(tagger, rows, predictions, "site", min_rows=1).groups[
        "A"
    ].undefined
    ranked = Classification(["yes", "no"], 4, positive="yes", primary_metric="auroc")
    rows = [TextRow(f"{n}", f"{n}", "x", label="no", meta={"site": "A"}) for n in range(3)]
    predictions = {f"{n}": {"label": "no", "scores": {"yes": 0.1 * n, "no": 1 - 0.1 * n}} for n in range(3)}
    assert "auroc" in scores_by_group(ranked, rows, predictions, "site", min_rows=1).groups["A"].undefined
    numbers = Regression([], 4, range=(0, 4))
    rows = [TextRow(f"{n}", f"{n}", "x", label=2.0, meta={"site": "A"}) for n in range(3)]
    values = {f"{n}": {"value": float(n)} for n in range(3)}
    assert scores_by_group(numbers, rows, values, "site", min_rows=1).groups["A"].undefined == {"pearson", "spearman"}


def test_one_group_makes_the_whole() -> None:
    rows, predictions = rows_of(*[("A", gold, label) for _, gold, label in (*A, *B)])
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=1)
    assert found.groups["A"].result.scores == score_rows(HEAD, ((r, predictions[r.id]) for r in rows)).scores


def test_counts_that_are_concatenated_are_divided_too() -> None:
    head = Regression([], 8, range=(0, 4))
    rows: list[Row] = [
        TextRow(f"{n}", f"{n}", "Fever.", label=float(n % 5), meta={"site": "AB"[n % 2]}) for n in range(20)
    ]
    predictions = {f"{n}": {"value": float(n % 5) + (n % 2) * (n % 3)} for n in range(20)}
    found = scores_by_group(head, rows, predictions, "site", min_rows=5)
    assert found.groups["A"].result.scores["mse"] == pytest.approx(0.0)
    assert found.groups["B"].result.scores["mse"] == pytest.approx(sum((n % 3) ** 2 for n in range(1, 20, 2)) / 10)
    assert found.gaps()["mse"].highest == "B"


def test_a_key_with_many_values_has_no_groups() -> None:
    rows, predictions = rows_of(*[(f"s{n}", "yes", "no") for n in range(MOST_GROUPS + 1)])
    found = scores_by_group(HEAD, rows, predictions, "site", min_rows=1)
    assert (found.groups, found.small, found.num_values) == ({}, {}, MOST_GROUPS + 1)
    assert "s1" not in json.dumps(found.to_dict())


def test_a_key_that_no_row_has_counts_them_all() -> None:
    found = scores_by_group(HEAD, *rows_of(*A), "ward", min_rows=1)
    assert (found.num_values, found.num_without, found.groups) == (0, 4, {})
