"""What intervals resample, with rows by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from heads import Row, TextRow
from heads.classification import Classification
from mtl.evaluation.intervals import score_intervals
from mtl.evaluation.resampling_units import KEY, UnitCounts, unit_counts, unit_problems, units_of, units_of_split
from mtl.evaluation.scoring import score_rows
from mtl.evaluation.subgroups import scores_by_group
from mtl.problems import InputError

HEAD = Classification(["yes", "no"], 8)


def rows_of(*patients: str) -> list[Row]:
    """A document with two rows for each patient named; "" is a document without a patient."""
    return [
        TextRow(f"{n}.{part}", f"d{n}", "Fever.", label="yes", meta={"patient": name} if name else {})
        for n, name in enumerate(patients)
        for part in range(2)
    ]


def split_of(*patients: str) -> Any:
    return SimpleNamespace(rows=rows_of(*patients))


def test_documents_are_the_units_by_default_and_where_no_row_has_the_key() -> None:
    assert units_of(rows_of("A", "A"), "document", "notes, test") is None
    assert units_of(rows_of("", ""), "patient", "notes, test") is None
    assert units_of(rows_of("A", "A", "B"), "patient", "notes, test") == {"d0": "A", "d1": "A", "d2": "B"}


def test_rows_without_a_unit_and_divided_documents_are_named_without_values() -> None:
    rows = [*rows_of("Anna Kovacs", "", "B"), TextRow("x", "d0", "Fever.", meta={"patient": "B"})]
    with pytest.raises(InputError) as caught:
        units_of(rows, "patient", "notes, test")
    assert [problem.key for problem in caught.value.problems] == [KEY, KEY]
    without, divided = (str(problem) for problem in caught.value.problems)
    assert "2 rows" in without
    assert "'1.0'" in without
    assert "'d0'" in divided
    assert "Kovacs" not in without + divided


def test_every_task_and_split_is_checked_and_a_key_that_no_row_has_is_a_problem() -> None:
    tasks = {
        "notes": {"train": split_of("", "A"), "dev": split_of("A", ""), "test": split_of("A", "B")},
        "news": {"train": split_of(""), "dev": split_of("")},
    }
    (problem,) = unit_problems(tasks, "patient")
    assert "notes, dev" in problem.message
    assert unit_problems(tasks, "document") == []
    (unknown,) = unit_problems(tasks, "ward")
    assert (unknown.key, "'ward'" in unknown.message) == (KEY, True)
    assert units_of_split(tasks, "test", "patient") == {"notes": {"d0": "A", "d1": "B"}}
    assert units_of_split({"news": tasks["news"]}, "dev", "patient") == {"news": None}


def test_units_are_counted_with_those_that_train_has_too() -> None:
    splits = {"train": split_of("A", "B", ""), "dev": split_of("B", "B", "C"), "test": split_of("", "")}
    assert unit_counts(splits, "patient") == {"dev": UnitCounts(2, 1)}
    assert unit_counts(splits, "document") == {}


# --- what they do to intervals ----------------------------------------------------------------------------------------


def predicted(rows: list[Row], wrong: set[str]) -> dict[str, Any]:
    return {row.id: {"label": "no" if row.document in wrong else "yes", "scores": {}} for row in rows}


def test_copies_of_a_document_that_share_a_patient_are_no_more_evidence_than_one() -> None:
    """Four notes of each patient, all right or all wrong: intervals over patients are those of one note each."""
    patients = [f"P{n:02}" for n in range(20)]
    once, four = rows_of(*patients), rows_of(*[name for name in patients for _ in range(4)])
    wrong_once = {f"d{n}" for n in range(5)}
    wrong_four = {f"d{n}" for n in range(20)}
    alone = score_rows(HEAD, ((row, predicted(once, wrong_once)[row.id]) for row in once))
    all_four = score_rows(HEAD, ((row, predicted(four, wrong_four)[row.id]) for row in four))
    units = [units_of(rows, "patient", "notes, test") for rows in (once, four)]
    by_patient = score_intervals(HEAD, all_four, units=units[1])
    assert by_patient == score_intervals(HEAD, alone, units=units[0])
    by_document = score_intervals(HEAD, all_four)["accuracy"]
    assert by_document.high - by_document.low < 0.6 * (by_patient["accuracy"].high - by_patient["accuracy"].low)


def test_proportions_take_the_design_effect_of_patients() -> None:
    head = Classification(["yes", "no"], 8, positive="yes", metrics=["sensitivity"])
    rows = rows_of(*[f"P{n}" for n in range(12) for _ in range(5)])
    predictions = predicted(rows, {f"d{n}" for n in range(15)})
    result = score_rows(head, ((row, predictions[row.id]) for row in rows))
    by_patient = score_intervals(head, result, units=units_of(rows, "patient", "notes, test"))["sensitivity"]
    by_document = score_intervals(head, result)["sensitivity"]
    assert by_patient.method == by_document.method == "wilson"
    assert by_patient.low < by_document.low
    assert by_patient.high > by_document.high


def test_a_single_patient_has_no_interval_and_groups_use_the_same_units() -> None:
    rows = rows_of("A", "A", "B", "B")
    units = units_of(rows, "patient", "notes, test")
    predictions = predicted(rows, {"d0", "d2"})
    whole = scores_by_group(HEAD, rows, predictions, "patient", min_rows=1, units=units)
    assert {name: group.intervals for name, group in whole.groups.items()} == {"A": {}, "B": {}}
    assert scores_by_group(HEAD, rows, predictions, "patient", min_rows=1).groups["A"].intervals
