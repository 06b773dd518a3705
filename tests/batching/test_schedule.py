from collections import Counter

import numpy as np
import pytest

from mtl.batching.batcher import Batcher
from mtl.batching.schedule import BatchRef, StepSchedule
from mtl.config import components
from mtl.samplers import TaskSize

LENGTHS = {"gad": np.arange(5, 42), "rqe": np.arange(5, 18), "sts": np.arange(5, 9)}
REQUIRED: dict[str, dict[str, object]] = {
    "anchored": {"main": "rqe", "ratio": 0.5},
    "quota": {"batches": {"gad": 10, "rqe": 4, "sts": 1}},
}
SAMPLERS = [(name, REQUIRED.get(name, {})) for name in components.choices("sampler")]


def make(
    sampler: str = "proportional",
    tasks: tuple[str, ...] = ("gad", "rqe", "sts"),
    tasks_per_step: int = 1,
    **options: object,
) -> StepSchedule:
    batchers = {name: Batcher(LENGTHS[name], 4, 3, name) for name in tasks}
    sizes = {name: TaskSize(len(LENGTHS[name]), batcher.batches_per_pass) for name, batcher in batchers.items()}
    cls = components.find("sampler", sampler, "sampler.name")
    return StepSchedule(components.build(cls, sizes, 3, 5, **options), batchers, tasks_per_step)


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS, ids=[name for name, _ in SAMPLERS])
def test_the_number_of_steps_is_exact_in_every_epoch(sampler: str, options: dict[str, object]) -> None:
    schedule = make(sampler, **options)
    assert {len(schedule.epoch(epoch)) for epoch in range(5)} == {schedule.steps_per_epoch()}


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS, ids=[name for name, _ in SAMPLERS])
def test_each_task_trains_its_batches_in_order_without_gaps_across_epochs(
    sampler: str, options: dict[str, object]
) -> None:
    schedule = make(sampler, **options)
    refs = [ref for epoch in range(4) for step in schedule.epoch(epoch) for ref in step]
    for task in LENGTHS:
        positions = [ref.position for ref in refs if ref.task == task]
        assert positions == list(range(len(positions)))
    assert schedule.batches_of(4) == Counter(ref.task for ref in refs)


def test_an_epoch_does_not_depend_on_which_epochs_were_read_before() -> None:
    schedule = make("temperature")
    late = schedule.epoch(3)
    assert [schedule.epoch(epoch) for epoch in range(4)][3] == late == make("temperature").epoch(3)
    assert schedule.epoch(0) != schedule.epoch(1)


def test_a_proportional_epoch_trains_every_example_exactly_once() -> None:
    schedule = make()
    for epoch in range(3):
        seen: dict[str, list[int]] = {task: [] for task in LENGTHS}
        for step in schedule.epoch(epoch):
            for ref in step:
                seen[ref.task] += schedule.indices(ref).tolist()
        assert {task: sorted(examples) for task, examples in seen.items()} == {
            task: list(range(len(lengths))) for task, lengths in LENGTHS.items()
        }


def test_a_partner_does_not_change_the_batches_of_a_task() -> None:
    alone, together = make(tasks=("rqe",)), make()
    for position in range(12):
        ref = BatchRef("rqe", position)
        assert alone.indices(ref).tolist() == together.indices(ref).tolist()


MIXED = [(name, options, k) for name, options in SAMPLERS for k in (2, 3)]


@pytest.mark.parametrize(("sampler", "options", "k"), MIXED, ids=[f"{name}-{k}" for name, _, k in MIXED])
def test_a_mixed_step_holds_different_tasks_and_each_batch_is_trained_once(
    sampler: str, options: dict[str, object], k: int
) -> None:
    schedule = make(sampler, tasks_per_step=k, **options)
    epochs = [schedule.epoch(epoch) for epoch in range(4)]
    assert {len(epoch) for epoch in epochs} == {schedule.steps_per_epoch()}
    steps = [step for epoch in epochs for step in epoch]
    assert all(len({ref.task for ref in step}) == len(step) <= k for step in steps)
    fixed = sampler in ("anchored", "proportional", "quota")  # a fixed number of batches, which may not fill the steps
    assert max(map(len, steps)) == (2 if fixed else k)
    for task in LENGTHS:
        positions = [[ref.position for step in epoch for ref in step if ref.task == task] for epoch in epochs]
        assert [position for epoch in positions for position in epoch] == list(range(sum(map(len, positions))))
    assert schedule.batches_of(4) == Counter(ref.task for step in steps for ref in step)
    assert sum(schedule.rates().values()) == pytest.approx(1)


def test_a_mixed_epoch_does_not_depend_on_which_epochs_were_read_before() -> None:
    late = make("temperature", tasks_per_step=2).epoch(3)
    schedule = make("temperature", tasks_per_step=2)
    assert [schedule.epoch(epoch) for epoch in range(4)][3] == late != schedule.epoch(2)


def test_with_all_tasks_per_step_every_step_trains_every_task() -> None:
    schedule = make("uniform", tasks_per_step=3)
    assert all([ref.task for ref in step] == ["gad", "rqe", "sts"] for step in schedule.epoch(0))


@pytest.mark.parametrize("token_budget", [None, 300])
def test_a_pass_is_drawn_only_once_even_if_a_mixed_epoch_repeats_a_task(
    monkeypatch: pytest.MonkeyPatch, token_budget: int | None
) -> None:
    drawn: list[tuple[str, int]] = []
    draw_pass = Batcher._draw_pass

    def draw(batcher: Batcher, number: int) -> list[np.ndarray]:
        drawn.append((batcher._task, number))
        return draw_pass(batcher, number)

    monkeypatch.setattr(Batcher, "_draw_pass", draw)
    sizes = {"large": 1600, "small": 40}
    lengths = {name: np.random.default_rng(0).integers(5, 100, size) for name, size in sizes.items()}
    batchers = {name: Batcher(values, 16, 3, name, token_budget=token_budget) for name, values in lengths.items()}
    tasks = {name: TaskSize(sizes[name], batcher.batches_per_pass) for name, batcher in batchers.items()}
    schedule = StepSchedule(components.find("sampler", "uniform", "sampler.name")(tasks, 3, 3), batchers, 2)
    for epoch in range(3):
        for step in schedule.epoch(epoch):
            for ref in step:
                schedule.indices(ref)
                schedule.batchers[ref.task].weight(ref.position)
    per_pass = {name: batcher.batches_per_pass for name, batcher in batchers.items()}
    passes = {name: -(-count // per_pass[name]) for name, count in schedule.batches_of(3).items()}
    assert passes["small"] > 3 * 10
    assert Counter(task for task, _ in drawn) == passes
    assert len(set(drawn)) == len(drawn)
