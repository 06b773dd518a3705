"""The best grouping of tasks, compared with all partitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.study.statistics.grouping import MAX_TASKS, best_grouping, predicted_gains

NAN = float("nan")


def partitions(tasks: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not tasks:
        yield ()
        return
    first, rest = tasks[0], tasks[1:]
    for partition in partitions(rest):
        yield ((first,), *partition)
        for place, group in enumerate(partition):
            yield (*partition[:place], (first, *group), *partition[place + 1 :])


def total(gains: np.ndarray, partition: tuple[tuple[int, ...], ...]) -> float:
    return sum(sum(predicted_gains(gains, group).values()) for group in partition)


def brute_force(gains: np.ndarray, max_encoders: int) -> float:
    return max(total(gains, p) for p in partitions(tuple(range(len(gains)))) if len(p) <= max_encoders)


def test_the_predicted_gain_of_a_task_is_the_mean_over_the_others_of_its_group() -> None:
    gains = np.array([[NAN, 1.0, 4.0], [2.0, NAN, -6.0], [0.5, 0.0, NAN]])
    assert predicted_gains(gains, (0, 1, 2)) == {0: 2.5, 1: -2.0, 2: 0.25}
    assert predicted_gains(gains, (0, 2)) == {0: 4.0, 2: 0.5}
    assert predicted_gains(gains, (1,)) == {1: 0.0}


def test_two_helpful_pairs_and_a_harmful_task_get_separate_encoders() -> None:
    gains = np.full((5, 5), -1.0)
    gains[0, 3] = gains[3, 0] = 2.0
    gains[1, 2], gains[2, 1] = 3.0, 1.0
    best = best_grouping(gains, 5)
    assert best.groups == ((0, 3), (1, 2), (4,))
    assert best.predicted_gains == (2.0, 3.0, 1.0, 2.0, 0.0)
    assert (best.predicted_total, len(best.groups)) == (8.0, 3)


def test_a_gain_in_one_direction_can_outweigh_a_loss_in_the_other() -> None:
    gains = np.array([[NAN, 3.0], [-1.0, NAN]])
    assert best_grouping(gains, 2).groups == ((0, 1),)
    assert best_grouping(-gains, 2).groups == ((0,), (1,))


def test_with_one_encoder_all_tasks_are_trained_together_even_at_a_loss() -> None:
    best = best_grouping(np.full((4, 4), -2.0), 1)
    assert best.groups == ((0, 1, 2, 3),)
    assert best.predicted_total == -8.0


def test_of_equally_good_partitions_the_one_with_fewer_encoders_wins() -> None:
    assert len(best_grouping(np.zeros((12, 12)), 12).groups) == 1
    assert len(best_grouping([[NAN, 1.0, 1.0], [1.0, NAN, 1.0], [1.0, 1.0, NAN]], 3).groups) == 1


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 5, 6, 7])
def test_the_total_is_the_maximum_over_all_partitions(num_tasks: int) -> None:
    for seed in range(3):
        gains = np.random.default_rng(seed).standard_normal((num_tasks, num_tasks)) + 0.3 * (seed - 1)
        np.fill_diagonal(gains, NAN)
        for max_encoders in range(1, num_tasks + 1):
            best = best_grouping(gains, max_encoders)
            assert best.predicted_total == pytest.approx(brute_force(gains, max_encoders), abs=1e-9)
            assert best.predicted_total == pytest.approx(total(gains, best.groups), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_each_task_is_in_one_group_and_the_number_of_groups_is_limited(seed: int, num_tasks: int, limit: int) -> None:
    gains = np.random.default_rng(seed).normal(size=(num_tasks, num_tasks))
    best = best_grouping(gains, limit)
    assert sorted(task for group in best.groups for task in group) == list(range(num_tasks))
    assert len(best.groups) <= limit
    assert best.predicted_total == pytest.approx(sum(best.predicted_gains))
    if limit > 1:
        assert best.predicted_total >= best_grouping(gains, limit - 1).predicted_total - 1e-9
    if limit >= num_tasks:
        assert best.predicted_total >= -1e-9  # every task on its own gains 0


def test_the_total_of_twelve_tasks_agrees_with_dynamic_programming_over_sets() -> None:
    gains = np.random.default_rng(4).standard_normal((MAX_TASKS, MAX_TASKS))
    best = {0: 0.0}
    value = {mask: sum(predicted_gains(gains, members(mask)).values()) for mask in range(1, 2**MAX_TASKS)}
    for mask, as_one_group in value.items():
        lowest = mask & -mask
        rest = others = mask ^ lowest  # the lowest task is grouped with some of the rest; others remain
        found = as_one_group
        while others:
            found = max(found, value[mask ^ others] + best[others])
            others = (others - 1) & rest
        best[mask] = found
    assert best_grouping(gains, MAX_TASKS).predicted_total == pytest.approx(best[2**MAX_TASKS - 1])


def members(mask: int) -> tuple[int, ...]:
    return tuple(task for task in range(mask.bit_length()) if mask >> task & 1)


@pytest.mark.parametrize(
    ("gains", "max_encoders", "message"),
    [
        (np.zeros((13, 13)), 2, r"^gains .* 1 to 12 .*\(13, 13\)"),
        (np.zeros((3, 4)), 2, r"^gains .*\(3, 4\)"),
        (np.zeros((3, 3)), 0, "^max_encoders .* 1, got 0"),
        (np.array([[NAN, 1.0], [NAN, NAN]]), 2, r"^gains\[1, 0\] .* got nan"),
    ],
)
def test_invalid_gains_and_numbers_of_encoders_are_errors(gains: np.ndarray, max_encoders: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_grouping(gains, max_encoders)
