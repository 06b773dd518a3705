"""The place of a gain in a matrix, its state and its names."""

from __future__ import annotations

import dataclasses

import pytest

from mtl.problems import InputError
from mtl.study.report.presentation import MARKS, ONE_COLUMN, family_of, matrix_of, noise_floor, resolution, short, state
from tests.study import simulated


def test_rows_and_columns_are_in_the_order_of_the_tasks_not_of_the_gains() -> None:
    findings = simulated.study()
    family = findings.families[0]
    backwards = dataclasses.replace(family, gains=family.gains[::-1])
    matrix = matrix_of(findings, backwards)
    assert matrix.rows == matrix.columns == ("gad", "hoc", "biosses")
    assert matrix.cells["gad", "hoc"] is family.gains[0]
    assert len(matrix.cells) == 6


def test_two_tasks_make_a_matrix() -> None:
    findings = simulated.study(("a", "b"), planted={}, missing=[])
    assert matrix_of(findings, findings.families[0]).columns == ("a", "b")


def test_a_matrix_has_one_column_if_every_target_has_its_own_partners() -> None:
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
    significant = dataclasses.replace(replicate.gains[0], cell=replicate.gains[0].cell._replace(verdict="helps"))
    assert state(significant, replicate) == "control"
    assert len({MARKS[found] for found in ("helps", "hurts", "undecided", "unresolvable")}) == 4


def test_the_noise_floor_is_the_interval_of_the_replicate_made_symmetric() -> None:
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


def test_the_smallest_p_of_an_incomplete_gain_is_that_of_the_seeds_it_has() -> None:
    gain = simulated.study().families[0].gains[0]
    assert resolution(dataclasses.replace(gain, cell=gain.cell._replace(n=5))) == "n=5, smallest p 0.062"
    assert resolution(dataclasses.replace(gain, cell=gain.cell._replace(n=3))) == "n=3, smallest p 0.250"


def test_long_names_are_cut() -> None:
    assert short("a" * 28) == "a" * 28
    assert short("a" * 29) == "a" * 27 + "…"


def test_an_unknown_design_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        family_of(simulated.study(), "pairwize")
    (problem,) = caught.value.problems
    assert problem.key == "design"
    assert "'pairwize'" in problem.message
    assert "pairwise" in problem.suggestion
