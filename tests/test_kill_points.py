"""Trainings that are killed at random moments; the long version prints how often."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import kill_points
from tests.kill_points import CONFIGURATIONS, Counts

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")


def check(counts: Counts) -> None:
    """Checks that no kill cost anything but the updates since the last save."""
    assert counts.kills > 0
    nothing = ("unreadable", "left_over", "not_named", "fresh", "failed")
    assert {name: getattr(counts, name) for name in nothing} == dict.fromkeys(nothing, 0)
    assert counts.identical == counts.runs


@pytest.mark.slow
def test_a_training_that_is_killed_and_resumed_equals_one_that_was_not(toy_mixture: Callable[..., Path]) -> None:
    counts, differing = kill_points.try_configuration(toy_mixture(), "every update", runs=2, kills=3)
    assert differing == []
    check(counts)
    assert counts.lost <= 2  # the one that was not saved, and one between the save and the count


CURRICULUM = [
    {"from_step": 4, "tasks.mlm.options.rate": 0.6, "tasks.mlm.options.selection": "exact"},
    {"from_step": 5, "tasks.risk.options.dropout": 0.5},
    {"from_step": 6, "tasks.risk.rate": 0, "tasks.mlm.loss_weight": 0.5},
]


@pytest.mark.slow
def test_a_training_that_is_killed_around_each_change_of_its_curriculum_equals_one_that_was_not(
    toy_mixture: Callable[..., Path], tmp_path: Path
) -> None:
    data = {name: {"reader": "jsonl", "path": str(tmp_path / name)} for name in ("cause", "risk")}
    tasks = {
        "mlm": {"head": "masked_lm", "data": data["cause"]},
        "risk": {"head": "regression", "options": {"range": [0, 4]}, "data": data["risk"]},
    }
    sampler = {"name": "weighted", "steps_per_epoch": 4}
    mixture = toy_mixture(tasks=tasks, sampler=sampler, curriculum=CURRICULUM)
    with kill_points.fresh_environment(tmp_path):
        whole, killed = (
            kill_points.Training(mixture, tmp_path / name, tmp_path, ("--run.save_every=1",))
            for name in ("whole", "killed")
        )
        assert kill_points.wait(whole.start()) == 0, whole.log.read_text()[-3000:]
        for update in (3, 4, 5, 6, 7):
            assert kill_points.wait(killed.start(kill_at=update)) == -signal.SIGKILL, killed.log.read_text()[-3000:]
            assert killed.updates == update
        assert kill_points.wait(killed.start()) == 0, killed.log.read_text()[-3000:]
    assert whole.run is not None
    assert killed.run is not None
    assert kill_points.equal(kill_points.outcome(whole.run), kill_points.outcome(killed.run))


@pytest.mark.soak
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_kills_at_random_moments_lose_nothing(name: str, toy_mixture: Callable[..., Path]) -> None:
    """More than 200 kills over all configurations; `-s` shows the counts."""
    counts, differing = kill_points.try_configuration(toy_mixture(), name, runs=7, kills=5)
    print(f"\n{kill_points.table({name: counts})}")
    assert differing == []
    check(counts)
    assert counts.kills >= 25
