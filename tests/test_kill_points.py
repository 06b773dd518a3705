"""Trainings that are killed at random moments; the long version prints how often."""

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
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_kills_at_random_moments_lose_nothing(name: str, toy_mixture: Callable[..., Path]) -> None:
    """More than 200 kills over all configurations; `-s` shows the counts."""
    counts, differing = kill_points.try_configuration(toy_mixture(), name, runs=7, kills=5)
    print(f"\n{kill_points.table({name: counts})}")
    assert differing == []
    check(counts)
    assert counts.kills >= 25
