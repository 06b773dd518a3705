from __future__ import annotations

from collections import Counter

from mtl.samplers import TaskSize
from mtl.samplers.round_robin import RoundRobin

SIZES = {"a": TaskSize(80, 5), "b": TaskSize(48, 3), "c": TaskSize(16, 2)}


def test_tasks_take_turns_in_the_order_of_the_mixture() -> None:
    assert "".join(RoundRobin(SIZES, 1, 3).epoch(0)) == "abcabcabca"


def test_the_next_epoch_continues_with_the_task_whose_turn_it_is() -> None:
    sampler = RoundRobin(SIZES, 1, 3)
    turns = [task for epoch in range(3) for task in sampler.epoch(epoch)]
    assert "".join(turns) == "abc" * 10


def test_rates_are_those_of_the_first_epoch() -> None:
    assert RoundRobin(SIZES, 1, 3).rates() == {"a": 0.4, "b": 0.3, "c": 0.3}
    assert not RoundRobin.uses_rates


def test_no_task_is_more_than_one_step_ahead_of_another() -> None:
    counts = Counter(RoundRobin(SIZES, 1, 3, steps_per_epoch=100).epoch(4))
    assert max(counts.values()) - min(counts.values()) <= 1
