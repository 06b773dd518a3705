"""Intervals of the measures of calibration, against the measures of resamples that are written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mtl.calibration import measure_intervals as module
from mtl.calibration.abstention import area_under_risk_coverage
from mtl.calibration.measure_intervals import measure_intervals
from mtl.calibration.measures import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from mtl.calibration.outcomes import Outcomes, outcomes_of
from tests.calibration.test_temperature import planted


def written_out(outcomes: Outcomes, chosen: Any) -> dict[str, float]:
    """The measures of the outcomes with these numbers, one of which may occur several times."""
    confidence, happened, probabilities, gold, certainty, is_right = (values[chosen] for values in outcomes)
    return {
        "ece": expected_calibration_error(reliability_bins(confidence, happened)),
        "brier": brier_score(probabilities, gold),
        "nll": negative_log_likelihood(probabilities, gold),
        "aurc": area_under_risk_coverage(certainty, is_right),
    }


@pytest.mark.parametrize("labels", [False, True])
def test_they_are_percentiles_of_the_measures_of_resamples(labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_RESAMPLES", 40)
    decisions = planted(2.0, n=60, labels=labels)
    states = {name: outcomes_of(decisions, at) for name, at in (("before", 1.0), ("after", 2.0))}
    if labels:  # equally certain outcomes
        states = {name: one._replace(certainty=one.certainty.round(1)) for name, one in states.items()}
    owners = np.arange(len(states["before"].gold)) // 4
    num_units = owners.max() + 1
    drawn = np.random.default_rng(0).multinomial(num_units, np.full(num_units, 1 / num_units), size=40)
    resamples = [np.repeat(np.arange(len(owners)), times[owners]) for times in drawn]
    found = measure_intervals(states["before"], states["after"], owners)
    values = {name: [written_out(one, chosen) for chosen in resamples] for name, one in states.items()}
    for measure in ("ece", "brier", "nll", "aurc"):
        before, after = (np.array([one[measure] for one in values[name]]) for name in ("before", "after"))
        for state, expected in (("before", before), ("after", after), ("change", after - before)):
            assert found[state][measure] == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975]))), measure


def test_outcomes_that_share_a_unit_are_one_piece_of_evidence() -> None:
    outcomes = outcomes_of(planted(2.0, n=400), 1.0)
    pairs = Outcomes(*(np.repeat(values, 2, axis=0) for values in outcomes))
    together = measure_intervals(pairs, pairs, np.repeat(np.arange(400), 2))
    assert together["before"]["brier"] == pytest.approx(
        measure_intervals(outcomes, outcomes, np.arange(400))["before"]["brier"]
    )
    low, high = measure_intervals(pairs, pairs, np.arange(800))["before"]["brier"]
    assert high - low < 0.8 * (together["before"]["brier"][1] - together["before"]["brier"][0])


def test_one_unit_has_no_interval_and_no_change_is_none() -> None:
    outcomes = outcomes_of(planted(2.0, n=30), 1.0)
    assert measure_intervals(outcomes, outcomes, np.zeros(30)) == {}
    assert set(measure_intervals(outcomes, outcomes, np.arange(30))["change"].values()) == {(0.0, 0.0)}
