from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.problems import InputError
from mtl.study.design.study_file import load_study


@pytest.fixture
def write(toy_mixture: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def make(**fields: Any) -> Path:
        toy_mixture()
        path = tmp_path / "study.yaml"
        content = {"name": "toy_study", "mixture": "toy.yaml", **fields}
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not ...}), encoding="utf-8")
        return path

    return make


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_study(path, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_study_finds_its_mixture_beside_it_and_selects_tasks(write: Callable[..., Path]) -> None:
    study = load_study(write(tasks=["cause", "risk"]))
    assert list(study.mixture.tasks) == ["cause", "risk"]
    assert study.spec.seed_list == (0, 1, 2, 3, 4, 5, 6, 7)
    assert [part.name for part in study.spec.parts] == ["pairwise", "continued"]


def test_a_mixture_can_be_part_of_the_study(write: Callable[..., Path], tmp_path: Path) -> None:
    study = load_study(write(mixture={"name": "own", "include": ["toy.yaml"], "batch_size": 7}))
    assert study.mixture.batch_size == 7
    assert "drugs" in study.mixture.tasks


def test_seeds_of_the_environment_are_numbers(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "3")
    assert load_study(write(seeds=["${oc.env:SEED}", 5])).spec.seed_list == (3, 5)
    assert load_study(write(), ["seeds=${oc.env:SEED}"]).spec.seed_list == (0, 1, 2)


@pytest.mark.parametrize("change", [{"name": False}, {"tasks": [True]}, {"designs": [False]}])
def test_a_boolean_in_the_place_of_a_word_gets_the_advice_to_quote_it(
    change: dict[str, Any], write: Callable[..., Path]
) -> None:
    assert any("quotes" in problem for problem in problems(write(**change)))


def test_a_study_of_a_mixture_with_a_curriculum_is_refused(write: Callable[..., Path]) -> None:
    change = {"from_step": 5, "tasks.risk.loss_weight": 2}
    with pytest.raises(InputError) as error:
        load_study(write(mixture={"name": "own", "include": ["toy.yaml"], "curriculum": [change]}))
    assert [problem.key for problem in error.value.problems] == ["mixture: curriculum"]


def test_a_study_starts_from_the_encoder_of_a_run_but_not_from_its_heads(write: Callable[..., Path]) -> None:
    for heads, keys in (("none", []), ("matching", ["mixture: init.heads"])):
        init = {"run": "runs/one", "heads": heads}
        own = {"name": "own", "include": ["toy.yaml"], "encoder": {"name": None}, "init": init}
        try:
            assert load_study(write(mixture=own)).mixture.encoder.name == "runs/one"
            found = []
        except InputError as error:
            found = [problem.key for problem in error.problems]
        assert found == keys


def test_overrides_reach_any_key(write: Callable[..., Path]) -> None:
    study = load_study(write(), ["seeds=[3, 7]", "budget.passes=2", "launcher.workers=1"])
    assert study.spec.seed_list == (3, 7)
    assert study.spec.budget.passes == 2


def test_groups_are_added_to_those_of_the_study_without_duplicates(write: Callable[..., Path]) -> None:
    spec = load_study(write(designs=[{"groups": [["risk", "cause"], ["drugs"]]}, "pairwise"])).spec
    both = spec.with_groups([["cause", "risk"], ["cause", "drugs"]])
    groups = ("groups", [["risk", "cause"], ["drugs"], ["cause", "drugs"]])
    assert both.parts == [groups, ("pairwise", None), ("continued", None)]
    assert spec.with_groups([["cause", "risk"]]).parts == spec.parts
    alone = load_study(write()).spec.with_groups([["cause", "drugs"]])
    assert alone.parts == [("pairwise", None), ("groups", [["cause", "drugs"]]), ("continued", None)]


@pytest.mark.parametrize(
    ("fields", "expected", "lacks"),
    [
        ({}, ["pairwise", "continued"], False),
        ({"continued": False}, ["pairwise"], True),
        ({"controls": ["continued", "replicate"]}, ["pairwise", "continued", "replicate"], False),
        ({"designs": ["single"]}, ["single"], False),
        ({"designs": ["refine_finetune"]}, ["refine_finetune"], False),
        ({"designs": ["leave_one_out", "sequential"]}, ["leave_one_out", "sequential", "continued"], False),
    ],
)
def test_the_control_continued_runs_by_default_if_a_design_compares_with_single_task_runs(
    write: Callable[..., Path], fields: dict[str, Any], expected: list[str], lacks: bool
) -> None:
    spec = load_study(write(**fields)).spec
    assert [part.name for part in spec.parts] == expected
    assert spec.lacks_continued is lacks


def test_a_control_that_is_listed_and_switched_off_is_an_error(write: Callable[..., Path]) -> None:
    found = problems(write(controls=["continued"]), "continued=false")
    assert [problem.partition(": ")[0] for problem in found] == ["continued"]


def test_all_problems_of_a_file_are_reported_at_once(write: Callable[..., Path]) -> None:
    path = write(
        designs=["pairwse", {"groups": [["cause", "cause"]]}],
        controls=[{"shuffled_partner": {"risk": "risk"}}],
        seeds=1,
        budget={"updates": 3, "passes": 2},
        tasks=["cause", "risk", "drgs"],
        launcher={"name": "procesess"},
        modle={},
    )
    found = problems(path)
    assert any("modle: There is no key 'modle'. Did you mean 'model'?" in problem for problem in found)
    assert any("There is no design 'pairwse'. Did you mean 'pairwise'?" in problem for problem in found)
    keys = [problem.partition(": ")[0] for problem in found]
    assert {"designs.groups", "controls.shuffled_partner", "seeds", "budget"} <= set(keys)
    assert any("There is no task 'drgs'. Did you mean 'drugs'?" in problem for problem in found)
    assert any("There is no launcher 'procesess'. Did you mean 'processes'?" in problem for problem in found)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixture": ...}, "mixture: "),
        ({"mixture": "nothing.yaml"}, "'nothing.yaml'"),
        ({"seeds": [1, 1]}, "got [1, 1]"),
        ({"tasks": ["cause"]}, "designs.pairwise: "),
        ({"budget": {"updates": 0}}, "budget.updates: "),
        ({"launcher": {"name": "local", "workers": 2}}, "launcher: "),
        ({"launcher": {"name": "processes", "speed": 2}}, "'speed'"),
        ({"trainer": {"precision": "16-true"}}, "trainer.precision: "),
        ({"name": "a/b"}, "name: "),
    ],
)
def test_a_problem_names_the_key_or_the_value(write: Callable[..., Path], fields: dict[str, Any], message: str) -> None:
    assert any(message in problem for problem in problems(write(**fields)))


@pytest.mark.parametrize(
    ("fields", "key", "nearest"),
    [
        ({"budget": {"tasks": {"caus": {"updates": 2}}}}, "budget.tasks.caus", "cause"),
        ({"budget": {"stages": {"refin": {"updates": 2}}}}, "budget.stages.refin", "refine"),
        (
            {"budget": {"stages": {"refine": {"tasks": {"rsk": {"passes": 1}}}}}},
            "budget.stages.refine.tasks.rsk",
            "risk",
        ),
        ({"budget": {"stages": {"refine": {"pases": 2}}}}, "budget.stages.refine.pases", "passes"),
        ({"budget": {"tasks": {"risk": {"update": 2}}}}, "budget.tasks.risk.update", "updates"),
        ({"budget": {"stages": {"refine": {"evaluation": 2}}}}, "budget.stages.refine.evaluation", None),
        ({"model": {"tasks": {"drgs": {"learning_rate": 0.1}}}}, "model.tasks.drgs", "drugs"),
        ({"model": {"stages": {"finetun": {"learning_rate": 0.1}}}}, "model.stages.finetun", "finetune"),
        ({"model": {"stages": {"finetune": {"rate": 0.1}}}}, "model.stages.finetune.rate", None),
        ({"model": {"tasks": {"risk": {"learning_rat": 0.1}}}}, "model.tasks.risk.learning_rat", "learning_rate"),
    ],
)
def test_a_wrong_name_in_a_budget_or_a_rate_is_an_error_with_the_nearest_name(
    write: Callable[..., Path], fields: dict[str, Any], key: str, nearest: str | None
) -> None:
    (problem,) = problems(write(designs=["refine_finetune"], **fields))
    assert problem.startswith(f"{key}: ")
    assert "Choices: " in problem
    assert nearest is None or f"Did you mean '{nearest}'?" in problem


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"budget": {"stages": {"refine": {"updates": 2}}}}, "budget.stages.refine"),
        ({"model": {"stages": {"finetune": {"learning_rate": 0.1}}}}, "model.stages.finetune"),
        ({"model": {"tasks": {"risk": {"learning_rate": 0.1}}}}, "model.tasks.risk"),
        ({"designs": ["refine"], "model": {"stages": {"finetune": {"learning_rate": 0.1}}}}, "model.stages.finetune"),
        ({"designs": ["refine"]}, "designs.refine"),
        ({"designs": ["refine"], "budget": {"stages": {"refine": {}}}}, "budget.stages.refine"),
        ({"budget": {"tasks": {"risk": {"updates": 2, "passes": 1}}}}, "budget.tasks.risk"),
        (
            {"designs": ["refine"], "model": {"stages": {"refine": {"tasks": {"risk": {"learning_rate": 0.1}}}}}},
            "model.stages.refine.tasks",
        ),
    ],
)
def test_a_budget_or_rate_without_runs_that_could_have_it_is_an_error(
    write: Callable[..., Path], fields: dict[str, Any], key: str
) -> None:
    assert key in [problem.partition(": ")[0] for problem in problems(write(**fields))]


def test_a_rate_of_one_task_is_valid_where_every_run_of_the_task_trains_it_alone(write: Callable[..., Path]) -> None:
    rates = {"tasks": {"risk": {"learning_rate": 0.1}}, "stages": {"refine": {"learning_rate": 0.2}}}
    path = write(designs=["refine_finetune", "sequential"], controls=["self_partner", "replicate"], model=rates)
    assert load_study(path).spec.model.tasks["risk"].learning_rate == 0.1


def test_problems_of_the_mixture_are_reported_with_those_of_the_study(write: Callable[..., Path]) -> None:
    found = problems(
        write(
            mixture={
                "name": "own",
                "tasks": {"cause": {"head": "clasification", "data": {"reader": "jsonl", "path": "x"}}},
            },
            seeds=1,
        )
    )
    assert any(problem.startswith("mixture: tasks.cause.head: There is no head 'clasification'.") for problem in found)
    assert any(problem.startswith("seeds:") for problem in found)
