from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.study.design.description import described
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.study_file import load_study

DESIGNS = ["refine_finetune", "refine", "single"]


@pytest.fixture
def plan_of(toy_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    def make(**fields: Any) -> StudyPlan:
        return make_plan(
            load_study(toy_study(**{"designs": DESIGNS, "tasks": ["cause", "risk"], "seeds": 2, **fields}))
        )

    return make


def keys(plan: StudyPlan) -> dict[str, str]:
    return {one.name: one.key for one in plan.run_specs}


def trained(plan: StudyPlan, name: str) -> tuple[dict[str, int], float | None]:
    """The updates of each task and the learning rate of a run."""
    (found,) = [one for one in plan.run_specs if one.name == f"{name}, seed 0"]
    quota = found.mixture["sampler"]["batches"]
    return {task: number * found.evaluations for task, number in quota.items()}, found.model["learning_rate"]


def test_every_run_has_the_updates_and_the_rate_of_its_stage_and_task(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of(
        budget={
            "updates": 4,
            "evaluations": 2,
            "tasks": {"risk": {"updates": 6}},
            "stages": {"refine": {"passes": 2}, "finetune": {"tasks": {"cause": {"updates": 2}}}},
        },
        model={
            "learning_rate": 1e-3,
            "tasks": {"risk": {"learning_rate": 2e-3}},
            "stages": {"refine": {"learning_rate": 3e-3}},
        },
    )
    assert trained(plan, "cause") == ({"cause": 4}, 1e-3)
    assert trained(plan, "risk") == ({"risk": 6}, 2e-3)
    # 26 and 9 rows in batches of 4 are 7 and 3 batches a pass.
    assert trained(plan, "cause + risk (refine)") == ({"cause": 14, "risk": 6}, 3e-3)
    assert trained(plan, "cause (refine)") == ({"cause": 14}, 3e-3)
    joint = "cause + risk (refine) then"
    assert trained(plan, f"{joint} cause (finetune) with its heads") == ({"cause": 2}, 1e-3)
    assert trained(plan, f"{joint} risk with its heads") == ({"risk": 6}, 2e-3)
    words = " ".join(described(plan))
    for text in ("(risk: 6 updates)", "cause 4, risk 6.", "cause 14, risk 6;", "cause 0.001, risk 0.002.", "0.003."):
        assert text in words
    assert plan.stages == ["refine", "finetune"]


def test_settings_equal_to_those_of_the_study_make_no_new_run_and_no_new_key(
    plan_of: Callable[..., StudyPlan],
) -> None:
    before = keys(plan_of(designs=["refine_finetune"], controls=["continued"], continued=True))
    budget = {
        "updates": 4,
        "evaluations": 2,
        "tasks": {"risk": {"updates": 4}},
        "stages": {"refine": {"updates": 4}, "finetune": {"updates": 3}},
    }
    model = {"learning_rate": 1e-3, "stages": {"refine": {"learning_rate": 1e-3}}}
    after = plan_of(designs=["refine_finetune"], controls=["continued"], continued=True, budget=budget, model=model)
    assert keys(after) == before
    assert after.stages == []


def test_a_stage_changes_only_the_keys_of_its_runs_and_of_those_that_start_from_them(
    plan_of: Callable[..., StudyPlan],
) -> None:
    def firsts_and_others(**fields: Any) -> tuple[set[str], set[str]]:
        found = keys(plan_of(designs=["refine_finetune"], **fields))
        firsts = {key for name, key in found.items() if " then " not in name}
        return firsts, set(found.values()) - firsts

    firsts, others = firsts_and_others()
    rates = {"learning_rate": 1e-3, "stages": {"finetune": {"learning_rate": 0.1}}}
    tuned_firsts, tuned = firsts_and_others(model=rates)
    assert tuned_firsts == firsts
    assert not tuned & others
    budget = {"updates": 4, "evaluations": 2, "stages": {"refine": {"updates": 8}}}
    refined_firsts, refined = firsts_and_others(budget=budget)
    assert len(refined_firsts & firsts) == 4  # the baselines
    assert len(refined_firsts) == len(firsts) + 4
    assert not refined & others


def test_every_run_of_a_stage_is_labelled_with_its_designs(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of(
        designs=["refine_finetune"], budget={"updates": 4, "evaluations": 2, "stages": {"refine": {"updates": 8}}}
    )
    labels = {one.trains: one.designs for one in plan.run_specs}
    assert labels["cause + risk (refine)"] == labels["cause (refine)"] == ("refine_finetune",)
    assert labels["cause"] == ("single",)
