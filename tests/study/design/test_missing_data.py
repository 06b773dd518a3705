from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.problems import InputError
from mtl.study.design.description import described
from mtl.study.design.missing_data import with_available_data
from mtl.study.design.plan import make_plan
from mtl.study.design.study_file import load_study

WHERE = "a provider that wants an agreement"


def problems(path: Path) -> list[Any]:
    with pytest.raises(InputError) as caught:
        make_plan(load_study(path))
    return caught.value.problems


def test_an_optional_task_without_data_is_left_out_and_named(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    path = toy_study(designs=["joint"], optional_tasks={"risk": WHERE, "cause": WHERE})
    assert with_available_data(load_study(path)).left_out == ()
    shutil.rmtree(tmp_path / "risk")
    study = with_available_data(load_study(path))
    assert (list(study.mixture.tasks), study.left_out) == (["cause", "drugs"], ("risk",))
    assert with_available_data(study) == study
    plan = make_plan(load_study(path))
    assert {run.tasks for run in plan.runs} == {("cause",), ("drugs",), ("cause", "drugs")}
    (sentence,) = [sentence for sentence in described(plan) if "absent" in sentence]
    assert "risk" in sentence
    assert WHERE in sentence


def test_a_task_that_is_not_optional_and_has_no_data_is_an_error(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study(optional_tasks={"risk": WHERE})
    shutil.rmtree(tmp_path / "drugs")
    assert [problem.key for problem in problems(path)] == ["tasks.drugs.data.path"]


@pytest.mark.parametrize("absent", [["risk", "drugs"], ["cause", "risk", "drugs"]])
def test_a_study_with_too_few_tasks_left_names_all_absent_files_and_where_to_get_them(
    toy_study: Callable[..., Path], tmp_path: Path, absent: list[str]
) -> None:
    path = toy_study(optional_tasks=dict.fromkeys(("cause", "risk", "drugs"), WHERE))
    for name in absent:
        shutil.rmtree(tmp_path / name)
    found = {problem.key: problem for problem in problems(path)}
    for name in absent:
        problem = found.pop(f"tasks.{name}.data.path")
        assert str(tmp_path / name) in problem.message
        assert WHERE in problem.suggestion
    assert list(found) == ([] if len(absent) == 3 else ["designs.pairwise"])


def test_another_problem_with_an_optional_task_is_not_taken_for_absent_data(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study(optional_tasks={"risk": WHERE})
    (tmp_path / "risk" / "train.jsonl").write_text("{}\n")
    assert with_available_data(load_study(path)).left_out == ()
    assert problems(path)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"optional_tasks": {"rsk": WHERE}}, "optional_tasks"),
        ({"designs": ["refine_finetune"], "averages": {"all": ["cause", "rsk"]}}, "averages.all"),
        ({"designs": ["refine_finetune"], "averages": {"all": []}}, "averages.all"),
        ({"averages": {"all": ["cause"]}}, "averages"),
    ],
)
def test_a_wrong_task_or_a_mean_without_a_table_is_an_error(
    toy_study: Callable[..., Path], fields: dict[str, Any], key: str
) -> None:
    assert [problem.key for problem in problems(toy_study(**fields))] == [key]
