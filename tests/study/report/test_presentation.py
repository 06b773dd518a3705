"""Where a gain stands in a matrix, and how it is called."""

from __future__ import annotations

import dataclasses

import pytest

from mtl.problems import InputError
from mtl.study.report.presentation import MARKS, ONE_COLUMN, family_of, matrix_of, noise_floor, resolution, short, state
from tests.study import simulated


def test_rows_and_columns_follow_the_order_of_the_tasks_whatever_that_of_the_gains() -> None:
    findings = simulated.study()
    family = findings.families[0]
    backwards = dataclasses.replace(family, gains=family.gains[::-1])
    matrix = matrix_of(findings, backwards)
    assert matrix.rows == matrix.columns == ("gad", "hoc", "biosses")
    assert matrix.cells["gad", "hoc"] is family.gains[0]
    assert len(matrix.cells) == 6


def test_two_tasks_still_make_a_matrix() -> None:
    findings = simulated.study(("a", "b"), planted={}, missing=[])
    assert matrix_of(findings, findings.families[0]).columns == ("a", "b")


def test_companies_of_several_tasks_share_a_column_where_each_target_has_its_own() -> None:
    findings = simulated.study()
    pairs = [("gad", "hoc + biosses"), ("hoc", "gad + biosses"), ("biosses", "gad + hoc")]
    matrix = matrix_of(findings, simulated.family("groups", pairs, {}, 8))
    assert matrix.columns == (ONE_COLUMN,)
    assert [matrix.cells[target, ONE_COLUMN].partner for target, _ in pairs] == [partner for _, partner in pairs]
    two_each = [*pairs, ("gad", "hoc")]
    assert matrix_of(findings, simulated.family("groups", two_each, {}, 8)).columns[:2] == ("hoc", "hoc + biosses")


def test_a_gain_without_a_seed_is_missing_and_a_control_has_no_verdict() -> None:
    findings = simulated.study()
    pairwise, replicate, _ = findings.families
    assert [state(gain, pairwise) for gain in pairwise.gains] == [
        "helps",
        "undecided",
        "undecided",
        "hurts",
        "missing",
        "undecided",
    ]
    assert {state(gain, replicate) for gain in replicate.gains} == {"control"}
    claimed = dataclasses.replace(replicate.gains[0], cell=replicate.gains[0].cell._replace(verdict="helps"))
    assert state(claimed, replicate) == "control"
    assert len({MARKS[found] for found in ("helps", "hurts", "undecided", "unresolvable")}) == 4


def test_the_noise_floor_reaches_as_far_to_either_side_as_the_replicates_interval_of_the_same_target() -> None:
    findings = simulated.study()
    low, high = findings.families[1].gains[1].cell.interval
    reach = max(abs(low), abs(high))
    assert noise_floor(findings, "hoc") == (-reach, reach)
    assert noise_floor(simulated.study(with_controls=False), "hoc") is None
    unknown = simulated.study()
    gains = tuple(
        dataclasses.replace(gain, cell=gain.cell._replace(interval=simulated.Interval(simulated.NAN, simulated.NAN)))
        for gain in unknown.families[1].gains
    )
    family = dataclasses.replace(unknown.families[1], gains=gains)
    assert noise_floor(dataclasses.replace(unknown, families=(family,)), "hoc") is None


def test_the_floor_of_an_incomplete_gain_is_that_of_the_seeds_it_has() -> None:
    gain = simulated.study().families[0].gains[0]
    assert resolution(dataclasses.replace(gain, cell=gain.cell._replace(n=5))) == "n=5, floor 0.062"
    assert resolution(dataclasses.replace(gain, cell=gain.cell._replace(n=3))) == "n=3, floor 0.250"


def test_long_names_are_cut_and_unknown_designs_refused() -> None:
    assert short("a" * 28) == "a" * 28
    assert short("a" * 29) == "a" * 27 + "…"
    with pytest.raises(InputError, match="no design or control 'nothing'"):
        family_of(simulated.study(), "nothing")
