import math
from collections.abc import Mapping
from typing import Any

import pytest

from mtl.training.selection import MIXTURE, UNDEFINED, Best, Rank, Selection

PRIMARY = {"cause": "accuracy", "drugs": "f1", "risk": "pearson", "bleed": "accuracy"}

SCORES = {
    "cause": {"loss": 0.7, "accuracy": 0.9, "macro_f1": 0.8, "micro_f1": 0.9},
    "drugs": {"loss": 0.2, "f1": 0.3},
    "risk": {"loss": 0.4, "pearson": 0.6, "mse": 2.0},
    "bleed": {"loss": 0.5, "accuracy": 0.4},
}


def selection(**options: Any) -> Selection:
    lower = {task: {"loss"} for task in PRIMARY} | {"risk": {"loss", "mse"}}
    return Selection(PRIMARY, **{"lower_is_better": lower, **options})


def scored(**primary: float) -> dict[str, Mapping[str, float]]:
    return {task: {**SCORES[task], PRIMARY[task]: primary.get(task, SCORES[task][PRIMARY[task]])} for task in PRIMARY}


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({}, (0.9 + 0.3 + 0.6 + 0.4) / 4),
        ({"rule": "worst"}, 0.3),
        ({"rule": "weighted"}, (0.9 + 0.3 + 0.6 + 0.4) / 4),
        ({"rule": "weighted", "weights": {"cause": 2.0, "drugs": 0.5}}, (1.8 + 0.15 + 0.6 + 0.4) / 4.5),
        ({"rule": "cause/macro_f1"}, 0.8),
        ({"rule": "risk/mse"}, -2.0),
        ({"rule": "drugs/loss"}, -0.2),
    ],
)
def test_the_score_of_an_evaluation_agrees_with_hand_computed_values(options: dict[str, Any], by_hand: float) -> None:
    assert selection(**options).score(SCORES) == pytest.approx(by_hand)


@pytest.mark.parametrize("rule", ["mean", "weighted", "worst", "drugs/f1"])
def test_the_score_is_undefined_if_a_task_that_it_depends_on_is_undefined(rule: str) -> None:
    assert math.isnan(selection(rule=rule).score(scored(drugs=math.nan)))


def test_an_evaluation_improves_the_selections_for_which_it_is_the_best() -> None:
    chosen = selection()
    chosen.add(scored())
    assert chosen.improved == {"best", *(f"best:{task}" for task in PRIMARY)}
    chosen.add(scored(cause=0.95, drugs=0.0))
    assert chosen.improved == {"best:cause"}
    chosen.add(scored(cause=0.95))  # the mean is above that of the first evaluation, but no task is above its best
    assert chosen.improved == {"best"}
    assert chosen.best["best:drugs"] == 0.3
    assert chosen.best["best"] == chosen.scores["best"] == pytest.approx((0.95 + 0.3 + 0.6 + 0.4) / 4)


def test_tasks_that_are_not_evaluated_have_no_score() -> None:
    chosen = selection()
    chosen.add({"cause": SCORES["cause"]})
    assert chosen.improved == {"best", "best:cause"}
    assert chosen.scores["best"] == 0.9


NAN = math.nan


@pytest.mark.parametrize(
    ("cause", "drugs", "best"),
    [
        ([0.2, 0.8, 0.5], [0.1, 0.4, 0.9], 3),
        ([0.2, 0.8, 0.5], [NAN, NAN, NAN], 2),
        ([0.9, 0.8, 0.5], [NAN, 0.1, 0.2], 2),  # the first has a score for only one task
        ([NAN, NAN, NAN], [NAN, NAN, NAN], 3),
        ([NAN, 0.2, NAN], [NAN, NAN, NAN], 2),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 1),
        ([-0.5, -0.25, NAN], [NAN, NAN, NAN], 2),
    ],
)
@pytest.mark.parametrize("resumes", [False, True])
def test_the_best_evaluation_has_the_most_scores_and_among_those_the_best_mean(
    cause: list[float], drugs: list[float], best: int, resumes: bool
) -> None:
    def new() -> Selection:
        return Selection({"cause": "score", "drugs": "score"})

    chosen, found = new(), 0
    for number, scores in enumerate(zip(cause, drugs, strict=True), 1):
        chosen.add({task: {"score": score} for task, score in zip(("cause", "drugs"), scores, strict=True)})
        found = number if MIXTURE in chosen.improved else found
        if resumes:
            state, chosen = chosen.state_dict(), new()
            chosen.load_state_dict(state)
    assert found == best


def test_a_resumed_selection_compares_with_the_earlier_best() -> None:
    before, after = selection(), selection()
    before.add(scored())
    before.add(scored(cause=0.1))
    after.load_state_dict(before.state_dict())
    after.add(scored(cause=0.89, drugs=0.31))
    assert after.improved == {"best:drugs"}


def test_an_undefined_score_is_below_every_number_and_counts_as_the_first() -> None:
    best = Best()
    ranks = (UNDEFINED, UNDEFINED, Rank(1, -5.0), UNDEFINED)
    assert [best.improves(rank) for rank in ranks] == [True, False, True, False]


def test_a_rise_that_is_not_above_min_delta_is_not_an_improvement() -> None:
    best = Best(Rank(1, 0.5))
    assert not best.improves(Rank(1, 0.51), min_delta=0.01)
    assert best.improves(Rank(1, 0.52), min_delta=0.01)
    assert best.improves(Rank(2, 0.1), min_delta=0.01)
    assert not best.improves(Rank(1, 0.9), min_delta=0.01)
