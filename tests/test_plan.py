from collections import Counter

import numpy as np
import pytest

from mtl import components
from mtl.batching import Batcher
from mtl.plan import Pick, StepPlan
from mtl.samplers import TaskSize

LENGTHS = {"gad": np.arange(5, 42), "rqe": np.arange(5, 18), "sts": np.arange(5, 9)}
SAMPLERS = [
    (name, {"main": "rqe", "ratio": 0.5} if name == "anchored" else {}) for name in components.choices("sampler")
]


def make(sampler: str = "proportional", tasks: tuple[str, ...] = ("gad", "rqe", "sts"), **options: object) -> StepPlan:
    batchers = {name: Batcher(LENGTHS[name], 4, 3, name) for name in tasks}
    sizes = {name: TaskSize(len(LENGTHS[name]), batcher.batches_per_pass) for name, batcher in batchers.items()}
    cls = components.find("sampler", sampler, "sampler.name")
    return StepPlan(components.build(cls, sizes, 3, 5, **options), batchers)


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS, ids=[name for name, _ in SAMPLERS])
def test_the_number_of_slots_is_exact_in_every_epoch(sampler: str, options: dict[str, object]) -> None:
    plan = make(sampler, **options)
    assert {len(plan.epoch(epoch)) for epoch in range(5)} == {plan.slots_per_epoch()}


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS, ids=[name for name, _ in SAMPLERS])
def test_each_task_trains_its_batches_in_order_without_gaps_across_epochs(
    sampler: str, options: dict[str, object]
) -> None:
    plan = make(sampler, **options)
    picks = [pick for epoch in range(4) for slot in plan.epoch(epoch) for pick in slot]
    for task in LENGTHS:
        positions = [pick.position for pick in picks if pick.task == task]
        assert positions == list(range(len(positions)))
    assert plan.batches_of(4) == Counter(pick.task for pick in picks)


def test_an_epoch_is_the_same_asked_alone_twice_or_after_others() -> None:
    plan = make("temperature")
    late = plan.epoch(3)
    assert [plan.epoch(epoch) for epoch in range(4)][3] == late == make("temperature").epoch(3)
    assert plan.epoch(0) != plan.epoch(1)


def test_a_proportional_epoch_trains_every_example_exactly_once() -> None:
    plan = make()
    for epoch in range(3):
        seen: dict[str, list[int]] = {task: [] for task in LENGTHS}
        for slot in plan.epoch(epoch):
            for pick in slot:
                seen[pick.task] += plan.indices(pick).tolist()
        assert {task: sorted(examples) for task, examples in seen.items()} == {
            task: list(range(len(lengths))) for task, lengths in LENGTHS.items()
        }


def test_a_partner_does_not_change_the_batches_of_a_task() -> None:
    alone, together = make(tasks=("rqe",)), make()
    for position in range(12):
        pick = Pick("rqe", position)
        assert alone.indices(pick).tolist() == together.indices(pick).tolist()
