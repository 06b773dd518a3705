"""The report of a suite from scores that are written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl.suites.model_results import ModelResults, TaskResults
from mtl.suites.suite_file import Suite, load_suite
from mtl.suites.suite_report import missing_seeds, note, report, report_metrics, score_columns
from tests.suites.toy import write_suite

LINES = [
    "paper,theirs,toy_risk,micro_f1_without_negative,60.0,0.5,5,",
    "paper,theirs,toy_drugs,strict_entity_f1,70.0,,,yes",
    "paper,theirs,toy,mean_of_tasks,65.0,,,",
    "paper,others,toy_drugs,joined_entity_f1,99.9,,,",
]
RISK = TaskResults(
    scores={"micro_f1_without_negative": {"0": 0.5, "1": 0.75}, "accuracy_with_negative": {"0": 0.5, "1": 0.5}},
    without_overlap={"micro_f1_without_negative": {"0": 0.25, "1": 0.25}, "accuracy_with_negative": {}},
    documents=10,
    overlapping=3,
    seeds=2,
    baseline=("majority", 0.125),
    fingerprints={},
    deviations=("warmup 0.5 instead of 0.0",),
)
DRUGS = replace(RISK, scores={"strict_entity_f1": {"0": 0.375}}, without_overlap={}, overlapping=0, deviations=())


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return load_suite(write_suite(tmp_path, LINES))


def model(way: Any = "single", **tasks: TaskResults) -> ModelResults:
    return ModelResults("toy", "1", "ours", way, "abcdef", tasks)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading; of the first table if there is no heading."""
    part = text.partition(heading)[2].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_means_and_deviations_are_those_of_the_seeds(suite: Suite) -> None:
    cells = {tuple(row[:2]): row[2:] for row in rows(report(suite, [model(toy_risk=RISK, toy_drugs=DRUGS)]), "# A toy")}
    assert cells["`toy_risk`", "micro_f1_without_negative"] == [
        "12.50 (majority)",
        "62.50 ± 17.68 (2)",
        "60.00 ± 0.50 (5)",
    ]
    assert cells["`toy_risk`", "accuracy_with_negative"] == ["", "50.00 ± 0.00 (2)", "-"]
    assert cells["`toy_drugs`", "strict_entity_f1"][1:] == ["37.50 (1)", "70.00‡"]
    assert cells["**score**", "mean_of_tasks"][1:] == ["50.00", "65.00"]


def test_a_missing_task_leaves_no_score_under_the_name_of_the_suite(suite: Suite) -> None:
    found = [model(toy_risk=RISK)]
    assert rows(report(suite, found), "# A toy")[-1][3] == "incomplete (1 of 2)"
    assert report_metrics(suite, found) == {"ours, single/toy_risk": 62.5}
    assert "incomplete (1 of 2)" in note(suite, found)
    assert report_metrics(suite, [model(toy_risk=RISK, toy_drugs=DRUGS)])["ours, single/mean/toy"] == 50.0


def test_scores_without_overlapping_documents_are_shown_where_there_are_any(suite: Suite) -> None:
    text = report(suite, [model(toy_risk=RISK, toy_drugs=DRUGS)])
    assert rows(text, "## Test documents that overlap train") == [
        ["ours, single", "`toy_risk`", "3 of 10", "62.50 ± 17.68 (2)", "25.00 ± 0.00 (2)"]
    ]
    columns = score_columns(suite, [model(toy_risk=RISK)])
    assert columns["mean_without_overlap"][:2] == [25.0, None]
    assert columns["overlapping"][:2] == [3, 3]


def test_a_score_of_another_variant_is_in_no_column_and_listed_apart(suite: Suite) -> None:
    text = report(suite, [model(toy_risk=RISK)])
    assert "99.9" not in text
    assert "joined_entity_f1" in text.partition("## Published scores that cannot be compared")[2]
    assert 99.9 not in score_columns(suite, [])["mean"]


def test_deviations_and_missing_seeds_are_listed(suite: Suite) -> None:
    found = [model(toy_risk=RISK, toy_drugs=DRUGS), model("joint", toy_risk=RISK)]
    text = report(suite, found).partition("## Deviations")[2]
    assert "ours, joint, `toy_risk`: warmup 0.5 instead of 0.0" in text
    assert "ours, single, `toy_drugs`: none" in text
    assert len(missing_seeds(suite, found)) == 1
    assert "toy_drugs has 1 of 2" in missing_seeds(suite, found)[0]


def test_a_model_whose_task_was_scored_by_another_variant_has_no_score_of_it(suite: Suite) -> None:
    other = replace(DRUGS, scores={"near_entity_f1": {"0": 1.0, "1": 1.0}})
    found = [model(toy_risk=RISK, toy_drugs=other)]
    assert rows(report(suite, found), "# A toy")[-1][3] == "incomplete (1 of 2)"
    assert "toy_drugs has 0 of 2" in missing_seeds(suite, found)[0]


def test_a_task_that_was_still_improving_is_marked_and_its_seeds_are_counted(suite: Suite) -> None:
    found = [model(toy_risk=replace(RISK, undertrained=(1,)), toy_drugs=DRUGS)]
    text = report(suite, found)
    cells = {tuple(row[:2]): row[3] for row in rows(text, "# A toy")}
    assert cells["`toy_risk`", "micro_f1_without_negative"] == "62.50 ± 17.68 (2) *"
    assert cells["`toy_drugs`", "strict_entity_f1"] == "37.50 (1)"
    assert "undertrained" in text
    assert "undertrained" not in report(suite, [model(toy_risk=RISK)])
    columns = score_columns(suite, found)
    counted = dict(zip(zip(columns["source"], columns["task"], strict=True), columns["undertrained"], strict=True))
    assert (counted[None, "toy_risk"], counted[None, "toy_drugs"], counted["paper", "toy_risk"]) == (1, 0, None)
