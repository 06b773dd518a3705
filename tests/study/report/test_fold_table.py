"""The table of folds: means and deviations over seeds, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
from rich.console import Console

from mtl.study.report.fold_table import fold_lines, fold_table
from mtl.study.statistics.findings import Findings, FoldMeans
from tests.study import simulated

NAN = math.nan
FOLDS = (
    FoldMeans("gad", pooled=(0.5, 0.6, 0.7), means=(0.2, 0.4, 0.9)),
    FoldMeans("hoc", pooled=(0.25, NAN, 0.75), means=(0.5, NAN, 0.5)),
    FoldMeans("risk", pooled=(0.5, NAN, NAN), means=(0.5, NAN, NAN)),
)


def findings(*folds: FoldMeans) -> Findings:
    return dataclasses.replace(simulated.study(("gad", "hoc"), planted={}, missing=[]), folds=folds)


def test_a_line_has_mean_and_sd_over_seeds_of_both_ways_to_score_the_folds() -> None:
    first, second, third = fold_lines(findings(*FOLDS))
    # Squared deviations: 0.01 + 0 + 0.01 over 2; 0.09 + 0.01 + 0.16 over 2; a seed that lacks a fold has no score.
    assert first == (
        "gad",
        3,
        pytest.approx(0.6),
        pytest.approx(0.1),
        pytest.approx(0.5),
        pytest.approx(math.sqrt(0.13)),
    )
    assert second == ("hoc", 2, 0.5, pytest.approx(math.sqrt(0.125)), 0.5, 0.0)
    assert (third.n, third.pooled, third.mean) == (1, 0.5, 0.5)
    assert math.isnan(third.pooled_sd)
    assert math.isnan(third.mean_sd)


def test_a_study_without_folds_has_no_lines() -> None:
    assert fold_lines(findings()) == []


def test_the_table_has_a_row_for_each_target_with_both_scores() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(fold_table(findings(*FOLDS)))
    rows = [line for line in shown.get().splitlines() if any(one.target in line for one in FOLDS)]
    numbers = [[part for part in row.replace("(", " ").replace(")", " ").split() if part[:1] in "0–"] for row in rows]
    assert numbers == [
        ["0.6000", "0.1000", "0.5000", "0.3606"],
        ["0.5000", "0.3536", "0.5000", "0.0000"],
        ["0.5000", "–", "0.5000", "–"],
    ]
