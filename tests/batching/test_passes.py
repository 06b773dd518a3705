import math

import numpy as np
import pytest

from mtl.batching.batcher import Batcher
from mtl.batching.passes import default_length, default_passes
from mtl.batching.schedule import StepSchedule
from mtl.samplers import Sampler, TaskSize
from mtl.samplers.anchored import Anchored
from mtl.samplers.proportional import Proportional
from mtl.samplers.quota import Quota
from mtl.samplers.round_robin import RoundRobin
from mtl.samplers.temperature import Temperature
from mtl.samplers.uniform import Uniform

SIZES = {"small": TaskSize(500, 16), "large": TaskSize(50_000, 1563)}


def schedule(kind: type[Sampler], tasks_per_step: int = 1, **options: object) -> StepSchedule:
    batchers = {name: Batcher(np.ones(size.examples, dtype=np.int64), 32, 0, name) for name, size in SIZES.items()}
    return StepSchedule(kind(SIZES, 0, 1, **options), batchers, tasks_per_step)


@pytest.mark.parametrize(("examples", "passes"), [(1, 20), (500, 20), (5_000, 10), (50_000, 3), (10**7, 3)])
def test_the_default_passes_are_those_that_are_documented(examples: int, passes: float) -> None:
    assert default_passes(examples) == pytest.approx(passes)


def test_passes_fall_linearly_with_the_logarithm_of_the_number_of_examples() -> None:
    assert default_passes(round(math.sqrt(500 * 5_000))) == pytest.approx(15, abs=0.01)
    assert default_passes(round(math.sqrt(5_000 * 50_000))) == pytest.approx(6.5, abs=0.01)
    passes = [default_passes(number) for number in range(1, 60_000, 37)]
    assert passes == sorted(passes, reverse=True)


@pytest.mark.parametrize("tasks_per_step", [1, 2])
@pytest.mark.parametrize("kind", [Proportional, Temperature, Uniform, RoundRobin])
def test_a_mixture_gets_the_batches_that_its_tasks_would_get_alone(kind: type[Sampler], tasks_per_step: int) -> None:
    made = schedule(kind, tasks_per_step)
    per_epoch = made.batches_of(1).total()
    wanted = 20 * 16 + 3 * 1563
    assert abs(default_length(made).epochs * per_epoch - wanted) <= per_epoch / 2


def test_shorter_epochs_are_more_epochs() -> None:
    assert default_length(schedule(Uniform, steps_per_epoch=100)).epochs == 50  # of 20 * 16 + 3 * 1563 batches
    assert default_length(schedule(Quota, batches={"small": 10, "large": 10})).epochs == 250


def test_the_main_task_alone_decides_the_length_with_the_anchored_sampler() -> None:
    assert default_length(schedule(Anchored, main="small", ratio=1.0)).epochs == 20
    assert default_length(schedule(Anchored, main="large")).epochs == 3


def test_the_length_is_at_least_one_epoch() -> None:
    assert default_length(schedule(Uniform, steps_per_epoch=100_000)).epochs == 1
