"""The statistics of a study, compared with scipy, sums by hand and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtl.study.statistics import significance
from mtl.study.statistics.significance import (
    analyse,
    coverage,
    floor,
    interval,
    power,
    relative_change,
    screening_q,
    sign_flip_p,
    sign_patterns,
    smallest_gain,
    step_down_p,
)

SEEDS_OF_DESIGNS = (6, 8, 12)


def correlated_null(rng: np.random.Generator, num_seeds: int = 8, targets: int = 5, partners: int = 4) -> np.ndarray:
    """Differences without any gain, [S, C]; the cells of a target share its baseline."""
    runs = rng.standard_normal((num_seeds, targets * partners))
    return runs - np.repeat(rng.standard_normal((num_seeds, targets)), partners, axis=1)


# --- sign flips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 6, 9, 12])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_sign_flip_p_equals_that_of_scipys_exact_permutation_test(num_seeds: int, shift: float) -> None:
    values = np.random.default_rng(num_seeds).standard_normal(num_seeds) + shift
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_ties_count_as_equal_despite_rounding() -> None:
    # In tenths, 1 + 2 + 3 - 3 = 3. Of the 16 sign patterns of 1, 2, 3, 3 all but the four with sum 1 or -1 reach it.
    sums = [abs(a + 2 * b + 3 * c + 3 * d) for a, b, c, d in itertools.product((1, -1), repeat=4)]
    assert sum(total >= 3 for total in sums) == 12
    assert sign_flip_p([0.1, 0.2, 0.3, -0.3]) == 12 / 16


@pytest.mark.parametrize("num_seeds", [1, 2, 3, 5, 6, 10])
def test_equal_gains_reach_the_floor(num_seeds: int) -> None:
    assert sign_flip_p(np.full(num_seeds, 0.3)) == floor(num_seeds) == 2 / 2**num_seeds


def test_sign_patterns_leave_out_mirror_images_and_start_with_the_observed_one() -> None:
    signs = sign_patterns(4)
    assert signs.shape == (8, 4)
    assert signs[0].tolist() == [1, 1, 1, 1]
    both = {tuple(line) for line in np.vstack([signs, -signs]).tolist()}
    assert len(both) == 16


def test_above_sixteen_seeds_patterns_are_sampled_and_include_the_observed_one() -> None:
    values = np.random.default_rng(0).standard_normal(20) + 0.5
    p = sign_flip_p(values)
    assert p == sign_flip_p(values) != sign_flip_p(values, seed=1)
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)  # the limit for many seeds
    assert sign_flip_p(np.full(20, 1.0) + values / 100) == 1 / (significance.NUM_DRAWN_PATTERNS + 1)


def test_a_test_of_missing_values_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^differences .* NaN"):
        sign_flip_p([1.0, math.nan])


# --- the whole matrix -------------------------------------------------------------------------------------------------


def naive_step_down(matrix: np.ndarray) -> np.ndarray:
    """A direct transcription of Westfall and Young's algorithm, with t statistics and all 2^S patterns."""
    num_seeds, cells = matrix.shape
    signs = 2 * np.array(list(np.ndindex(*[2] * num_seeds))) - 1

    def t(values: np.ndarray) -> np.ndarray:
        return np.abs(values.mean(axis=0)) / (values.std(axis=0, ddof=1) / math.sqrt(num_seeds))

    observed, flipped = t(matrix), np.array([t(matrix * pattern[:, None]) for pattern in signs])
    order = sorted(range(cells), key=lambda cell: -observed[cell])
    adjusted, so_far = np.zeros(cells), 0.0
    for place, cell in enumerate(order):
        largest = flipped[:, order[place:]].max(axis=1)
        so_far = max(so_far, float((largest >= observed[cell] * (1 - 1e-9)).mean()))
        adjusted[cell] = so_far
    return adjusted


@pytest.mark.parametrize("seed", range(4))
def test_the_step_down_is_westfall_and_youngs_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = correlated_null(rng, 6, 3, 2) + rng.choice([0.0, 2.0], size=6)
    np.testing.assert_allclose(step_down_p(matrix), naive_step_down(matrix), atol=1e-12)


def test_the_p_of_a_single_cell_is_not_changed_by_adjustment() -> None:
    values = np.random.default_rng(3).standard_normal(7) + 1
    assert step_down_p(values[:, None])[0] == sign_flip_p(values)


def test_the_floor_does_not_depend_on_the_number_of_cells() -> None:
    # One cell with nearly equal gains among 200 others: Holm would multiply its p of 2/2^6 by 201.
    noise = np.random.default_rng(0).standard_normal((6, 200))
    strong = 5 + np.linspace(0, 1e-6, 6)[:, None]
    assert step_down_p(np.hstack([noise, strong]))[-1] == 2 / 2**6


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_adjusting_never_lowers_p_and_does_not_depend_on_the_order_sign_or_unit_of_cells(
    seed: int, num_seeds: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((num_seeds, cells)) + rng.standard_normal(cells)
    adjusted = step_down_p(matrix)
    assert all(adjusted >= [sign_flip_p(values) - 1e-12 for values in matrix.T])
    assert adjusted.min() >= floor(num_seeds)
    order = rng.permutation(cells)
    scale = rng.choice([-100.0, -1.0, 0.01, 3.0], size=cells)
    np.testing.assert_allclose(step_down_p((matrix * scale)[:, order]), adjusted[order], atol=1e-12)
    np.testing.assert_allclose(step_down_p(matrix[rng.permutation(num_seeds)]), adjusted, atol=1e-12)


def test_cells_without_runs_do_not_affect_the_others() -> None:
    matrix = np.random.default_rng(2).standard_normal((6, 4)) + 1
    with_gap = np.insert(matrix, 1, np.nan, axis=1)
    adjusted = step_down_p(with_gap)
    assert np.isnan(adjusted[1])
    np.testing.assert_array_equal(np.delete(adjusted, 1), step_down_p(matrix))
    assert np.isnan(step_down_p(np.full((6, 2), np.nan))).all()


def test_a_cell_that_lacks_some_seeds_is_an_error_that_names_them() -> None:
    matrix = np.ones((6, 3))
    matrix[[1, 4], 2] = np.nan
    with pytest.raises(ValueError, match=r"^differences\[:, 2\] .* \[1, 4\]"):
        step_down_p(matrix)


def test_an_infinite_difference_is_an_error_that_names_its_place() -> None:
    matrix = np.ones((6, 3))
    matrix[1, 2] = np.inf
    with pytest.raises(ValueError, match=r"^differences\[1, 2\] .* infinite"):
        analyse(matrix)


@pytest.mark.slow
def test_the_family_wise_error_rate_of_null_matrices_is_at_most_alpha() -> None:
    rng = np.random.default_rng(11)
    matrices = 4_000
    false_positive = sum(bool((step_down_p(correlated_null(rng)) <= 0.05).any()) for _ in range(matrices))
    print(f"family-wise error rate {false_positive / matrices:.4f}")
    # 0.05 plus simulation error; a test without any power would be below the lower bound.
    assert 0.03 <= false_positive / matrices <= 0.058


@pytest.mark.slow
def test_the_family_wise_error_rate_of_the_other_cells_holds_if_some_have_gains() -> None:
    rng = np.random.default_rng(12)
    planted = np.arange(20) < 8
    false_positive = detected = 0.0
    matrices = 2_000
    for _ in range(matrices):
        significant = step_down_p(correlated_null(rng) + 5.0 * planted) <= 0.05
        false_positive += bool(significant[~planted].any())
        detected += significant[planted].mean()
    assert false_positive / matrices <= 0.058
    assert detected / matrices > 0.9


def test_q_values_are_those_of_benjamini_and_hochberg_without_the_missing_cells() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5])
    # by hand: sorted .01 .03 .04 .5 times 4 / rank: .04, .06, .0533, .5, then the running minimum from the right
    np.testing.assert_allclose(screening_q(p), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    np.testing.assert_allclose(screening_q(p), stats.false_discovery_control(p))
    gap = np.insert(p, 2, np.nan)
    np.testing.assert_array_equal(np.isnan(screening_q(gap)), np.isnan(gap))
    np.testing.assert_allclose(np.delete(screening_q(gap), 2), screening_q(p))


# --- cells ------------------------------------------------------------------------------------------------------------


def test_the_statistics_of_a_cell_agree_with_a_calculation_by_hand_and_with_scipy() -> None:
    values = [1.0, 2.0, 3.0, 2.0, 4.0, 0.5]
    # sum 12.5; squares 1 + 4 + 9 + 4 + 16 + 0.25 = 34.25; variance (34.25 - 12.5^2 / 6) / 5 = 1.641667
    (cell,) = analyse(np.array(values)[:, None])
    assert cell.n == 6
    assert cell.mean == pytest.approx(12.5 / 6)
    assert cell.sd == pytest.approx(math.sqrt(1.6416667))
    half = 2.570582 * math.sqrt(1.6416667 / 6)  # the 97.5% point of t with 5 degrees of freedom, from a table
    assert cell.interval == pytest.approx((12.5 / 6 - half, 12.5 / 6 + half), abs=1e-5)
    assert cell.interval == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval(0.95))
    assert cell.p == cell.adjusted_p == cell.q == 2 / 64  # all six are above 0: only the mirror image is as extreme
    assert cell.verdict == "helps"


def test_the_verdict_depends_on_the_adjusted_p_and_the_sign_of_the_mean() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((8, 12))
    noise[:, 0] += 6
    noise[:, 1] -= 6
    noise[:, 2] = [0.1, 0.5, 0.9, 1.3, 0.2, 1.9, 0.8, -0.15]  # p is below .05 alone, but not adjusted for twelve cells
    cells = analyse(noise)
    assert [cell.verdict for cell in cells[:3]] == ["helps", "hurts", "undecided"]
    assert cells[2].p <= 0.05 < cells[2].adjusted_p
    np.testing.assert_allclose([cell.q for cell in cells], stats.false_discovery_control([cell.p for cell in cells]))


@pytest.mark.parametrize("num_seeds", [1, 2, 3, 4, 5])
def test_every_gain_is_unresolvable_with_up_to_five_seeds_and_not_with_six(num_seeds: int) -> None:
    assert {cell.verdict for cell in analyse(np.full((num_seeds, 3), 50.0))} == {"unresolvable"}
    assert {cell.verdict for cell in analyse(np.full((6, 3), 50.0))} == {"helps"}


def test_an_unresolvable_cell_still_has_an_interval() -> None:
    (cell,) = analyse([[10.0], [11.0], [12.0]])
    assert (cell.verdict, cell.p) == ("unresolvable", 0.25)
    assert cell.interval.low > 0


def test_a_cell_that_lacks_a_seed_has_statistics_but_is_never_significant() -> None:
    matrix = np.full((8, 3), 3.0) + np.random.default_rng(0).standard_normal((8, 3)) / 10
    matrix[2, 1] = np.nan
    matrix[:, 2] = np.nan
    whole, lacking, absent = analyse(matrix)
    assert whole.adjusted_p == whole.p == 2 / 2**8
    assert (lacking.n, lacking.p, lacking.verdict) == (7, 2 / 2**7, "undecided")
    assert lacking.mean == pytest.approx(np.nanmean(matrix[:, 1]))
    assert math.isnan(lacking.adjusted_p)
    assert (absent.n, absent.verdict) == (0, "unresolvable")
    assert all(math.isnan(value) for value in (absent.mean, absent.sd, *absent.interval, absent.p, absent.q))


def test_differences_of_zero_are_undecided_with_p_1() -> None:
    (cell,) = analyse(np.zeros((8, 1)))
    assert (cell.p, cell.adjusted_p, cell.interval, cell.verdict) == (1.0, 1.0, (0.0, 0.0), "undecided")


# --- intervals --------------------------------------------------------------------------------------------------------


def test_the_studentised_interval_agrees_with_a_bootstrap_t_of_one_resample_at_a_time() -> None:
    values = np.random.default_rng(1).standard_normal(9) + 2
    rng = np.random.default_rng(8)
    ratios = []
    for _ in range(10_000):
        drawn = rng.choice(values, size=9)
        if len(set(drawn)) > 1:
            ratios.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / 3))
    lower, upper = np.quantile(ratios, [0.025, 0.975])
    expected = (values.mean() - upper * stats.sem(values), values.mean() - lower * stats.sem(values))
    assert interval(values, method="studentised") == pytest.approx(expected, abs=0.2)
    wider = interval(values, 0.99, method="studentised")
    assert wider.low < expected[0] < expected[1] < wider.high


def test_the_studentised_interval_of_three_seeds_is_given_by_the_extremes_of_its_24_resamples() -> None:
    for seed in range(20):
        values = np.random.default_rng(seed).standard_normal(3)
        drawn = np.array([line for line in itertools.product(values, repeat=3) if len(set(line)) > 1])
        ratios = (drawn.mean(axis=1) - values.mean()) / stats.sem(drawn, axis=1)
        expected = values.mean() - np.array([ratios.max(), ratios.min()]) * stats.sem(values)
        assert interval(values, method="studentised") == pytest.approx(tuple(expected))


def test_the_bca_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).standard_normal(9)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9_999, rng=np.random.default_rng(4)).confidence_interval
    assert interval(values, method="bca") == pytest.approx((theirs.low, theirs.high), abs=0.08)


@pytest.mark.parametrize("method", ["studentised", "bca"])
def test_a_bootstrap_interval_is_reproducible_and_depends_on_the_seed(method: significance.Method) -> None:
    values = np.random.default_rng(1).standard_normal(9)
    assert interval(values, method=method) == interval(values, method=method)
    assert interval(values, method=method) != interval(values, method=method, seed=1)


def test_one_value_has_no_interval() -> None:
    assert all(math.isnan(end) for end in interval([1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", SEEDS_OF_DESIGNS)
def test_the_default_interval_covers_up_to_skewness_one(num_seeds: int) -> None:
    covered = {skewness: coverage("t", num_seeds, skewness) for skewness in (0.0, 0.5, 1.0, 2.0, 4.0)}
    print(f"coverage at {num_seeds} seeds: {covered}")
    assert covered[0.0] == pytest.approx(0.95, abs=0.01)  # exact for normal differences
    assert min(covered[skewness] for skewness in (0.0, 0.5, 1.0)) >= 0.92
    assert covered[4.0] < covered[1.0]  # the simulation shows the effect of skewness


@pytest.mark.slow
def test_the_coverage_of_each_method_with_six_seeds_is_as_documented() -> None:
    covered = {method: coverage(method, 6, num_simulations=2_000) for method in ("t", "studentised", "bca")}
    assert covered["t"] == pytest.approx(0.947, abs=0.02)
    assert covered["studentised"] == pytest.approx(0.938, abs=0.02)
    assert covered["bca"] == pytest.approx(0.853, abs=0.03)


# --- power ------------------------------------------------------------------------------------------------------------


def test_the_power_for_a_gain_of_three_sds_among_twenty_cells_is_as_planned() -> None:
    assert power(3.0, 6) == pytest.approx(0.66, abs=0.06)
    assert power(3.0, 8) == pytest.approx(0.97, abs=0.04)
    assert power(3.0, 5) == 0  # below the floor of five seeds


@pytest.mark.slow
def test_the_power_agrees_with_the_share_of_gains_that_the_step_down_detects() -> None:
    rng = np.random.default_rng(6)
    detected = 0
    for _ in range(1_500):
        matrix = rng.standard_normal((7, 10))
        matrix[:, 0] += 2.0
        detected += step_down_p(matrix)[0] <= 0.05
    assert power(2.0, 7, 10) == pytest.approx(detected / 1_500, abs=0.04)


def test_without_a_gain_the_power_is_the_false_positive_rate() -> None:
    assert power(0.0, 8, 1, num_simulations=4_000) == pytest.approx(0.047, abs=0.012)  # 6 of 128 patterns
    assert power(0.0, 8, 20) < 0.01


def test_the_smallest_gain_has_the_requested_power_and_the_unit_of_the_sd() -> None:
    gain = smallest_gain(1.0, 8, cells=20)
    assert power(gain, 8, 20, seed=5) == pytest.approx(0.8, abs=0.04)
    assert smallest_gain(2.5, 8, cells=20) == pytest.approx(2.5 * gain)
    assert smallest_gain(1.0, 8, cells=1) < gain < smallest_gain(1.0, 8, 0.95, cells=20)
    assert smallest_gain(1.0, 12, cells=20) < gain < smallest_gain(1.0, 6, cells=20)


def test_the_smallest_gain_of_one_cell_is_close_to_that_of_the_t_test() -> None:
    from statsmodels.stats.power import TTestPower

    assert smallest_gain(1.0, 12) == pytest.approx(TTestPower().solve_power(nobs=12, alpha=0.05, power=0.8), rel=0.08)


def test_the_smallest_gain_is_infinite_if_the_floor_is_above_alpha() -> None:
    assert smallest_gain(1.0, 5) == math.inf
    assert smallest_gain(1.0, 5, alpha=0.1) < math.inf


# --- relative change --------------------------------------------------------------------------------------------------


def test_the_relative_change_flips_the_sign_of_metrics_for_which_lower_is_better() -> None:
    # accuracy 50 -> 55: +10%; error 4 -> 5: 25% worse; F1 80 -> 76: -5%; the mean is (10 - 25 - 5) / 3 %
    assert relative_change([5.0, 1.0, -4.0], [50.0, 4.0, 80.0], [1, -1, 1]) == pytest.approx(-0.2 / 3)


def test_the_relative_change_has_one_value_per_run() -> None:
    changes = relative_change([[5.0, 1.0], [0.0, 2.0]], [[50.0, 4.0], [40.0, 8.0]], [1, 1])
    np.testing.assert_allclose(changes, [(0.1 + 0.25) / 2, 0.125])


def test_the_relative_change_is_nan_if_a_task_is_missing() -> None:
    assert np.isnan(relative_change([5.0, math.nan], [50.0, 4.0], [1, 1]))


def test_a_baseline_of_zero_and_an_unknown_direction_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^baselines\[1\] .* 0"):
        relative_change([1.0, 1.0], [1.0, 0.0], [1, 1])
    with pytest.raises(ValueError, match=r"directions .* \[1, 0\]"):
        relative_change([1.0, 1.0], [1.0, 1.0], [1, 0])


# --- one unit of the test set -----------------------------------------------------------------------------------------


def test_a_constant_gain_below_one_unit_is_not_significant_and_one_of_a_unit_is() -> None:
    matrix = np.column_stack([np.full(8, 1e-16), np.full(8, 0.009), np.full(8, 0.01), np.full(8, -0.01)])
    cells = analyse(matrix, units=0.01)
    assert [cell.verdict for cell in cells] == ["undecided", "undecided", "helps", "hurts"]
    assert [cell.p for cell in cells] == [1.0, 1.0, 2 / 2**8, 2 / 2**8]
    assert [cell.adjusted_p for cell in cells][:2] == [1.0, 1.0]
    assert analyse(matrix[:, :1])[0].verdict == "undecided"  # a rounding error is never a gain


def test_the_floor_of_one_unit_makes_no_other_p_smaller() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(0.01, 0.01, (8, 6))
    free, floored = analyse(matrix), analyse(matrix, units=[0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert [cell.adjusted_p for cell in floored[:3]] == [cell.adjusted_p for cell in free[:3]]
    assert {cell.adjusted_p for cell in floored[3:]} == {1.0}
    assert all(after.q >= before.q for before, after in zip(free, floored, strict=True))


def test_an_incomplete_cell_below_one_unit_stays_untested() -> None:
    matrix = np.full((8, 2), 1e-16)
    matrix[0, 0] = np.nan
    assert np.isnan(analyse(matrix, units=0.01)[0].adjusted_p)
