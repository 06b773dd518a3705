"""Intervals of scores, against statsmodels, SciPy and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from heads import ClassReport, Head, TextRow
from heads.classification import Classification
from heads.regression import Regression
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.intervals import ScoreInterval, score_intervals, wilson


def result_of(head: Head, by_document: dict[str, list[torch.Tensor]]) -> TaskResult:
    counts = [head.document_counts(own) for own in by_document.values()]
    scores = head.score(head.combined(counts))
    return TaskResult(scores, list(by_document), counts, ClassReport({}, (), None), len(counts))


def classified(head: Classification, gold: np.ndarray, probabilities: np.ndarray) -> TaskResult:
    """The result of a binary task with one row per document."""
    counts = {}
    for i, (is_yes, probability) in enumerate(zip(gold, probabilities, strict=True)):
        row = TextRow(str(i), str(i), "a", label="yes" if is_yes else "no")
        counts[str(i)] = [head.counts(head.decode(row, [{}], [torch.tensor([probability, 1 - probability])]), row)]
    return result_of(head, counts)


def drawn(seed: int = 0, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.random(size) < 0.4
    return gold, np.clip(0.25 + 0.3 * gold + 0.2 * rng.standard_normal(size), 0.01, 0.99)


# --- proportions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "whole"), [(0, 5), (5, 5), (19, 20), (3, 7), (500, 900)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_with_one_case_per_document_it_is_the_interval_of_wilson(part: int, whole: int, level: float) -> None:
    parts = np.array([1.0] * part + [0.0] * (whole - part))
    low, high, method = wilson(parts, np.ones(whole), level)
    assert (low, high) == pytest.approx(proportion_confint(part, whole, 1 - level, method="wilson"))
    assert method == "wilson"


def test_documents_without_cases_change_nothing() -> None:
    parts, wholes = np.array([1.0, 2.0, 0.0, 3.0]), np.array([2.0, 2.0, 1.0, 4.0])
    more = wilson(np.append(parts, [0.0, 0.0]), np.append(wholes, [0.0, 0.0]))
    assert more == pytest.approx(wilson(parts, wholes))
    assert wilson(np.zeros(3), np.zeros(3)) == ScoreInterval(0.0, 1.0, "wilson")


def test_cases_that_agree_within_documents_count_like_one_each() -> None:
    parts, once = np.array([10.0] * 12 + [0.0] * 8), np.ones(20)
    # The variance over documents is estimated with 19 degrees of freedom instead of 20.
    effect, alpha = 10 * 20 / 19, 2 * stats.norm.sf(stats.t.ppf(0.975, 19))
    expected = proportion_confint(120 / effect, 200 / effect, alpha, method="wilson")
    assert wilson(parts, 10 * once)[:2] == pytest.approx(expected)
    independent = wilson(np.array([6.0] * 20), 10 * once)
    assert independent[:2] == pytest.approx(proportion_confint(120, 200, alpha, method="wilson"))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_all_cases_agree_each_document_counts_once(share: float) -> None:
    wholes = np.array([7.0, 1.0, 30.0, 0.0])
    assert wilson(share * wholes, wholes)[:2] == pytest.approx(proportion_confint(3 * share, 3, method="wilson"))


def test_one_document_with_both_kinds_of_cases_shows_nothing() -> None:
    assert wilson(np.array([3.0, 0.0]), np.array([8.0, 0.0])) == ScoreInterval(0.0, 1.0, "wilson")


@pytest.mark.parametrize(("share", "correlation", "num", "size"), [(0.95, 0.5, 20, 10), (0.8, 0.5, 10, 20)])
def test_the_interval_of_few_patients_with_many_rows_covers_the_true_proportion(
    share: float, correlation: float, num: int, size: int
) -> None:
    rng = np.random.default_rng(0)
    total = 1 / correlation - 1
    covered = 0
    for _ in range(1000):
        parts = rng.binomial(size, rng.beta(total * share, total * (1 - share), num)).astype(float)
        low, high, _ = wilson(parts, np.full(num, float(size)))
        covered += low <= share <= high
    assert covered / 1000 >= 0.86  # 0.69 and 0.93 with the quantile of the normal distribution


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_interval_of_clustered_cases_covers_the_true_proportion(share: float) -> None:
    rng = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(1000):
        # The proportion of a document varies: a beta distribution with an intraclass correlation of 0.2.
        of_documents = rng.beta(4 * share, 4 * (1 - share), 60)
        wholes = rng.integers(1, 12, 60).astype(float)
        parts = rng.binomial(wholes.astype(int), of_documents).astype(float)
        low, high, _ = wilson(parts, wholes)
        covered += low <= share <= high
        low, high = proportion_confint(parts.sum(), wholes.sum(), method="wilson")
        naive += low <= share <= high
    assert 0.925 <= covered / 1000 <= 0.975
    assert naive / 1000 < 0.88


# --- all metrics of a head --------------------------------------------------------------------------------------------


def test_every_metric_has_an_interval_around_its_score() -> None:
    head = Classification(["yes", "no"], 8, positive="yes", threshold=0.4, metrics=["auroc", "auprc", "mcc"])
    result = classified(head, *drawn())
    intervals = score_intervals(head, result)
    assert list(intervals) == list(head.metrics)
    assert all(low <= result.scores[name] <= high for name, (low, high, _) in intervals.items())
    by_method = {name for name, interval in intervals.items() if interval.method == "wilson"}
    assert by_method == {"accuracy", "sensitivity", "specificity", "ppv", "npv"}


def test_the_proportions_of_a_head_have_the_intervals_of_their_cases() -> None:
    head = Classification(["yes", "no"], 8, positive="yes", threshold=0.4)
    gold, probabilities = drawn()
    interval = score_intervals(head, classified(head, gold, probabilities))["sensitivity"]
    predicted = probabilities >= 0.4
    expected = proportion_confint((gold & predicted).sum(), gold.sum(), method="wilson")
    assert interval[:2] == pytest.approx(expected)


def test_the_bootstrap_agrees_with_that_of_scipy() -> None:
    head = Classification(["yes", "no"], 8, positive="yes", primary_metric="auroc")
    gold, probabilities = drawn(size=120)
    low, high, method = score_intervals(head, classified(head, gold, probabilities), num_resamples=4000)["auroc"]
    reference = stats.bootstrap(
        (gold, probabilities), roc_auc_score, paired=True, vectorized=False, n_resamples=2000, method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert method == "bootstrap"
    assert (low, high) == pytest.approx(tuple(reference), abs=0.01)


def test_the_seed_decides_the_resamples() -> None:
    head = Regression([], 8, range=(0, 4))
    rng = np.random.default_rng(0)
    counts = {str(i): [torch.from_numpy(rng.random((2, 2)))] for i in range(30)}
    result = result_of(head, counts)
    assert score_intervals(head, result) == score_intervals(head, result)
    assert score_intervals(head, result, seed=1) != score_intervals(head, result)


def test_documents_are_resampled_as_a_whole() -> None:
    head = Regression([], 8, range=(0, 4))
    rng = np.random.default_rng(0)
    pairs = torch.from_numpy(rng.random((40, 2)))
    whole = result_of(head, {str(i): [pair[None]] for i, pair in enumerate(pairs)})
    repeated = result_of(head, {str(i): [pair[None].repeat(5, 1)] for i, pair in enumerate(pairs)})
    # Five copies of each row are no more information.
    for name, interval in score_intervals(head, whole).items():
        assert score_intervals(head, repeated)[name][:2] == pytest.approx(interval[:2])


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_documents_have_no_intervals(number: int) -> None:
    head = Classification(["yes", "no"], 8)
    counts = [torch.tensor([1, 0, 0, 0])] * number
    result = TaskResult({}, [str(i) for i in range(number)], counts, ClassReport({}, (), None), number)
    assert score_intervals(head, result) == {}
