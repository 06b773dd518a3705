from itertools import product

import pytest

from mtl.study.design.budget import Amount, BudgetSpec


@pytest.mark.parametrize("levels", list(product([False, True], repeat=4)))
def test_the_most_specific_amount_counts(levels: tuple[bool, ...]) -> None:
    task_in_stage, stage, task, study = (
        number if is_set else None for number, is_set in zip((1, 2, 3, 4), levels, strict=True)
    )
    budget = BudgetSpec.model_validate(
        {
            "updates": study,
            "tasks": {"a": {"passes": task}},
            "stages": {"refine": {"updates": stage, "tasks": {"a": {"updates": task_in_stage}}}},
        }
    )
    expected = next((number for number in (task_in_stage, stage, task, study) if number is not None), None)
    found = budget.of("a", "refine")
    assert (found.updates or found.passes) == expected
    assert (budget.of("b", "refine").updates) == (stage or study)
    assert (budget.of("a").updates or budget.of("a").passes) == (task or study)
    assert budget.of("b", "finetune").updates == study


def test_an_amount_replaces_a_less_specific_one_in_another_unit() -> None:
    budget = BudgetSpec(updates=5, tasks={"a": Amount(passes=2)})
    assert budget.of("a") == Amount(passes=2)


def test_a_budget_without_tasks_and_stages_is_written_as_before_they_existed() -> None:
    assert BudgetSpec(updates=4).to_dict() == {
        "updates": 4,
        "passes": None,
        "evaluations": 3,
        "train_rows": None,
        "dev_rows": None,
        "test_rows": None,
        "sample_seed": 0,
    }
    assert BudgetSpec(tasks={"a": Amount(updates=1)}).to_dict()["tasks"] == {"a": {"updates": 1, "passes": None}}
