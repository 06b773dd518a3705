import math

import pytest

from mtl.training.undertrained import DevCurves, rise_at_the_end


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.50, 0.60, 0.62], True),
        ([0.50, 0.60, 0.61], False),  # one row of 100
        ([0.50, 0.59, 0.58, 0.60], False),  # one row above the best before
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
    assert (rise_at_the_end(scores, 0.01) is not None) is expected


def test_the_rise_is_measured_from_the_best_earlier_evaluation() -> None:
    assert rise_at_the_end([0.5, 0.7, 0.6, 0.75], 0.01) == pytest.approx(0.05)
    assert rise_at_the_end([0.5, 0.7, 0.6, 0.75], 0.05) is None
    assert rise_at_the_end([0.5, 0.9], math.nan) is None


def test_the_curves_of_a_resumed_run_continue() -> None:
    before, after = DevCurves(), DevCurves()
    before.add("gad", 0.5)
    before.add("rqe", 0.5)
    after.load_state_dict(before.state_dict())
    after.add("gad", 0.7)
    after.add("rqe", 0.5)
    assert after.undertrained({"gad": 0.05, "rqe": 0.05}) == {"gad": True, "rqe": False}
