from __future__ import annotations

from collections import Counter

import pytest
from scipy.stats import chisquare

from mtl.samplers import RateChange, TaskSize
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


def changed(*changes: RateChange) -> Weighted:
    return Weighted({**SIZES, "c": SIZES["c"]._replace(rate_changes=changes)}, 1, 3)


def test_a_changed_rate_holds_from_its_step_on_and_changes_nothing_before() -> None:
    plain, sampler = Weighted(SIZES, 1, 3), changed(RateChange(1, 700, 4.5))
    assert sampler.epoch(0) == plain.epoch(0)
    assert sampler.epoch(1)[:700] == plain.epoch(1)[:700]
    for tasks in (sampler.epoch(1)[700:], sampler.epoch(2)):
        counts, total = Counter(tasks), len(tasks)
        assert chisquare([counts[task] for task in SIZES], [total * rate / 8 for rate in (2.5, 1, 4.5)]).pvalue > 0.001


@pytest.mark.parametrize("task", SIZES)
def test_a_task_with_the_rate_0_is_not_drawn_alone_or_with_others(task: str) -> None:
    change = (RateChange(0, 1000, 0.0), RateChange(2, 10, 1.0))
    sampler = Weighted({**SIZES, task: SIZES[task]._replace(rate_changes=change)}, 1, 3)
    assert task in sampler.epoch(0)[:1000]
    assert task not in [*sampler.epoch(0)[1000:], *sampler.epoch(1), *sampler.epoch(2)[:10]]
    assert task in sampler.epoch(2)[10:]
    mixed = sampler.mixed_epoch(1, 3)
    assert set(mixed) == {tuple(name for name in SIZES if name != task)}
    assert len(mixed) == sampler.mixed_steps_per_epoch(3)


def test_several_changes_follow_each_other() -> None:
    sampler = changed(RateChange(0, 0, 0.0), RateChange(0, 5, 1e9), RateChange(0, 9, 0.0))
    assert [task == "c" for task in sampler.epoch(0)[:12]] == [False] * 5 + [True] * 4 + [False] * 3
