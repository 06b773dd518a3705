"""The report of a suite from scores that are written by hand."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl.suites.model_results import ModelResults, TaskResults
from mtl.suites.suite_file import Suite, load_suite
from mtl.suites.suite_report import (
    COLUMNS,
    missing_seeds,
    note,
    notes,
    report,
    report_metrics,
    score_columns,
    suite_means,
    write_report,
)
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
    assert report_metrics(suite, found) == {"ours, single/toy_risk": 62.5, "ours, single/trivial/toy_risk": 12.5}
    assert suite_means(suite, found) == {"ours, single": {"score": None, "found": 1, "total": 2, "groups": {}}}
    assert "incomplete (1 of 2)" in notes(suite, found)[0]
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


def test_a_score_on_a_test_set_of_another_size_than_the_published_one_is_marked(suite: Suite) -> None:
    found = [model(toy_risk=replace(RISK, other_test=True, undertrained=(1,)), toy_drugs=DRUGS)]
    text = report(suite, found)
    cells = {tuple(row[:2]): row[3] for row in rows(text, "# A toy")}
    assert cells["`toy_risk`", "micro_f1_without_negative"] == "62.50 ± 17.68 (2)† *"
    assert cells["`toy_drugs`", "strict_entity_f1"] == "37.50 (1)"
    assert text.count("†") == 3, "in the cells of both variants and below the table"
    assert "†" not in report(suite, [model(toy_risk=RISK)])
    columns = score_columns(suite, found)
    marked = dict(zip(zip(columns["source"], columns["task"], strict=True), columns["other_test"], strict=True))
    assert (marked[None, "toy_risk"], marked[None, "toy_drugs"], marked["paper", "toy_risk"]) == (True, False, None)


def test_trivial_predictors_deviations_and_quoted_scores_are_in_the_table_of_scores(
    suite: Suite, tmp_path: Path
) -> None:
    found = [model(toy_risk=RISK, toy_drugs=DRUGS)]
    columns = score_columns(suite, found)
    assert tuple(columns) == COLUMNS
    read = {
        key: values
        for *key, variant, values in zip(
            *(columns[name] for name in ("source", "task", "variant")),
            zip(*(columns[name] for name in ("trivial", "trivial_predictor", "secondary", "deviations")), strict=True),
            strict=True,
        )
        for key in [(*key, variant)]
    }
    assert read == {
        (None, "toy_risk", "micro_f1_without_negative"): (12.5, "majority", None, "warmup 0.5 instead of 0.0"),
        (None, "toy_risk", "accuracy_with_negative"): (None, None, None, "warmup 0.5 instead of 0.0"),
        (None, "toy_drugs", "strict_entity_f1"): (12.5, "majority", None, ""),
        ("paper", "toy_risk", "micro_f1_without_negative"): (None, None, False, None),
        ("paper", "toy_drugs", "strict_entity_f1"): (None, None, True, None),
    }
    _, csv_file = write_report(suite, found, tmp_path / "report")
    with csv_file.open(newline="") as file:
        assert [line["deviations"] for line in csv.DictReader(file)][:3] == [*2 * ["warmup 0.5 instead of 0.0"], ""]


def test_models_that_were_tested_on_different_rows_have_different_trivial_predictors(suite: Suite) -> None:
    found = [model(toy_risk=RISK), model("joint", toy_risk=replace(RISK, baseline=("tfidf", 0.25)))]
    cells = {tuple(row[:2]): row[2] for row in rows(report(suite, found), "# A toy")}
    assert cells["`toy_risk`", "micro_f1_without_negative"] == "12.50 (majority), 25.00 (tfidf)"


def test_means_of_groups_are_given_for_the_tasks_that_are_there(tmp_path: Path) -> None:
    groups = {"text": ["toy_risk", "toy_drugs"]}
    suite = load_suite(write_suite(tmp_path, aggregation={"rule": "mean_of_group_means", "groups": groups}))
    found = [model(toy_risk=RISK)]
    (means,) = suite_means(suite, found).values()
    assert means == {"score": None, "found": 1, "total": 2, "groups": {"text": {"mean": 62.5, "found": 1, "total": 2}}}
    metrics = report_metrics(suite, found)
    assert metrics["ours, single/incomplete_mean/text"] == 62.5
    assert not [name for name in metrics if "/mean/" in name]
    assert "text 62.50, incomplete (1 of 2)" in notes(suite, found)[0]
    assert "toy_risk: warmup 0.5" in notes(suite, found)[1]


def test_seen_and_unseen_mentions_are_shown_as_far_as_they_are_known(suite: Suite) -> None:
    counts = {"mentions": 8, "seen": 6, "ambiguous": 2}
    kept = replace(DRUGS, surfaces=counts, surface_scores={"seen_f1": {"0": 0.75}, "unseen_f1": {"0": 0.25, "1": 0.5}})
    found = [model(toy_risk=RISK, toy_drugs=kept), model("joint", toy_drugs=replace(DRUGS, surfaces=counts))]
    assert rows(report(suite, found), "## Seen and unseen") == [
        ["ours, single", "`toy_drugs`", "8", "75.00", "25.00", "75.00", "37.50"],
        ["ours, joint", "`toy_drugs`", "8", "75.00", "25.00", "-", "-"],
    ]
    assert "## Seen and unseen" not in report(suite, [model(toy_risk=RISK)])
    none = replace(DRUGS, surfaces=dict.fromkeys(counts, 0))
    assert rows(report(suite, [model(toy_drugs=none)]), "## Seen and unseen")[0][2:] == ["0", "-", "-", "-", "-"]
    metrics = report_metrics(suite, found)
    assert metrics["ours, single/unseen_f1/toy_drugs"] == 37.5
    columns = score_columns(suite, found)
    place = list(zip(columns["model"], columns["task"], strict=True)).index(("ours, single", "toy_drugs"))
    assert [columns[name][place] for name in ("seen_share", "ambiguous_share", "unseen_f1")] == [75.0, 25.0, 37.5]
