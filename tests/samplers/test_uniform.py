from __future__ import annotations

from collections import Counter

from scipy.stats import chisquare

from mtl.samplers import TaskSize
from mtl.samplers.uniform import Uniform

SIZES = {"large": TaskSize(90_000, 2900, rate=50.0), "small": TaskSize(100, 50), "tiny": TaskSize(1, 50)}


def test_all_tasks_are_equally_frequent_whatever_their_size_or_rate() -> None:
    sampler = Uniform(SIZES, 1, 3)
    counts = Counter(sampler.epoch(0))
    assert counts.total() == 3000
    assert chisquare([counts[task] for task in SIZES]).pvalue > 0.001
    assert set(sampler.rates().values()) == {1 / 3}
    assert not sampler.uses_rates
