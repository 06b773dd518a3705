"""The score of a suite: published columns are reproduced, and nothing is averaged over fewer tasks."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

import pytest

from mtl.suites.aggregate import suite_score
from mtl.suites.suite_file import load_suite
from mtl.suites.suite_spec import SuiteSpec
from tests.suites.toy import fields

SPEC = SuiteSpec(**fields(aggregation={"rule": "mean_of_tasks"}))


def published_columns(name: str) -> dict[tuple[str, str], dict[str, Decimal]]:
    """The scores of each model of each source, with its printed score of the suite."""
    columns: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    for one in load_suite(name).published:
        columns[one.source, one.model][one.task] = one.score
    return columns


def test_every_complete_column_of_blurb_gives_its_printed_score_to_two_decimals() -> None:
    spec = load_suite("blurb").spec
    complete = {key: column for key, column in published_columns("blurb").items() if set(spec.tasks) <= set(column)}
    assert len(complete) == 17
    for key, column in complete.items():
        score = suite_score(spec, column).score.mean
        assert isinstance(score, Decimal)
        assert score.quantize(Decimal("0.01"), ROUND_HALF_UP) == column["blurb"], key
        plain = sum(column[task] for task in spec.tasks) / len(spec.tasks)
        assert plain.quantize(Decimal("0.01"), ROUND_HALF_UP) != column["blurb"]


def test_the_published_score_of_pubmedbert_is_81_16() -> None:
    columns = published_columns("blurb")
    assert columns["gu2021_table6", "PubMedBERT"]["blurb"] == Decimal("81.16")
    assert columns["gu2021_table6", "PubMedBERT"]["blurb_chemprot"] == Decimal("77.24")


def test_every_printed_mean_of_blue_is_that_of_its_ten_tasks_to_one_decimal() -> None:
    spec = load_suite("blue").spec
    printed = {key: column for key, column in published_columns("blue").items() if "blue" in column}
    assert len(printed) == 4
    for key, column in printed.items():
        score = suite_score(spec, column).score.mean
        assert score is not None
        assert abs(Decimal(score) - column["blue"]) <= Decimal("0.05"), key


def test_a_mean_of_group_means_is_not_the_mean_of_tasks() -> None:
    groups = {"one": ["toy_risk"], "two": ["toy_drugs"]}
    spec = SuiteSpec(**fields(aggregation={"rule": "mean_of_group_means", "groups": groups}))
    assert suite_score(spec, {"toy_risk": 50.0, "toy_drugs": 70.0}).score.mean == 60.0
    blurb = load_suite("blurb").spec
    scores = dict.fromkeys(blurb.tasks, 0.0) | {"blurb_biosses": 100.0}
    assert suite_score(blurb, scores).score.mean == pytest.approx(100 / 6)


def test_a_suite_with_a_missing_task_has_no_score_but_the_means_of_what_is_there() -> None:
    blurb = load_suite("blurb").spec
    entities = blurb.aggregation.groups["entities"]
    scores = dict.fromkeys(blurb.tasks, 80.0)
    for task in (entities[0], "blurb_ebm_pico", "blurb_pubmedqa", "blurb_bioasq"):
        del scores[task]
    scores[entities[1]] = 90.0
    found = suite_score(blurb, scores)
    assert found.score.mean is None
    assert found.score.label == "incomplete (9 of 13)"
    assert found.groups["entities"] == (82.5, 4, 5)
    assert found.groups["relations"].is_complete
    assert found.groups["pico"] == (None, 0, 1)


def test_no_score_at_all_is_incomplete_too() -> None:
    assert suite_score(SPEC, {}).score == (None, 0, 2)
    assert suite_score(SPEC, {"another_task": 1.0}).score.label == "incomplete (0 of 2)"
