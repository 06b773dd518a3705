from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from mtl.problems import InputError
from mtl.samplers import TaskSize
from mtl.samplers.annealed import Annealed
from mtl.samplers.temperature import Temperature

SIZES = {"a": TaskSize(900, 50), "b": TaskSize(100, 30)}


def share_of_a(sampler: Annealed, progress: float) -> float:
    weights = sampler.weights(np.array([[progress]]))[0]
    return float(weights[0] / weights.sum())


def test_the_temperature_moves_linearly_from_start_to_end() -> None:
    sampler = Annealed(SIZES, 1, 10, start=1.0, end=3.0)
    assert share_of_a(sampler, 0.0) == pytest.approx(0.9)  # 900 / 1000
    assert share_of_a(sampler, 0.5) == pytest.approx(0.75)  # temperature 2: 30 / 40
    assert share_of_a(sampler, 1.0) == pytest.approx(900 ** (1 / 3) / (900 ** (1 / 3) + 100 ** (1 / 3)))


def test_the_first_epoch_has_the_start_temperature_and_the_last_epoch_the_end_temperature() -> None:
    sampler = Annealed(SIZES, 1, 1000, start=1.0, end=2.0, steps_per_epoch=5000)
    for epoch, expected in ((0, [4500, 500]), (999, [3750, 1250])):
        counts = Counter(sampler.epoch(epoch))
        assert chisquare([counts["a"], counts["b"]], expected).pvalue > 0.001


def test_the_share_also_changes_within_an_epoch() -> None:
    tasks = Annealed(SIZES, 1, 1, start=1.0, end=1e6, steps_per_epoch=10_000).epoch(0)
    assert tasks[:20].count("a") >= 10  # the temperature reaches 2 within one step: 0.75
    assert tasks[5000:].count("a") == pytest.approx(2500, abs=250)


def test_after_the_planned_training_the_temperature_stays_at_the_end() -> None:
    sampler = Annealed(SIZES, 1, 2, start=1.0, end=2.0, steps_per_epoch=5000)
    counts = Counter(sampler.epoch(7))
    assert chisquare([counts["a"], counts["b"]], [3750, 1250]).pvalue > 0.001


def test_with_equal_ends_it_equals_the_temperature_sampler() -> None:
    annealed, fixed = Annealed(SIZES, 1, 4, start=2.0, end=2.0), Temperature(SIZES, 1, 4, temperature=2.0)
    assert annealed.epoch(3) == fixed.epoch(3)


def test_rates_are_the_mean_over_the_first_epoch() -> None:
    sampler = Annealed(SIZES, 1, 1, start=1.0, end=3.0, steps_per_epoch=4)
    expected = np.mean([share_of_a(sampler, progress) for progress in (0, 0.25, 0.5, 0.75)])
    assert sampler.rates()["a"] == pytest.approx(expected)


def test_both_ends_must_be_above_zero() -> None:
    with pytest.raises(InputError) as error:
        Annealed(SIZES, 1, 3, start=0.0, end=-2.0)
    assert [problem.key for problem in error.value.problems] == ["sampler.start", "sampler.end"]
