import math

import pytest

from mtl.training.undertrained import DevCurves, is_undertrained


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.50, 0.60, 0.62], True),
        ([0.50, 0.60, 0.61], False),  # one row of 100
        ([0.50, 0.59, 0.58, 0.60], True),
        ([0.70, 0.50, 0.60], False),  # not the best
        ([0.60, 0.60], False),
        ([0.60], False),
        ([], False),
        ([math.nan, 0.60], False),  # the rise is unknown
        ([math.nan, 0.50, 0.60], True),
        ([0.50, math.nan], False),
    ],
)
def test_a_task_is_undertrained_if_it_rises_to_its_best_score_at_the_end(scores: list[float], expected: bool) -> None:
    assert is_undertrained(scores, 100) is expected


def test_the_unit_is_the_share_of_one_row() -> None:
    assert is_undertrained([0.5, 0.6], 11)
    assert not is_undertrained([0.5, 0.6], 10)
    assert not is_undertrained([0.5, 0.9], 0)


def test_the_curves_of_a_resumed_run_continue() -> None:
    before, after = DevCurves(), DevCurves()
    for curves in (before,):
        curves.add("gad", 0.5, 20)
        curves.add("rqe", 0.5, 20)
    after.load_state_dict(before.state_dict())
    after.add("gad", 0.7, 20)
    after.add("rqe", 0.5, 20)
    assert after.undertrained() == {"gad": True, "rqe": False}
