"""Targets with few training rows of their own, trained with a partner that has all of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl.problems import InputError
from mtl.study.design.description import described
from mtl.study.design.designs import comparisons
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.runs import Comparison, Run
from mtl.study.design.sizes import at_sizes, option_problems
from mtl.study.design.study_file import load_study

TASKS = ["a", "b", "c"]


@pytest.fixture
def plan_of(toy_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    """A function that plans a study of `cause` with 26 rows and `drugs` with 15, from options of the design."""

    def make(options: Any, **fields: Any) -> StudyPlan:
        designs = [{"sizes": options}, *fields.pop("others", [])]
        return make_plan(load_study(toy_study(**{"designs": designs, "tasks": ["cause", "drugs"], **fields})))

    return make


def specs_of(plan: StudyPlan) -> dict[str, Any]:
    """The specs of the first seed by what they train."""
    return {spec.trains: spec for spec in plan.run_specs if spec.seed == 0}


def rows_of(spec: Any, task: str) -> set[str]:
    """The ids of the training rows that a worker reads for a run."""
    from mtl.config.mixture import Mixture
    from mtl.data.examples import prepare
    from mtl.training.assembly import build_heads

    mixture = Mixture(**spec.mixture)
    return {row.id for row in prepare(mixture, *build_heads(mixture))[task]["train"].rows}


def test_both_sides_of_a_gain_have_the_same_rows_of_the_target() -> None:
    found = list(at_sizes(TASKS, 3, {"rows": {"b": [10, "all"]}, "partners": ["a", "b"]}))
    pair, alone = Run(("a", "b"), 3), Run(("b",), 3)
    few = {"data": "b at 10 rows"}
    assert found == [
        Comparison("sizes", "b", "a at 10 rows", 3, replace(pair, **few), replace(alone, **few)),
        Comparison("sizes", "b", "a at all rows", 3, pair, alone),
    ]
    assert len(list(at_sizes(TASKS, 0, {"rows": [10, 20]}))) == 3 * 2 * 2


def test_all_rows_share_the_runs_of_pairs_and_further_training_has_the_rows_of_its_reference() -> None:
    parts = [("sizes", {"rows": [10, "all"]}), ("pairwise", None), ("continued", None)]
    found = comparisons(parts, ["a", "b"], [0, 1])
    pairs = {one.treated for one in found if one.design == "pairwise"}
    assert {one.treated for one in found if one.partner.endswith("all rows")} == pairs
    again = {(one.target, one.partner): one for one in found if one.design == "continued" and one.seed == 1}
    assert sorted(again) == [(t, p) for t in "ab" for p in ("itself before", "itself before at 10 rows")]
    limited = Run(("a",), 1, data="a at 10 rows")
    assert again["a", "itself before at 10 rows"].reference == limited
    assert again["a", "itself before at 10 rows"].treated == Run(("a",), 1, limited, True, data="a at 10 rows")
    assert len([one for one in found if one.design == "continued"]) == 2 * 2 * 2


def test_only_the_rows_of_the_target_are_fewer_and_smaller_sets_are_within_larger_ones(
    plan_of: Callable[..., StudyPlan],
) -> None:
    specs = specs_of(plan_of({"rows": {"cause": [8, 16]}}))
    assert sorted(specs) == [
        "cause",
        "cause (cause at 16 rows)",
        "cause (cause at 8 rows)",
        "cause + drugs (cause at 16 rows)",
        "cause + drugs (cause at 8 rows)",
        "drugs",
    ]
    rows = {size: rows_of(specs[f"cause + drugs (cause at {size} rows)"], "cause") for size in (8, 16)}
    assert [len(found) for found in rows.values()] == [8, 16]
    assert rows[8] < rows[16] < rows_of(specs["cause"], "cause")
    assert rows[8] == rows_of(specs["cause (cause at 8 rows)"], "cause")
    assert rows_of(specs["cause + drugs (cause at 8 rows)"], "drugs") == rows_of(specs["drugs"], "drugs")
    assert len({spec.key for spec in specs.values()}) == len(specs)


def test_sizes_change_no_key_of_other_runs(plan_of: Callable[..., StudyPlan], toy_study: Callable[..., Path]) -> None:
    plain = specs_of(make_plan(load_study(toy_study(designs=["pairwise"], tasks=["cause", "drugs"]))))
    sized = specs_of(plan_of({"rows": [8, "all"]}))
    assert {name: spec.key for name, spec in plain.items()} == {name: sized[name].key for name in plain}
    assert set(sized) - set(plain) == {
        f"{trained} ({target} at 8 rows)" for target in ("cause", "drugs") for trained in (target, "cause + drugs")
    }


def test_a_budget_in_passes_counts_the_rows_that_are_used(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of({"rows": {"cause": [8, "all"]}}, budget={"passes": 4, "evaluations": 2})
    quotas = {name: spec.mixture["sampler"]["batches"] for name, spec in specs_of(plan).items()}
    # 8, 26 and 15 rows in batches of 4 are 2, 7 and 4 batches a pass, and 4 passes are 2 in each evaluation.
    assert quotas["cause (cause at 8 rows)"] == {"cause": 4}
    assert quotas["cause + drugs (cause at 8 rows)"] == {"cause": 4, "drugs": 8}
    assert quotas["cause + drugs"] == {"cause": 14, "drugs": 8}
    assert any("cause 8 (8 updates), 26 (28 updates)." in sentence for sentence in described(plan))
    assert [(one.partner, one.num_rows) for one in plan.sizes] == [("drugs", 8), ("drugs", 26)]


def test_a_size_that_a_task_does_not_reach_stands_for_all_its_rows(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of({"rows": [20, 500]})
    assert {(one.target, one.partner) for one in plan.comparisons} == {
        ("cause", "drugs at 20 rows"),
        ("cause", "drugs at all rows"),
        ("drugs", "cause at all rows"),
    }


def test_a_limit_of_the_study_holds_for_partners_and_for_dev_and_test(plan_of: Callable[..., StudyPlan]) -> None:
    plan = plan_of({"rows": {"cause": [5, "all"]}}, budget={"updates": 2, "train_rows": 10, "dev_rows": 3})
    specs = specs_of(plan)
    limits = {name: spec.mixture["tasks"]["cause"]["data"]["limit"] for name, spec in specs.items() if "cause" in name}
    assert [limits[name]["train"] for name in ("cause + drugs", "cause + drugs (cause at 5 rows)")] == [10, 5]
    assert {limit["dev"] for limit in limits.values()} == {3}
    assert rows_of(specs["cause (cause at 5 rows)"], "cause") < rows_of(specs["cause"], "cause")


def test_a_size_below_the_smallest_document_is_a_problem_of_the_design(
    plan_of: Callable[..., StudyPlan], tmp_path: Path
) -> None:
    def document(line: str, number: int) -> str:
        return line.replace('{"id"', f'{{"document": "whole-{number // 5}", "id"')

    plan_of({"rows": {"cause": [8]}})
    path = tmp_path / "cause" / "train.jsonl"
    lines = [document(line, number) for number, line in enumerate(path.read_text().splitlines(True))]
    path.write_text("".join(lines[:25]))
    study = load_study(tmp_path / "study.yaml")
    with pytest.raises(InputError) as caught:
        make_plan(study._replace(spec=study.spec.model_copy(update={"designs": ({"sizes": {"rows": [3, 12]}},)})))
    assert [problem.key for problem in caught.value.problems] == ["designs.sizes.rows"]
    designs = ({"sizes": {"rows": {"cause": [10, 12, 15]}}},)  # whole documents of 5 rows
    plan = make_plan(study._replace(spec=study.spec.model_copy(update={"designs": designs})))
    assert [(one.partner, one.num_rows) for one in plan.sizes] == [("drugs", 10), ("drugs", 15)]


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"rows": [1, "all"]}, 0),
        ({"rows": {"a": [1], "b": ["all"]}, "partners": ["c"]}, 0),
        ([1, 2], 1),
        ({"partners": ["a"]}, 1),
        ({"rows": [1], "seed": 1}, 1),
        ({"rows": []}, 1),
        ({"rows": {}}, 1),
        ({"rows": [0]}, 1),
        ({"rows": [True]}, 1),
        ({"rows": ["most"]}, 1),
        ({"rows": [2, 2]}, 1),
        ({"rows": {"d": [1]}, "partners": ["e"]}, 2),
        ({"rows": {"a": [1], "b": 5}, "partners": []}, 2),
    ],
)
def test_each_problem_with_the_options_is_reported(options: Any, number: int) -> None:
    assert len(option_problems(options, TASKS)) == number
