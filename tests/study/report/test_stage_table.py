"""The table of refined and fine-tuned scores, with its means, complete and incomplete."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mtl.study.report.conclusions import summary
from mtl.study.report.outcome import outcome
from mtl.study.report.stage_table import COLUMNS, stage_columns, stage_lines, stage_metrics
from mtl.study.statistics.findings import Findings, StageScores
from tests.study import simulated

SCORES = {
    task: {column: rng.uniform(0.4, 0.9, 3).tolist() for column in COLUMNS}
    for task, rng in zip(("gad", "hoc"), np.random.default_rng(1).spawn(2), strict=True)
}


def findings(**averages: tuple[str, ...]) -> Findings:
    stages = tuple(
        StageScores(task, **{column: tuple(values) for column, values in scores.items()})
        for task, scores in SCORES.items()
    )
    return dataclasses.replace(
        simulated.study(("gad", "hoc"), planted={}, missing=[]), stages=stages, averages=averages
    )


def test_a_mean_over_tasks_is_made_for_each_seed() -> None:
    *tasks, mean = stage_lines(findings(both=("gad", "hoc")))
    assert [line.name for line in tasks] == ["gad", "hoc"]
    assert [line.metric for line in tasks] == ["f1", "pearson"]
    assert (mean.name, mean.is_complete) == ("both", True)
    for column in COLUMNS:
        by_seed = [(one + other) / 2 for one, other in zip(*(SCORES[task][column] for task in SCORES), strict=True)]
        assert mean.cells[column] == pytest.approx((3, np.mean(by_seed), np.std(by_seed, ddof=1)))
        assert tasks[0].cells[column].mean == pytest.approx(np.mean(SCORES["gad"][column]))


def test_a_mean_that_lacks_a_task_never_has_the_name_of_the_whole() -> None:
    incomplete = findings(biomedical=("gad", "chemprot", "hoc"), none=("mednli",))
    third, last = stage_lines(incomplete)[2:]
    assert third.name == "biomedical: incomplete (2 of 3 tasks), mean of gad, hoc"
    assert last.name == "none: incomplete (0 of 1 tasks)"
    assert math.isnan(last.cells["refined"].mean)
    assert not any(name.startswith("average/") for name in stage_metrics(incomplete))
    assert "average/both/finetuned" in stage_metrics(findings(both=("gad", "hoc")))


def test_a_missing_run_is_missing_from_the_means_of_its_seed() -> None:
    whole = findings(both=("gad", "hoc"))
    first = dataclasses.replace(whole.stages[0], refined=(0.5, math.nan, 0.7))
    mean = stage_lines(dataclasses.replace(whole, stages=(first, whole.stages[1])))[-1]
    assert mean.cells["refined"].n == 2
    assert mean.cells["refined"].mean == pytest.approx(
        (0.5 + SCORES["hoc"]["refined"][0] + 0.7 + SCORES["hoc"]["refined"][2]) / 4
    )
    assert mean.cells["single"].n == 3


def test_mlflow_gets_the_table_only_if_there_is_one() -> None:
    found = outcome(findings(both=("gad", "hoc")))
    assert found.tables["stages.json"] == stage_columns(findings(both=("gad", "hoc")))
    assert found.metrics["finetuned/gad"] == pytest.approx(np.mean(SCORES["gad"]["finetuned"]))
    assert "stages.json" not in outcome(simulated.study()).tables


def test_the_headline_names_the_tasks_that_are_left_out() -> None:
    headline = summary(dataclasses.replace(findings(), left_out={"mednli": "PhysioNet"})).headline
    assert headline.startswith("Incomplete: the data of 1 of 3 tasks is absent (mednli).")
