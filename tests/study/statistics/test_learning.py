"""Collapsed and settled runs."""

import math

import pytest

from mtl.study.statistics.learning import Learning, collapsed, is_settled


def test_a_run_at_or_below_the_trivial_predictor_has_collapsed_if_the_median_is_above() -> None:
    assert collapsed([0.8, 0.5, 0.9, 0.4, 0.7], 0.5) == [1, 3]
    assert collapsed([0.5, 0.5, 0.9], 0.5) == []
    assert collapsed([math.nan, 0.1, 0.9, 0.8], 0.5) == [1]
    assert collapsed([math.nan], 0.5) == []
    assert collapsed([], 0.5) == []


def test_the_first_of_equal_evaluations_is_the_best() -> None:
    assert is_settled([0.5, 0.9, 0.7, 0.7, 0.9])
    assert is_settled([0.5, 0.6, 0.7, 0.9, 0.8])
    assert not is_settled([0.5, 0.6, 0.7, 0.8, 0.9])
    assert not is_settled([math.nan, math.nan])


@pytest.mark.parametrize(("settled", "expected"), [(6, True), (5, False), (None, None)])
def test_a_task_is_settled_if_two_of_three_runs_are(settled: int | None, expected: bool | None) -> None:
    assert Learning(8, num_settled=settled).is_settled is expected
    assert Learning().is_settled is None
