"""Targets that are fine-tuned from an encoder which was first trained on another task in several ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.problems import InputError
from mtl.study.design.description import described
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.pretraining import against_alone, against_first, option_problems
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study

WORD = {"options": {"unit": "word"}}
LATER = {"curriculum": [{"from_step": 2, "tasks.mlm.options.rate": 0.3}]}
ARMS: dict[str, Any] = {"base": {}, "later": LATER, "word": WORD}
OPTIONS = {"task": "mlm", "arms": ARMS}


@pytest.fixture
def write(toy_study: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a study with the task `mlm` on the texts of `cause`."""

    def make(options: Any = OPTIONS, **fields: Any) -> Path:
        designs = [{"pretraining": options}, "pretraining_arms"]
        path = toy_study(**{"designs": designs, "tasks": ["mlm", "cause", "drugs"], **fields})
        mixture = yaml.safe_load((tmp_path / "toy.yaml").read_text())
        mixture["tasks"]["mlm"] = {"head": "masked_lm", "data": {"reader": "jsonl", "path": str(tmp_path / "cause")}}
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(mixture))
        return path

    return make


@pytest.fixture
def plan_of(write: Callable[..., Path]) -> Callable[..., StudyPlan]:
    return lambda *options, **fields: make_plan(load_study(write(*options, **fields)))


def specs_of(plan: StudyPlan) -> dict[str, Any]:
    """The specs of the first seed by what they train."""
    return {spec.trains: spec for spec in plan.run_specs if spec.seed == 0}


def test_targets_are_compared_with_their_single_runs_and_with_the_first_arm() -> None:
    def after(arm: str) -> Run:
        return Run(("a",), 3, source=Run(("mlm",), 3, arm=arm), arm=arm)

    found = list(against_alone(["mlm", "a"], 3, OPTIONS))
    assert [(one.target, one.partner) for one in found] == [("a", "base"), ("a", "later"), ("a", "word")]
    assert [one.treated for one in found] == [after(""), after("later"), after("word")]
    assert {one.reference for one in found} == {Run(("a",), 3)}
    others = list(against_first(["mlm", "a"], 3, OPTIONS))
    assert [one.treated for one in others] == [after("later"), after("word")]
    assert {one.reference for one in others} == {after("")}


def test_an_arm_changes_the_pretraining_and_no_other_task(plan_of: Callable[..., StudyPlan]) -> None:
    specs = specs_of(plan_of())
    assert sorted(specs) == sorted(
        [
            "mlm",
            "cause",
            "drugs",
            "mlm then cause",
            "mlm (later)",
            "mlm (later) then cause",
            "mlm (word)",
            "mlm (word) then cause",
            "mlm then drugs",
            "mlm (later) then drugs",
            "mlm (word) then drugs",
        ]
    )
    options = {name: spec.mixture["tasks"]["mlm"]["options"] for name, spec in specs.items() if spec.tasks == ("mlm",)}
    assert (options["mlm"], options["mlm (word)"]) == ({}, {"unit": "word"})
    assert specs["mlm (later)"].mixture["curriculum"] == LATER["curriculum"]
    for arm in ("", " (word)", " (later)"):
        own = specs[f"mlm{arm} then cause"]
        assert own.mixture | {"seed": 0} == specs["cause"].mixture | {"seed": 0}
        assert own.source == specs[f"mlm{arm}"].key
    assert len({spec.key for spec in specs.values()}) == len(specs)


def test_another_arm_changes_no_key_and_a_study_without_arms_has_the_same_single_runs(
    plan_of: Callable[..., StudyPlan],
) -> None:
    plain = {spec.trains: spec.key for spec in plan_of(designs=["single"]).run_specs if spec.seed == 0}
    few, many = specs_of(plan_of({"task": "mlm", "arms": {"base": {}, "word": WORD}})), specs_of(plan_of())
    assert {name: few[name].key for name in few} == {name: many[name].key for name in few}
    assert plain == {name: many[name].key for name in ("mlm", "cause", "drugs")}


def test_an_arm_with_another_encoder_is_fine_tuned_with_it(
    plan_of: Callable[..., StudyPlan], tiny_encoder: Callable[[str], Path]
) -> None:
    other = str(tiny_encoder("electra"))
    specs = specs_of(plan_of({"task": "mlm", "arms": {"base": {}, "new": {"encoder": {"name": other}}}}))
    encoders = {name: spec.mixture["encoder"] for name, spec in specs.items()}
    assert {name for name, encoder in encoders.items() if encoder["name"] == other} == {
        "mlm (new)",
        "mlm (new) then cause (new)",
        "mlm (new) then drugs (new)",
    }
    assert {encoder["max_length"] for encoder in encoders.values()} == {48}
    assert specs["mlm (new)"].key != specs["mlm"].key


def test_further_training_is_compared_for_targets_only(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of(continued=True)
    assert {one.target for one in plan.comparisons if one.design == "continued"} == {"cause", "drugs"}


def test_the_plan_says_what_the_arms_change(plan_of: Callable[..., StudyPlan]) -> None:
    words = " ".join(described(plan_of()))
    assert '"unit": "word"' in words
    assert "tasks.mlm.options.rate" in words


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (None, 1),
        ({"task": "mlm"}, 1),
        ({"task": "mln", "arms": {"base": {}}}, 1),
        ({"task": "mlm", "arms": {"word": WORD}}, 1),
        ({"task": "mlm", "arms": {"base": {}, "word": {}}}, 1),
        ({"task": "mlm", "arms": []}, 1),
        ({"task": "mln", "arms": {"word": WORD, "other": {}}}, 3),
        (OPTIONS, 0),
    ],
)
def test_each_problem_with_the_options_is_reported(options: Any, number: int) -> None:
    assert len(option_problems(options, ["mlm", "a"])) == number


def keys(path: Path, *, planned: bool = False) -> set[str]:
    with pytest.raises(InputError) as caught:
        make_plan(load_study(path)) if planned else load_study(path)
    return {problem.key for problem in caught.value.problems}


def test_the_problems_of_all_arms_are_reported_by_their_keys(write: Callable[..., Path]) -> None:
    arms = {
        "base": {},
        "c": {"options": {"unit": "piece"}},
        "d": {"encoder": {"max_lenght": 9}},
        "e": {"curriculum": [{"from_step": 1, "tasks.cause.loss_weight": 2.0}]},
        "f": {"data": {"path": "x"}},
    }
    assert keys(write({"task": "mlm", "arms": arms})) == {
        "designs.pretraining.arms.c.options.unit",
        "designs.pretraining.arms.d.encoder.max_lenght",
        "designs.pretraining.arms.e.curriculum.0.tasks.cause.loss_weight",
        "designs.pretraining.arms.f.data",
    }


def test_a_curriculum_must_end_with_the_pretraining(write: Callable[..., Path]) -> None:
    late = {"curriculum": [{"from_step": 4, "tasks.mlm.options.rate": 0.3}]}
    path = write({"task": "mlm", "arms": {"base": {}, "late": late}})
    assert keys(path, planned=True) == {"designs.pretraining.arms.late.curriculum.0.from_step"}


def test_a_study_has_arms_of_one_design(write: Callable[..., Path]) -> None:
    both = [{"pretraining": OPTIONS}, {"arms": {"a": {}, "b": {"max_length": 9}}}]
    assert keys(write(designs=both)) == {"designs"}
    assert keys(write(designs=["pretraining_arms"])) == {"designs.pretraining_arms"}
