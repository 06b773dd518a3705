from __future__ import annotations

from collections import Counter

from scipy.stats import chisquare

from mtl.samplers import TaskSize
from mtl.samplers.weighted import Weighted

SIZES = {"a": TaskSize(900, 1000, rate=2.5), "b": TaskSize(40_000, 1500), "c": TaskSize(25, 500, rate=0.5)}


def test_rates_are_those_of_the_mixture_and_1_by_default() -> None:
    assert Weighted(SIZES, 1, 3).rates() == {"a": 2.5 / 4, "b": 1 / 4, "c": 0.5 / 4}


def test_frequencies_follow_the_rates_of_the_mixture() -> None:
    counts = Counter(Weighted(SIZES, 1, 3).epoch(0))
    assert chisquare([counts[task] for task in SIZES], [1875, 750, 375]).pvalue > 0.001


def test_without_any_rate_all_tasks_are_equal() -> None:
    sizes = {name: size._replace(rate=None) for name, size in SIZES.items()}
    assert set(Weighted(sizes, 1, 3).rates().values()) == {1 / 3}
