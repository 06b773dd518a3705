"""Properties that every sampler must have, and how to add a new one."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtl.samplers
from mtl.config.components import check_options, choices, find
from mtl.problems import InputError
from mtl.samplers import RandomSampler, Sampler, TaskSize, require_positive, shuffled

SIZES = {"a": TaskSize(80, 5), "b": TaskSize(48, 3), "c": TaskSize(16, 1)}
REQUIRED: dict[str, dict[str, Any]] = {"anchored": {"main": "a"}, "quota": {"batches": {"a": 5, "b": 3, "c": 1}}}
NAMES = choices("sampler")
NEW = """
    from mtl.samplers import Sampler

    class Alternating(Sampler):
        def __init__(self, sizes, seed, num_epochs, *, times: int = 1) -> None:
            super().__init__(sizes, seed, num_epochs)
            self.times = times

        def epoch(self, epoch):
            return list(self.sizes) * self.times
"""


def make(name: str, seed: int = 1, sizes: dict[str, TaskSize] = SIZES, **options: Any) -> Sampler:
    required = {"quota": {"batches": {task: size.batches for task, size in sizes.items()}}}
    arguments = REQUIRED.get(name, {}) | required.get(name, {}) | options
    sampler: Sampler = find("sampler", name, "sampler.name")(sizes, seed, 3, **arguments)
    return sampler


def test_the_documented_samplers_are_available() -> None:
    expected = {"anchored", "annealed", "proportional", "round_robin", "temperature", "uniform", "weighted"}
    assert expected <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_depends_only_on_seed_and_epoch(name: str) -> None:
    sampler = make(name)
    epochs = [sampler.epoch(epoch) for epoch in range(4)]
    assert [make(name).epoch(epoch) for epoch in (3, 1)] == [epochs[3], epochs[1]]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"round_robin"}))
def test_another_seed_and_another_epoch_give_another_order(name: str) -> None:
    sizes = {task: TaskSize(size.examples * 10, size.batches * 10) for task, size in SIZES.items()}
    assert make(name, 1, sizes).epoch(0) != make(name, 2, sizes).epoch(0)
    assert make(name, 1, sizes).epoch(0) != make(name, 1, sizes).epoch(1)


def test_a_round_robin_is_the_same_for_every_seed() -> None:
    assert make("round_robin", 1).epoch(5) == make("round_robin", 2).epoch(5)


@pytest.mark.parametrize("name", NAMES)
@given(batches=st.lists(st.integers(1, 40), min_size=1, max_size=5), epoch=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_number_of_steps_is_exact_before_training(name: str, batches: list[int], epoch: int) -> None:
    sizes = {"abcde"[i]: TaskSize(16 * n, n) for i, n in enumerate(batches)}
    sampler = make(name, 1, sizes)
    tasks = sampler.epoch(epoch)
    assert len(tasks) == sampler.steps_per_epoch(epoch)
    assert set(tasks) <= set(sizes)


@pytest.mark.parametrize("name", NAMES)
def test_rates_add_up_to_one_and_name_every_task(name: str) -> None:
    rates = make(name).rates()
    assert list(rates) == list(SIZES)
    assert sum(rates.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_the_shares_of_the_first_epoch(name: str) -> None:
    sizes = {task: TaskSize(size.examples * 1000, size.batches * 1000) for task, size in SIZES.items()}
    sampler = make(name, 3, sizes)
    counts = Counter(sampler.epoch(0))
    for task, rate in sampler.rates().items():
        # Within six standard deviations of a binomial share.
        assert counts[task] / counts.total() == pytest.approx(rate, abs=6 * (0.25 / counts.total()) ** 0.5)


@pytest.mark.parametrize("name", ["annealed", "round_robin", "temperature", "uniform", "weighted"])
def test_an_epoch_has_the_requested_number_of_steps(name: str) -> None:
    assert len(make(name, steps_per_epoch=7).epoch(2)) == 7
    with pytest.raises(InputError, match=r"sampler\.steps_per_epoch: .* 0\.$"):
        make(name, steps_per_epoch=0)


@pytest.mark.parametrize("name", NAMES)
def test_options_pass_the_check_of_signatures(name: str) -> None:
    cls = find("sampler", name, "sampler.name")
    passed_by_us = frozenset({"sizes", "seed", "num_epochs"})
    assert check_options(cls, REQUIRED.get(name, {}), "sampler", passed_by_us) == []
    (problem,) = check_options(cls, REQUIRED.get(name, {}) | {"tempo": 1}, "sampler", passed_by_us)
    assert problem.key == "sampler.tempo"


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_steps_take_less_than_two_seconds(name: str) -> None:
    import time

    sizes = {"a" * (i + 1): TaskSize(32 * 3125, 3125) for i in range(32)}
    sampler = make(name, 1, sizes)
    start = time.process_time()
    assert len(sampler.epoch(0)) == 100_000
    assert time.process_time() - start < 2


def test_shuffled_keeps_the_counts() -> None:
    assert Counter(shuffled({"a": 3, "b": 0, "c": 2}, np.random.default_rng(1))) == {"a": 3, "c": 2}


def test_all_values_that_are_not_positive_are_reported_at_once() -> None:
    with pytest.raises(InputError) as error:
        require_positive({"x": 0, "y": 1, "z": float("nan"), "u": float("inf"), "v": None})
    assert [problem.key for problem in error.value.problems] == ["x", "z", "u"]


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("weighted", {"steps_per_epoch": 10**13}, "sampler.steps_per_epoch"),
        ("quota", {"batches": {"a": 10**13, "b": 1, "c": 1}}, "sampler.batches.a"),
    ],
)
def test_an_epoch_that_no_memory_can_hold_is_refused(name: str, options: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        find("sampler", name, "sampler.name")(SIZES, seed=1, num_epochs=3, **options)
    assert [problem.key for problem in caught.value.problems] == [key]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_of_the_mixture_must_be_above_zero(rate: float) -> None:
    with pytest.raises(InputError, match=r"tasks\.a\.rate"):
        make("weighted", sizes={"a": TaskSize(16, 1, rate)})


def test_the_task_of_a_step_is_the_one_whose_interval_holds_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    class Draws:
        def random(self, size: int) -> Any:
            return np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.9999])[:size]

    class Quarters(RandomSampler):
        def weights(self, progress: Any) -> list[float]:
            return [1, 2, 1]

    monkeypatch.setattr(mtl.samplers, "stream", lambda *key: Draws())
    assert "".join(Quarters(SIZES, 1, 1, steps_per_epoch=6).epoch(0)) == "aabbcc"


def test_a_new_sampler_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = choices("sampler")
    (tmp_path / "alternating.py").write_text(textwrap.dedent(NEW))
    monkeypatch.setattr(mtl.samplers, "__path__", [*mtl.samplers.__path__, str(tmp_path)])
    try:
        cls = find("sampler", "alternating", "sampler.name")
        assert choices("sampler") == sorted([*before, "alternating"])
        assert cls(SIZES, 1, 1, times=2).epoch(0) == ["a", "b", "c", "a", "b", "c"]
    finally:
        sys.modules.pop("mtl.samplers.alternating", None)
        vars(mtl.samplers).pop("alternating", None)


def test_a_sampler_outside_the_package_is_named_by_its_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_samplers.py").write_text(textwrap.dedent(NEW))
    monkeypatch.syspath_prepend(tmp_path)
    cls = find("sampler", "own_samplers.Alternating", "sampler.name")
    assert cls(SIZES, 1, 1).rates() == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


@pytest.mark.parametrize("name", NAMES)
@given(batches=st.lists(st.integers(1, 40), min_size=2, max_size=5), data=st.data())
@settings(max_examples=20, deadline=None)
def test_mixed_steps_are_exact_and_hold_different_tasks(name: str, batches: list[int], data: st.DataObject) -> None:
    sizes = {"abcde"[i]: TaskSize(16 * n, n) for i, n in enumerate(batches)}
    tasks_per_step = data.draw(st.integers(2, len(sizes)))
    sampler = make(name, 1, sizes)
    for epoch in range(3):
        steps = sampler.mixed_epoch(epoch, tasks_per_step)
        assert len(steps) == sampler.mixed_steps_per_epoch(tasks_per_step)
        assert all(len(set(step)) == len(step) <= tasks_per_step for step in steps)
        assert steps == make(name, 1, sizes).mixed_epoch(epoch, tasks_per_step)


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_says_whether_its_steps_hold_all_tasks(name: str) -> None:
    sampler = make(name)
    steps = [step for epoch in range(3) for step in sampler.mixed_epoch(epoch, len(SIZES))]
    assert sampler.fills_steps == all(set(step) == set(SIZES) for step in steps)


@pytest.mark.parametrize("name", ["proportional", "anchored"])
def test_mixing_trains_the_batches_that_the_sampler_draws(name: str) -> None:
    mixed = Counter(task for step in make(name).mixed_epoch(1, 2) for task in step)
    assert mixed == Counter(make(name).epoch(1)) == {"a": 5, "b": 3, "c": 1}
    assert len(make(name).mixed_epoch(1, 2)) == 5


def test_a_mixed_round_robin_continues_with_the_task_whose_turn_it_is() -> None:
    sampler = make("round_robin", steps_per_epoch=2)
    assert [sampler.mixed_epoch(epoch, 2) for epoch in range(2)] == [[("a", "b"), ("c", "a")], [("b", "c"), ("a", "b")]]


def test_tasks_of_a_mixed_step_are_drawn_at_their_rates_without_replacement() -> None:
    sizes = {"a": TaskSize(1, 1, 0.5), "b": TaskSize(1, 1, 0.3), "c": TaskSize(1, 1, 0.2)}
    steps = make("weighted", sizes=sizes, steps_per_epoch=40_000).mixed_epoch(0, 2)
    shares = {pair: count / 40_000 for pair, count in Counter(steps).items()}
    # P(a, b) = 0.5 * 0.3 / 0.5 + 0.3 * 0.5 / 0.7, and so on.
    expected = {("a", "b"): 0.3 + 0.15 / 0.7, ("a", "c"): 0.2 + 0.1 / 0.8, ("b", "c"): 0.06 / 0.7 + 0.06 / 0.8}
    for pair, share in expected.items():
        assert shares[pair] == pytest.approx(share, abs=6 * (share * (1 - share) / 40_000) ** 0.5)


def test_the_order_main_last_is_refused_in_mixed_steps() -> None:
    with pytest.raises(InputError, match=r"sampler\.order.*main_last"):
        make("anchored", order="main_last").mixed_epoch(0, 2)
