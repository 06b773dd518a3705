"""From a suite to its studies: every task has its recipe, and every deviation from it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.problems import InputError
from mtl.study.design.designs import DESIGNS
from mtl.suites.suite_file import load_suite
from mtl.suites.suite_spec import SuiteSpec
from mtl.suites.suite_studies import (
    WAYS,
    SuiteOrder,
    chosen_tasks,
    deviations,
    split_overrides,
    study_fields,
    suite_studies,
)
from tests.suites.toy import fields, write_data

RECIPE = {"learning_rate": 5e-5, "batch_size": 4, "warmup": 0.0, "schedule": "constant", "select": "last"}
SPEC = SuiteSpec(
    **fields(recipe=RECIPE, tasks__toy_drugs__recipe={"epochs": 20, "learning_rate": 1e-4}, tasks__toy_drugs__seeds=10)
)


def order(*tasks: str, **changes: Any) -> SuiteOrder:
    given: dict[str, Any] = {"way": "single", "encoder": "minilm-l6", "seeds": None, "changes": {}, **changes}
    return SuiteOrder(tasks or tuple(SPEC.tasks), **given)


def test_the_ways_are_designs_of_studies() -> None:
    assert set(WAYS) <= set(DESIGNS)


def test_a_task_alone_has_a_study_with_its_own_recipe_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path, "drugs", "risk")
    studies = {next(iter(study.mixture.tasks)): study for study in suite_studies(SPEC, order())}
    assert set(studies) == set(SPEC.tasks)
    drugs, risk = studies["toy_drugs"].spec, studies["toy_risk"].spec
    assert (drugs.model.learning_rate, risk.model.learning_rate) == (1e-4, 5e-5)
    assert (len(drugs.seed_list), len(risk.seed_list)) == (10, 5)
    assert (drugs.budget.of("toy_drugs").passes, risk.budget.of("toy_risk").passes) == (20, None)
    assert drugs.budget.evaluations == 10
    assert {(one.select, one.model.schedule, one.model.warmup) for one in (drugs, risk)} == {("last", "constant", 0.0)}
    assert studies["toy_risk"].mixture.batch_size_of("toy_risk") == 4
    assert drugs.name != risk.name
    assert not risk.continued


@pytest.mark.parametrize("way", ["joint", "refine_finetune"])
def test_tasks_together_share_a_study_at_the_recipe_that_all_have(way: Any) -> None:
    found = study_fields(SPEC, order(way=way), tuple(SPEC.tasks))
    assert found["model"]["learning_rate"] == 5e-5
    assert found["designs"] == [way]
    assert list(found["mixture"]["tasks"]) == list(SPEC.tasks)
    assert found["budget"]["tasks"] == {"toy_drugs": {"passes": 20}}
    assert found["seeds"] == 10
    assert "learning rate 5e-05 instead of 0.0001" in deviations(SPEC, SPEC, order(way=way), "toy_drugs")


def test_what_a_task_was_trained_with_is_named() -> None:
    """A model of two tasks and one of all have the same label."""
    both = deviations(SPEC, SPEC, order(way="joint"), "toy_drugs")
    assert f"trained with toy_risk (2 of the {len(SPEC.tasks)} tasks)" in both
    alone = order(way="joint")._replace(tasks=("toy_drugs",))
    assert not any("trained with" in phrase for phrase in deviations(SPEC, SPEC, alone, "toy_drugs"))


def test_a_recipe_that_is_followed_deviates_in_nothing() -> None:
    assert deviations(SPEC, SPEC, order(), "toy_drugs") == []


@pytest.mark.parametrize(
    ("changed", "changes", "phrase"),
    [
        ({"recipe": {**RECIPE, "warmup": 0.5}}, {}, "warmup 0.5 instead of 0.0"),
        ({}, {"seeds": 3}, "3 seeds instead of 10"),
        ({}, {"changes": {"budget": {"updates": 7}}}, "updates 7 in place of the 20 epochs"),
        ({}, {"changes": {"budget": {"train_rows": 9}}}, "budget.train_rows: 9"),
        ({}, {"changes": {"encoder": {"max_length": 16}}}, "encoder.max_length: 16"),
        ({}, {"changes": {"trainer": {"precision": "bf16-mixed", "threads": 2}}}, "trainer.precision: bf16-mixed"),
    ],
)
def test_every_change_is_named(changed: dict[str, Any], changes: dict[str, Any], phrase: str) -> None:
    spec = SuiteSpec(**{**SPEC.model_dump(), **changed})
    assert deviations(spec, SPEC, order(**changes), "toy_drugs") == [phrase]


def test_seeds_of_tasks_together_are_those_of_the_study() -> None:
    assert "2 seeds instead of 10" in deviations(SPEC, SPEC, order(way="joint", seeds=2), "toy_drugs")
    assert "10 seeds instead of 5" in deviations(SPEC, SPEC, order(way="joint"), "toy_risk")


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        ("options", {"decoder": "crf"}, "options"),
        ("variant", "near_entity_f1", "variant"),
        ("data", {"reader": "conll", "path": "elsewhere", "limit": {"test": 3}}, "data.limit"),
    ],
)
def test_a_change_of_the_task_itself_is_named_but_not_of_the_place_of_its_data(
    place: str, value: Any, key: str
) -> None:
    changed = {**SPEC.tasks["toy_drugs"].model_dump(), place: value}
    spec = SuiteSpec(**{**SPEC.model_dump(), "tasks": {**SPEC.model_dump()["tasks"], "toy_drugs": changed}})
    (phrase,) = deviations(spec, SPEC, order(), "toy_drugs")
    assert phrase.split()[0] == key


def test_epochs_that_a_suite_does_not_state_are_named() -> None:
    (phrase,) = deviations(SPEC, SPEC, order(), "toy_risk")
    assert phrase.startswith("epochs by the size of the task")


def test_a_budget_of_the_user_replaces_that_of_the_recipe() -> None:
    found = study_fields(SPEC, order(changes={"budget": {"updates": 7}, "trainer": {"threads": 2}}), ("toy_drugs",))
    assert found["budget"] == {"evaluations": 10, "updates": 7}
    assert found["trainer"] == {"threads": 2}


def test_overrides_go_to_the_suite_or_to_its_studies() -> None:
    own, changes = split_overrides(["tasks.toy_risk.recipe.epochs=2", "launcher.workers=2", "encoder.max_length=16"])
    assert own == ["tasks.toy_risk.recipe.epochs=2"]
    assert changes == {"launcher": {"workers": 2}, "encoder": {"max_length": 16}}


def test_tasks_are_chosen_by_name_and_an_unknown_one_has_near_matches() -> None:
    assert chosen_tasks(SPEC, []) == tuple(SPEC.tasks)
    assert chosen_tasks(SPEC, ["toy_drugs"]) == ("toy_drugs",)
    with pytest.raises(InputError) as raised:
        chosen_tasks(SPEC, ["toy_drug"])
    assert "toy_drugs" in str(raised.value)


def test_one_seed_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        suite_studies(SPEC, order("toy_risk", seeds=1))
    assert [problem.key for problem in raised.value.problems] == ["seeds"]


@pytest.mark.parametrize("name", ["blurb", "blue", "encoders11"])
@pytest.mark.parametrize("way", WAYS)
def test_every_suite_makes_valid_studies(name: str, way: Any) -> None:
    spec = load_suite(name).spec
    found = suite_studies(spec, order(*spec.tasks, way=way))
    assert len(found) == (len(spec.tasks) if way == "single" else 1)
    assert len({study.spec.name for study in found}) == len(found)
