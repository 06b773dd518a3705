from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.study.design.arms import arm_mixture
from mtl.study.design.description import described
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study

ARMS = {"cls": {}, "mean": {"options": {"pooling": "mean"}}, "short": {"max_length": 8, "batch_size": 2}}


@pytest.fixture
def plan_of(toy_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    def make(arms: dict[str, Any] = ARMS, **fields: Any) -> StudyPlan:
        return make_plan(load_study(toy_study(**{"designs": [{"arms": arms}], "tasks": ["cause"], **fields})))

    return make


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load_study(path)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_an_arm_trains_the_task_with_its_settings_and_as_many_updates(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of(budget={"passes": 2, "evaluations": 2})
    specs = {run.arm: plan.spec_of(run) for run in plan.runs if run.seed == 0}
    tasks = {arm: spec.mixture["tasks"]["cause"] for arm, spec in specs.items()}
    assert tasks["mean"]["options"] == {"pooling": "mean"}
    assert (tasks["short"]["max_length"], tasks["short"]["batch_size"]) == (8, 2)
    assert tasks["mean"] | {"options": {}} == tasks[""]
    assert {str(spec.mixture["sampler"]) for spec in specs.values()} == {"{'name': 'quota', 'batches': {'cause': 7}}"}
    assert len({spec.key for spec in specs.values()}) == len({spec.configuration for spec in specs.values()}) == 3
    assert {spec.targets for spec in specs.values()} == {("cause",)}
    assert specs["mean"].designs == ("arms",)


def test_the_first_arm_is_the_single_task_run_of_other_studies(plan_of: Callable[..., StudyPlan]) -> None:
    alone = {one.key for one in plan_of(designs=["single"]).run_specs}
    plan = plan_of()
    assert alone == {plan.spec_of(Run(("cause",), seed)).key for seed in (0, 1)}
    assert len(plan.runs) == 6


def test_an_arm_does_not_change_the_keys_of_other_arms(plan_of: Callable[..., StudyPlan]) -> None:
    def keys(arms: dict[str, Any]) -> dict[str, str]:
        return {one.name: one.key for one in plan_of(arms).run_specs}

    before, after = keys(ARMS), keys({**ARMS, "short": {"max_length": 9}})
    assert {name for name in before if before[name] != after[name]} == {
        f"cause (short), seed {seed}" for seed in (0, 1)
    }


def test_the_plan_shows_the_settings_and_texts_that_an_arm_cuts(plan_of: Callable[..., StudyPlan]) -> None:
    words = " ".join(described(plan_of()))
    assert 'mean: {"options": {"pooling": "mean"}}' in words
    (sentence,) = [sentence for sentence in described(plan_of()) if "were cut" in sentence]
    assert "of short" in sentence


def test_null_resets_an_option_and_nothing_else_of_the_task_changes(toy_mixture: Callable[..., Path]) -> None:
    mixture = load_mixture(toy_mixture()).only(["cause", "risk"])
    changed = arm_mixture(mixture, {"options": {"pooling": "mean", "dropout": 0.0}})
    assert {task.options["pooling"] for task in changed.tasks.values()} == {"mean"}
    assert arm_mixture(changed, {"options": {"pooling": None, "dropout": None}}) == mixture


def test_all_problems_of_the_arms_are_reported_with_the_nearest_names(toy_study: Callable[..., Path]) -> None:
    arms = {"0": {}, "a": {"options": {"poling": "mean"}}, "b": {"data": {"path": "x"}}, "c": {"max_lenght": 9}}
    found = problems(toy_study(designs=[{"arms": {**arms, "d": {"max_length": 0}}}], tasks=["cause"]))
    assert set(found) == {
        "designs.arms.a.options.poling",
        "designs.arms.b.data",
        "designs.arms.c.max_lenght",
        "designs.arms.d.max_length",
    }
    assert "Did you mean 'pooling'?" in found["designs.arms.a.options.poling"]
    assert "Did you mean 'max_length'?" in found["designs.arms.c.max_lenght"]
