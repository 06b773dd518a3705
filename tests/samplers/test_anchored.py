from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scipy.stats import chisquare

from mtl.problems import InputError
from mtl.samplers import TaskSize
from mtl.samplers.anchored import Anchored

SIZES = {"a": TaskSize(80, 5), "b": TaskSize(48, 3), "c": TaskSize(16, 1)}


def make(**options: Any) -> Anchored:
    return Anchored(SIZES, 1, 3, **({"main": "a"} | options))


def test_ratio_04_yields_five_of_the_main_task_and_two_others() -> None:
    for epoch in range(10):
        counts = Counter(make(ratio=0.4).epoch(epoch))
        assert counts["a"] == 5
        assert counts["b"] + counts["c"] == 2


@pytest.mark.parametrize(("ratio", "others"), [(0.2, 1), (0.39, 1), (0.6, 3), (0.8, 4), (50.0, 4), (None, 4)])
def test_the_number_of_other_batches_is_the_smaller_of_ratio_times_main_and_all(
    ratio: float | None, others: int
) -> None:
    sampler = make(ratio=ratio)
    assert sampler.steps_per_epoch(0) == len(sampler.epoch(0)) == 5 + others


def test_a_product_that_is_an_integer_is_not_rounded_down() -> None:
    sizes = {"a": TaskSize(1600, 100), "b": TaskSize(1600, 100)}
    assert Anchored(sizes, 1, 1, main="a", ratio=0.29).steps_per_epoch(0) == 129  # 0.29 * 100 < 29 in floats


def test_batches_of_other_tasks_are_drawn_without_replacement_in_proportion_to_their_numbers() -> None:
    drawn: Counter[str] = Counter()
    for epoch in range(1000):
        others = [task for task in make(ratio=0.4).epoch(epoch) if task != "a"]
        assert others.count("c") <= 1
        drawn.update(others)
    # two of (b, b, b, c): c is among them with probability 1/2
    assert chisquare([drawn["c"], 1000 - drawn["c"]]).pvalue > 0.001


@pytest.mark.parametrize("ratio", [0.4, None])
def test_main_last_ends_with_all_batches_of_the_main_task(ratio: float | None) -> None:
    tasks = make(ratio=ratio, order="main_last").epoch(1)
    assert tasks[-5:] == ["a"] * 5
    assert "a" not in tasks[:-5]


def test_the_order_mixed_shuffles_the_main_task_with_the_others() -> None:
    orders = {"".join(make(ratio=0.4).epoch(epoch)) for epoch in range(50)}
    assert any(order.startswith("a") for order in orders)
    assert len(orders) > 20


def test_an_unknown_main_task_is_an_input_error_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"sampler\.main: .*'gda'.*'gad'\?"):
        Anchored({"gad": TaskSize(16, 1), "rqe": TaskSize(16, 1)}, 1, 1, main="gda")


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan")])
def test_a_ratio_must_be_above_zero(ratio: float) -> None:
    with pytest.raises(InputError, match=rf"sampler\.ratio: .*{ratio}"):
        make(ratio=ratio)


def test_a_ratio_that_gives_no_batch_is_an_input_error_with_the_smallest_valid_ratio() -> None:
    with pytest.raises(InputError, match=r"sampler\.ratio: .* 0\.1\. .* 0\.2 "):
        make(ratio=0.1)


def test_an_unknown_order_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"sampler\.order: .*mixed.*main_last.*'last'"):
        make(order="last")


def test_without_other_tasks_an_epoch_is_one_pass_over_the_main_task() -> None:
    assert Anchored({"a": TaskSize(80, 5)}, 1, 1, main="a", ratio=0.4).epoch(0) == ["a"] * 5


def test_rates_of_the_mixture_have_no_effect() -> None:
    assert not Anchored.uses_rates
    assert make().rates() == {"a": 5 / 9, "b": 3 / 9, "c": 1 / 9}
