"""The bootstrap over seeds and documents, compared with sums by hand, copied documents, scipy and planted gains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from heads.regression import Regression
from heads.token_classification import TokenClassification
from mtl.study.statistics import resampling
from mtl.study.statistics.resampling import Resamples, resampled_interval, resampled_scores, resamples
from mtl.study.statistics.significance import Interval, interval


def hierarchical_interval(
    before: np.ndarray,
    after: np.ndarray,
    scores: resampling.Scores,
    *,
    owners: np.ndarray | None = None,
    num_resamples: int = 1_000,
    seed: int = 0,
) -> Interval:
    """The interval of one mean gain, computed in the same steps as in a study."""
    num_documents = before.shape[1] if owners is None else int(owners.max()) + 1
    drawn = resamples(len(before), num_documents, num_resamples, seed=seed)
    gains = [resampled_scores(side, scores, drawn, owners=owners) for side in (after, before)]
    return resampled_interval(gains[0] - gains[1], drawn)


def f1(totals: np.ndarray) -> np.ndarray:
    """F1 from true positives, false positives and false negatives, [..., 3]."""
    true, false, missed = np.moveaxis(totals, -1, 0)
    return 2 * true / np.maximum(2 * true + false + missed, 1)


def of_totals(score: Callable[[np.ndarray], np.ndarray]) -> resampling.Scores:
    """Scores of many corpora from a function of their total counts."""

    def scores(counts: Tensor, times: Tensor) -> Tensor:
        return torch.from_numpy(score((times @ counts.double()).numpy()))

    return scores


f1_scores = of_totals(f1)


# --- one resample -----------------------------------------------------------------------------------------------------


def test_the_resampled_f1_agrees_with_a_calculation_by_hand() -> None:
    counts = np.array([[[1, 0, 1], [2, 1, 0], [0, 0, 3]], [[3, 0, 0], [0, 1, 1], [1, 1, 1]]])
    drawn = Resamples(np.ones((2, 2)), np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]]))
    # seed 0: 2 x (1, 0, 1) + (2, 1, 0) = (4, 1, 2): 8 / 11; 3 x (0, 0, 3): 0 / 9
    # seed 1: 2 x (3, 0, 0) + (0, 1, 1) = (6, 1, 1): 12 / 14; 3 x (1, 1, 1): 6 / 12
    np.testing.assert_allclose(resampled_scores(counts, f1_scores, drawn), [[8 / 11, 12 / 14], [0, 1 / 2]])


def test_the_resampled_scores_of_a_head_are_its_scores_of_copied_documents() -> None:
    head = TokenClassification(["Disease"], 4)
    counts = np.random.default_rng(0).integers(0, 6, size=(2, 5, 7))
    drawn = resamples(2, 5, 8)
    ours = resampled_scores(counts, head.primary_scores, drawn)
    for b, times in enumerate(drawn.documents.astype(int)):
        for seed in range(2):
            copied = np.repeat(counts[seed], times, axis=0).sum(axis=0)
            assert ours[b, seed] == head.score(torch.from_numpy(copied))["f1"]


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_rows_are_drawn_as_often_as_their_document(metric: str) -> None:
    head = Regression([], 4, range=(0, 4), primary_metric=metric)
    rng = np.random.default_rng(0)
    owners = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 4])  # the fourth document has no rows
    pairs = rng.standard_normal((3, len(owners), 2))
    drawn = resamples(3, 5, 6, seed=1)
    ours = resampled_scores(pairs, head.primary_scores, drawn, owners=owners)
    theirs = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    for b, times in enumerate(drawn.documents.astype(int)):
        rows = [row for document, n in enumerate(times) for _ in range(n) for row in np.flatnonzero(owners == document)]
        np.testing.assert_allclose(ours[b], [theirs(*values[rows].T).statistic for values in pairs])
    low, high = hierarchical_interval(
        pairs, pairs + rng.standard_normal(pairs.shape), head.primary_scores, owners=owners, num_resamples=100
    )
    assert low < high


def test_additive_rows_of_a_document_score_like_their_sum() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, size=(2, 7, 3))
    owners = np.array([0, 0, 1, 2, 2, 2, 3])
    documents = np.stack([rows[:, owners == document].sum(axis=1) for document in range(4)], axis=1)
    drawn = resamples(2, 4, 20)
    np.testing.assert_allclose(
        resampled_scores(rows, f1_scores, drawn, owners=owners), resampled_scores(documents, f1_scores, drawn)
    )


def test_a_head_that_overrides_score_is_scored_one_resample_at_a_time() -> None:
    class Overriding(TokenClassification):
        def score(self, counts: Tensor) -> dict[str, float]:
            assert counts.dtype == torch.int64  # the type of the saved counts
            return super().score(counts)

    counts = np.random.default_rng(0).integers(0, 6, size=(2, 5, 7))
    drawn = resamples(2, 5, 8)
    theirs = resampled_scores(counts, Overriding(["Disease"], 4).primary_scores, drawn)
    ours = resampled_scores(counts, TokenClassification(["Disease"], 4).primary_scores, drawn)
    np.testing.assert_array_equal(theirs, ours)


def test_scores_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).integers(0, 6, size=(2, 5, 3))
    drawn = resamples(2, 5, 11)
    whole = resampled_scores(counts, f1_scores, drawn)
    sizes = []

    def recorded(counts: Tensor, times: Tensor) -> Tensor:
        sizes.append(len(times))
        return f1_scores(counts, times)

    monkeypatch.setattr(resampling, "_CHUNK_SIZE", 20)
    np.testing.assert_array_equal(resampled_scores(counts, recorded, drawn), whole)
    assert sizes == [4, 4, 4, 4, 3, 3]  # twice per chunk, for two seeds; 4 resamples x 5 documents = 20


def test_each_resample_has_as_many_units_as_the_sample() -> None:
    drawn = resamples(5, 30, 200, seed=3)
    assert set(drawn.seeds.sum(axis=1)) == {5}
    assert set(drawn.documents.sum(axis=1)) == {30}
    again, other = resamples(5, 30, 200, seed=3), resamples(5, 30, 200, seed=4)
    np.testing.assert_array_equal(drawn.documents, again.documents)
    assert (drawn.documents != other.documents).any()
    assert drawn.seeds.var() == pytest.approx(1 - 1 / 5, rel=0.1)  # binomial


# --- the interval -----------------------------------------------------------------------------------------------------


def planted_counts(rng: np.random.Generator, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Ten seeds, 40 documents of 50 mentions; the partner's gain differs between documents by `spread`."""
    gain = np.clip(10 + spread * rng.standard_normal(40), 0, 20).round()
    before = np.clip(20 + rng.standard_normal((10, 40)).round(), 0, 30)
    after = before + gain
    return tuple(np.stack([found, np.zeros_like(found), 50 - found], axis=-1) for found in (before, after))


def test_gains_that_differ_between_documents_widen_the_interval_but_not_the_one_over_seeds_alone() -> None:
    widths = {}
    for spread in (0.0, 6.0):
        before, after = planted_counts(np.random.default_rng(1), spread)
        low, high = hierarchical_interval(before, after, f1_scores)
        by_seed = f1(after.sum(axis=1)) - f1(before.sum(axis=1))
        assert low < by_seed.mean() < high
        widths[spread] = (high - low, np.ptp(interval(by_seed)))
    assert widths[6.0][0] > 3 * widths[0.0][0]
    assert widths[6.0][1] < widths[6.0][0] / 3


def test_gains_that_differ_between_seeds_widen_the_interval_if_all_documents_are_identical() -> None:
    found = np.linspace(10, 30, 6)[:, None] * np.ones((6, 20))
    after = np.stack([found, np.zeros_like(found), 50 - found], axis=-1)
    before = np.stack([np.full_like(found, 10), np.zeros_like(found), np.full_like(found, 40)], axis=-1)
    low, high = hierarchical_interval(before, after, f1_scores, num_resamples=4_000)
    gains = f1(after.sum(axis=1)) - f1(before.sum(axis=1))
    theirs = stats.bootstrap((gains,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    # Expected widening for 6 values, from the normal interval with n in the denominator to the t interval, by hand:
    # 2.5706 / 1.9600 * sqrt(6 / 5). Uniform gains have lighter tails than both distributions.
    center, half = gains.mean(), (theirs.high - theirs.low) / 2 * 1.4368
    assert (low, high) == pytest.approx((center - half, center + half), abs=0.02)


@pytest.mark.parametrize("num_seeds", [6, 8, 12])
@pytest.mark.parametrize(
    ("of_documents", "of_both"), [(0.0, 0.0), (2.0, 1.0), (2.0, 8.0)], ids=["seeds", "documents", "interaction"]
)
def test_the_interval_covers_the_gain_with_few_seeds(num_seeds: int, of_documents: float, of_both: float) -> None:
    rng = np.random.default_rng(num_seeds)
    drawn = resamples(num_seeds, 60, 400)
    covered = 0
    for _ in range(800):
        # Noise of each seed, of each document, and of each seed on each document; the true gain is 0.
        gains = rng.standard_normal((num_seeds, 1)) + of_documents * rng.standard_normal(60)
        gains = gains + of_both * rng.standard_normal((num_seeds, 60))
        low, high = resampled_interval(drawn.documents @ gains.T / 60, drawn)
        covered += low <= 0 <= high
    assert covered / 800 >= 0.92


def test_both_sides_score_the_same_documents() -> None:
    # If only the difficulty of the documents varies, pairing removes it: the gain is the same in every resample.
    hard = np.repeat(np.linspace(0, 40, 30)[None, :], 6, axis=0)
    before = np.stack([hard, np.full_like(hard, 50)], axis=-1)
    after = np.stack([hard + 5, np.full_like(hard, 50)], axis=-1)

    def accuracy(counts: np.ndarray) -> np.ndarray:
        return counts[..., 0] / counts[..., 1]

    assert hierarchical_interval(before, after, of_totals(accuracy)) == pytest.approx((0.1, 0.1))


def test_the_hierarchical_interval_is_reproducible_and_depends_on_the_seed() -> None:
    before, after = planted_counts(np.random.default_rng(1), 3.0)
    first, again, other = (hierarchical_interval(before, after, f1_scores, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == pytest.approx(other, abs=0.02)


def test_counts_that_do_not_match_the_resampled_documents_or_the_owners_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^counts .* 5 .* documents, got 4"):
        resampled_scores(np.zeros((6, 4, 3)), f1_scores, resamples(6, 5, 10))
    with pytest.raises(ValueError, match=r"^counts .* 3 .* owners, got 4"):
        resampled_scores(np.zeros((6, 4, 3)), f1_scores, resamples(6, 4, 10), owners=[0, 1, 3])
