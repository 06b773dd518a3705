"""Trainings that are killed at random moments; the long version prints the table in experiments/results."""

from __future__ import annotations

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


@pytest.mark.soak
def test_two_hundred_kills_of_eight_configurations_lose_nothing(toy_mixture: Callable[..., Path]) -> None:
    mixture = toy_mixture()
    found: dict[str, Counts] = {}
    for name in CONFIGURATIONS:
        found[name], differing = kill_points.try_configuration(mixture, name, runs=6, kills=5)
        print(kill_points.table(found), flush=True)
        assert differing == []
    for counts in found.values():
        check(counts)
    assert sum(counts.kills for counts in found.values()) >= 200
