"""Two systems on the same documents, against scipy and sums by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from heads import Head, TextRow
from heads.classification import Classification
from heads.regression import Regression
from mtl.evaluation.scoring import score_rows
from mtl.study.statistics.paired_systems import differences, exchange_p


def systems(head: Head, golds: list[Any], *answers: list[Any], per_document: int = 1) -> list[dict[str, Any]]:
    """The counts of systems that give these answers to rows with these labels."""
    key = "value" if isinstance(head, Regression) else "label"
    rows = [TextRow(str(n), f"d{n // per_document:03}", "", label=label) for n, label in enumerate(golds)]
    return [
        score_rows(head, zip(rows, [{key: answer} for answer in own], strict=True)).stacked_counts() for own in answers
    ]


def classifier() -> Classification:
    return Classification(["a", "b"], 8, positive="a")


def random_answers(size: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    rng = np.random.default_rng(seed)
    gold = rng.choice(["a", "b"], size).tolist()
    better, worse = ([label if rng.random() < share else "ab"[label == "a"] for label in gold] for share in (0.8, 0.55))
    return gold, better, worse


def test_p_of_accuracies_is_that_of_scipys_paired_permutation_test() -> None:
    gold, better, worse = random_answers(12, seed=3)
    first, second = systems(classifier(), gold, better, worse)
    right = [np.array([one == label for one, label in zip(own, gold, strict=True)], float) for own in (better, worse)]
    expected = permutation_test(
        right, lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
    )
    assert exchange_p(classifier(), first, second) == pytest.approx(expected.pvalue)


def test_p_of_a_corpus_metric_is_the_share_of_exchanges_with_as_large_a_difference() -> None:
    """By hand over all exchanges of documents with several rows; F1 is no mean over documents."""
    head = Classification(["a", "b"], 8, positive="a", metrics=["f1"], primary_metric="f1")
    gold, better, worse = random_answers(15, seed=5)
    first, second = systems(head, gold, better, worse, per_document=3)
    counts = [torch.from_numpy(one["counts"]) for one in (first, second)]

    def f1(rows: Any) -> float:
        return head.score(torch.stack(list(rows)).sum(0))["f1"]

    observed = f1(counts[0]) - f1(counts[1])
    found = []
    for exchanged in itertools.product((0, 1), repeat=5):
        sides = [[counts[side ^ one][place] for place, one in enumerate(exchanged)] for side in (0, 1)]
        found.append(abs(f1(sides[0]) - f1(sides[1])) >= abs(observed) - 1e-12)
    assert exchange_p(head, first, second) == pytest.approx(np.mean(found))


def test_documents_of_a_unit_are_exchanged_and_resampled_together() -> None:
    gold, better, worse = random_answers(24, seed=5)
    by_row, by_three = (systems(classifier(), gold, better, worse, per_document=size) for size in (1, 3))
    units = np.arange(24) // 3
    together = exchange_p(classifier(), *by_row, units=units)
    assert together == pytest.approx(exchange_p(classifier(), *by_three))
    assert together != exchange_p(classifier(), *by_row)
    found, expected = differences(classifier(), *by_row, units=units), differences(classifier(), *by_three)
    assert found["accuracy"].difference == pytest.approx(expected["accuracy"].difference)
    assert found["accuracy"].interval == pytest.approx(expected["accuracy"].interval)


def test_a_rank_correlation_is_exchanged_by_document() -> None:
    rng = np.random.default_rng(0)
    gold = rng.random(40)
    head = Regression([], 8, range=(0, 1))
    good, bad = gold + rng.normal(0, 0.1, 40), rng.random(40)
    first, second = systems(head, gold.tolist(), good.tolist(), bad.tolist(), per_document=2)
    assert len(first["documents"]) == 20
    assert exchange_p(head, first, second) < 0.01
    assert exchange_p(head, first, first) == 1.0
    found = differences(head, first, second)["pearson"]
    assert found.first == pytest.approx(np.corrcoef(good, gold)[0, 1])
    assert found.second == pytest.approx(np.corrcoef(bad, gold)[0, 1])
    assert found.interval.low > 0


def test_p_is_uniform_without_a_difference_and_small_with_a_clear_one() -> None:
    ps = []
    for seed in range(60):
        gold, one, _ = random_answers(40, seed)
        rng = np.random.default_rng([seed, 1])
        other = [label if rng.random() < 0.8 else "ab"[label == "a"] for label in gold]
        ps.append(exchange_p(classifier(), *systems(classifier(), gold, one, other), seed=seed))
    assert np.mean(np.array(ps) <= 0.05) <= 0.12
    gold, better, worse = random_answers(300, seed=1)
    first, second = systems(classifier(), gold, better, worse)
    assert exchange_p(classifier(), first, second) == pytest.approx(1 / 10_000)
    assert exchange_p(classifier(), second, first) == exchange_p(classifier(), first, second)


def test_the_interval_of_a_difference_resamples_the_same_documents_for_both() -> None:
    gold, better, worse = random_answers(200, seed=2)
    first, second = systems(classifier(), gold, better, worse)
    found = differences(classifier(), first, second)
    assert set(found) == set(classifier().metrics)
    accuracy = found["accuracy"]
    right = [np.array([one == label for one, label in zip(own, gold, strict=True)], float) for own in (better, worse)]
    paired = right[0] - right[1]
    assert accuracy.difference == pytest.approx(paired.mean())
    half = 1.96 * paired.std() / np.sqrt(200)
    assert [accuracy.interval.low, accuracy.interval.high] == pytest.approx(
        [paired.mean() - half, paired.mean() + half], abs=0.02
    )
    same = differences(classifier(), first, first)["accuracy"]
    assert (same.difference, same.interval) == (0.0, (0.0, 0.0))


def test_a_difference_below_one_unit_is_not_significant() -> None:
    gold, better, worse = random_answers(100, seed=1)
    first, second = systems(classifier(), gold, better, worse)
    assert exchange_p(classifier(), first, second, unit=0.9) == 1.0


def test_other_documents_are_an_error() -> None:
    first, second = systems(classifier(), ["a", "b"], ["a", "b"], ["b", "b"])
    second["documents"] = np.array(["d000", "d002"])
    with pytest.raises(ValueError, match="documents"):
        exchange_p(classifier(), first, second)
