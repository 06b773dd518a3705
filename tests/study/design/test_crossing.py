"""Which corpora are tested with which models."""

from __future__ import annotations

from typing import Any

import pytest

from mtl.config.mixture import TaskSpec
from mtl.study.design.crossing import cross_pairs, cross_problems, with_cross_pairs


def task(head: str = "token_classification", labels: tuple[str, ...] = ("Disease",), **more: Any) -> TaskSpec:
    return TaskSpec(head=head, labels=labels, data={"reader": "jsonl", "path": "x"}, **more)


TASKS = {
    "ncbi": task(options={"decoder": "crf"}),
    "bc2gm": task(labels=("GENE",)),
    "cdr": task(),
    "jnlpba": task(labels=("GENE",), max_length=64),
    "alone": task(labels=("Disease",), primary_metric="macro_f1", options={"metrics": ["strict_f1"]}),
    "lenient": task(options={"spans": "lenient"}),
    "kind": task("classification", ("Disease", "GENE")),
}
ORDERED = [("ncbi", "cdr"), ("bc2gm", "jnlpba"), ("cdr", "ncbi"), ("jnlpba", "bc2gm")]


def test_tasks_with_the_same_head_labels_and_metrics_are_paired_in_both_orders() -> None:
    assert cross_pairs(None, TASKS) == ORDERED
    assert cross_problems(None, TASKS) == []


def test_options_limit_the_corpora_on_either_side() -> None:
    assert cross_pairs({"train": ["cdr", "jnlpba"]}, TASKS) == [("cdr", "ncbi"), ("jnlpba", "bc2gm")]
    assert cross_pairs({"test": ["cdr"], "train": ["ncbi", "bc2gm"]}, TASKS) == [("ncbi", "cdr")]


def test_a_listed_task_without_a_counterpart_is_an_error_and_so_is_a_study_without_any_pair() -> None:
    found = cross_problems({"train": ["cdr", "kind"], "test": ["alone", "ncbi"]}, TASKS)
    assert [problem.key for problem in found] == ["designs.cross.train", "designs.cross.test"]
    assert "'kind'" in found[0].message
    (none,) = cross_problems(None, {"kind": TASKS["kind"], "cdr": TASKS["cdr"]})
    assert none.key == "designs.cross"


@pytest.mark.parametrize("parts", [[("pairwise", None), ("cross", None)], [("cross", {"test": ["cdr"]})]])
def test_only_the_options_of_the_design_become_pairs(parts: list[tuple[str, Any]]) -> None:
    found = dict(with_cross_pairs(parts, TASKS))
    assert found["cross"]["pairs"] == (ORDERED if len(parts) == 2 else [("ncbi", "cdr")])
    assert found.get("pairwise") is None
