"""Thresholds that are chosen on dev, against every other threshold and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from heads._thresholds import Goal, best_threshold, goal_of, reaching_threshold


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.125, 0.375, 0.5, 0.625, 0.875, 1.0]) | st.floats(0, 1, width=32), st.booleans()
        )
    )
)
def test_no_threshold_is_better_than_the_tuned_one(pairs: list[tuple[float, bool]]) -> None:
    probabilities = torch.tensor([p for p, _ in pairs])
    gold = torch.tensor([g for _, g in pairs], dtype=torch.bool)
    tuned = best_threshold(probabilities, gold)
    assert 0 <= tuned <= 1
    best = f1_from(tuned, pairs)
    others = [0.5, *(p for p, _ in pairs), *np.linspace(0.01, 1, 40).tolist()]
    assert all(f1_from(other, pairs) <= best for other in others)
    if f1_from(0.5, pairs) == best:
        assert tuned == 0.5


def f1_from(threshold: float, pairs: list[tuple[float, bool]]) -> float:
    predicted = [p >= threshold for p, _ in pairs]
    true = sum(said and gold for said, (_, gold) in zip(predicted, pairs, strict=True))
    size = sum(predicted) + sum(gold for _, gold in pairs)
    return 2 * true / size if size else 0.0


def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_chosen() -> None:
    # In the gap (0.1, 0.2], three are predicted and two are right: 2*2/(3+2); in (0.6, 0.9], one is: 2*1/(1+2).
    assert best_threshold(torch.tensor([0.1, 0.2, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]).bool()) == pytest.approx(0.15)
    # (0.1, 0.2] and (0.6, 0.7] are equally good: 2*2/(4+2) = 2*1/(1+2). Their midpoints are 0.15 and 0.65.
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.6, 0.7])
    assert best_threshold(probabilities, torch.tensor([0, 1, 0, 0, 1]).bool()) == pytest.approx(0.65)


def test_without_dev_rows_or_positives_the_threshold_is_one_half() -> None:
    assert best_threshold(torch.zeros(0), torch.zeros(0).bool()) == 0.5
    assert best_threshold(torch.tensor([0.2, 0.9]), torch.zeros(2).bool()) == 0.5


@pytest.mark.parametrize(
    ("goal", "counterpart"),
    [
        (Goal("sensitivity", 0.9), "specificity"),
        (Goal("specificity", 0.75), "sensitivity"),
        (Goal("ppv", 0.5), "sensitivity"),
        (Goal("npv", 0.8), "specificity"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_that_reaches_the_goal_has_a_better_counterpart(goal: Goal, counterpart: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold = rng.random(50) < 0.4
    probabilities = (np.clip(rng.integers(0, 15, 50) + 6 * gold, 0, 19) / 20).astype(np.float32)
    chosen = best_threshold(torch.from_numpy(probabilities), torch.from_numpy(gold), goal)
    at = {t: proportions(gold, probabilities >= t) for t in [chosen, *np.linspace(0, 1.02, 103).tolist()]}
    assert at[chosen][goal.metric] >= goal.at_least
    reaching = [found[counterpart] for found in at.values() if found[goal.metric] >= goal.at_least]
    assert at[chosen][counterpart] == max(reaching)


def proportions(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    tn, fp, fn, tp = confusion_matrix(gold, predicted, labels=[False, True]).ravel().tolist()
    pairs = {"sensitivity": (tp, fn), "specificity": (tn, fp), "ppv": (tp, fp), "npv": (tn, fn)}
    return {name: part / (part + rest) if part + rest else 0.0 for name, (part, rest) in pairs.items()}


def test_if_no_threshold_reaches_the_goal_the_highest_value_is_taken() -> None:
    probabilities, gold = torch.tensor([0.2, 0.3, 0.8, 0.9]), torch.tensor([1, 1, 1, 0]).bool()
    # PPV is 3/4 if all are predicted, and lower above 0.2.
    assert best_threshold(probabilities, gold, Goal("ppv", 0.95)) == pytest.approx(0.1)


def test_a_goal_with_no_positives_or_no_rows_gives_a_threshold() -> None:
    goal = Goal("sensitivity", 0.95)
    assert best_threshold(torch.zeros(0), torch.zeros(0).bool(), goal) == 0.5
    assert best_threshold(torch.tensor([0.25, 0.75]), torch.zeros(2).bool(), goal) == 0.875


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_fixed_threshold_must_be_between_0_and_1(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold.*{threshold}"):
        goal_of(threshold)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({}, "threshold.*0"),
        ({"sensitivity": 0.9, "ppv": 0.5}, "threshold.*2"),
        ({"recall": 0.9}, "threshold.*sensitivity.*'recall'"),
        ({"ppv": 1.5}, r"threshold\.ppv.*1\.5"),
        ({"ppv": 0.0}, r"threshold\.ppv.*0\.0"),
    ],
)
def test_an_operating_point_is_one_proportion_with_its_least_value(threshold: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        goal_of(threshold)


def test_goals_of_the_three_kinds_of_thresholds() -> None:
    assert [goal_of(0.3), goal_of("tuned"), goal_of({"npv": 1})] == [None, Goal("f1"), Goal("npv", 1)]


def test_a_required_value_that_no_threshold_reaches_gives_none() -> None:
    constant, gold = torch.full((4,), 0.3), torch.tensor([1, 0, 0, 0]).bool()
    assert reaching_threshold(constant, gold, Goal("ppv", 0.25)) == best_threshold(constant, gold, Goal("ppv", 0.25))
    assert reaching_threshold(constant, gold, Goal("ppv", 0.26)) is None
    assert reaching_threshold(torch.ones(4), gold, Goal("specificity", 0.1)) is None, "1.0 reaches every threshold"
    for goal in (Goal("sensitivity", 1.0), Goal("f1")):
        assert reaching_threshold(constant, gold, goal) == pytest.approx(0.15)


@pytest.mark.parametrize("goal", [Goal("sensitivity", 0.9), Goal("ppv", 0.9)])
def test_without_rows_of_the_class_no_value_is_out_of_reach(goal: Goal) -> None:
    probabilities = torch.tensor([0.2, 0.9], dtype=torch.double)
    assert reaching_threshold(probabilities, torch.zeros(2).bool(), goal) is not None
    assert reaching_threshold(probabilities[:0], torch.zeros(0).bool(), goal) == 0.5
