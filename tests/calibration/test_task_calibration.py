"""The calibration of a task, with sums by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from heads import IGNORE, Decisions
from mtl.calibration.reliability_figure import reliability_figure
from mtl.calibration.task_calibration import FEW_ROWS, calibrated, pooled, reliability
from tests.calibration.test_temperature import planted


def test_overconfident_probabilities_get_better() -> None:
    found = calibrated(planted(3.0), 4000, planted(3.0, seed=1))
    assert found.unit == "class"
    assert found.before is not None
    assert found.after is not None
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.before.ece > 0.15
    assert found.after.ece < 0.03
    assert found.after.nll < found.before.nll
    assert found.after.brier < found.before.brier
    assert found.num_test == 4000
    assert found.note is None
    for coverage, check in found.conformal.items():
        assert check.coverage == pytest.approx(float(coverage), abs=0.03)
        assert check.coverage is not None
        assert check.interval is not None
        low, high = check.interval
        assert low < check.coverage < high
        if 0.85 < check.coverage < 0.95:  # Wilson's interval is nearly symmetric there
            assert high - low == pytest.approx(
                2 * 1.96 * np.sqrt(check.coverage * (1 - check.coverage) / 4000), rel=0.01
            )
    assert calibrated(planted(3.0), 4000, planted(3.0, seed=1), has_sets=False).conformal == {}
    assert len(found.after.risks) == 10
    low, high = found.intervals["change"]["ece"]
    assert low < found.after.ece - found.before.ece < high < 0
    by_pairs = calibrated(planted(3.0), 4000, planted(3.0, seed=1), np.arange(4000) // 2)
    assert by_pairs.intervals["change"]["nll"] != found.intervals["change"]["nll"]
    assert found.after.risks[-1] == pytest.approx(
        float((planted(3.0, seed=1).chosen != planted(3.0, seed=1).gold).float().mean())
    )


def test_sets_that_cover_too_little_of_test_are_noted() -> None:
    found = calibrated(planted(1.0), 4000, planted(4.0, seed=1))
    assert found.note is not None
    assert "0.9" in found.note
    cases = calibrated(planted(1.0), 4000, planted(1.0, seed=1)).conformal["0.9"].interval
    pairs = calibrated(planted(1.0), 4000, planted(1.0, seed=1), np.arange(4000) // 40).conformal["0.9"].interval
    assert cases is not None
    assert pairs is not None
    assert pairs[1] - pairs[0] >= cases[1] - cases[0], "cases that share a unit can only widen it"


def test_labels_count_one_by_one() -> None:
    found = calibrated(planted(2.0, labels=True), 4000, planted(2.0, labels=True, seed=1))
    assert (found.unit, found.num_test) == ("label", 12000)
    assert found.conformal == {}
    assert found.before is not None
    assert found.after is not None
    assert found.after.ece < found.before.ece


def test_certainty_in_a_label_that_is_not_chosen_is_that_it_is_absent() -> None:
    decisions = Decisions(torch.tensor([[0.9, 0.2]]), torch.tensor([[1, 1]]), torch.tensor([[1, 0]]))
    found = reliability(decisions, 1.0)
    assert found is not None
    assert found.aurc == pytest.approx((0 + 1 / 2) / 2), "0.9 is right, then 0.8 is wrong"
    assert found.ece == pytest.approx((0.1 + 0.8) / 2)


def test_spans_have_the_geometric_mean_of_their_words() -> None:
    probabilities = torch.tensor([[0.1, 0.9], [0.6, 0.4], [0.2, 0.8]])
    spans = torch.tensor([[0, 2, 1], [2, 3, 0]])
    decisions = Decisions(probabilities, torch.tensor([1, 1, IGNORE]), torch.tensor([1, 1, 1]), spans)
    found = reliability(decisions, 1.0)
    assert found is not None
    right, wrong = np.sqrt(0.9 * 0.4), 0.8
    assert found.brier == pytest.approx(((1 - right) ** 2 + wrong**2) / 2, abs=1e-6)
    assert found.nll == pytest.approx(-(np.log(right) + np.log(1 - wrong)) / 2, abs=1e-6)
    assert found.aurc == pytest.approx((1 + 1 / 2) / 2), "the wrong one is the more certain one"
    whole = calibrated(decisions, 1, decisions)
    assert (whole.unit, whole.num_test, whole.num_decisions) == ("span", 2, 2)


def test_without_predicted_spans_there_is_nothing_to_measure() -> None:
    none = Decisions(torch.tensor([[0.9, 0.1]]), torch.tensor([0]), torch.tensor([0]), torch.zeros(0, 3).long())
    assert reliability(none, 1.0) is None


def test_few_rows_are_noted_and_no_test_is_no_number() -> None:
    found = calibrated(planted(1.0, n=FEW_ROWS - 1), FEW_ROWS - 1, None)
    assert str(FEW_ROWS - 1) in (found.note or "")
    assert found.before is found.after is None
    assert found.intervals == {}
    assert set(found.metrics()) == {"temperature"}
    assert all(check.coverage is None for check in found.conformal.values())
    assert calibrated(planted(1.0, n=FEW_ROWS), FEW_ROWS, None).note is None


def test_pooled_decisions_keep_the_places_of_their_spans() -> None:
    one = Decisions(torch.rand(3, 2), torch.zeros(3).long(), torch.zeros(3).long(), torch.tensor([[1, 3, 1]]))
    none = Decisions(torch.zeros(0, 2), torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0, 3).long())
    found = pooled([none, one, one])
    assert found.spans is not None
    assert found.spans.tolist() == [[1, 3, 1], [4, 6, 1]]


def test_a_report_is_json_and_has_a_figure() -> None:
    found = calibrated(planted(2.0, n=80), 80, planted(2.0, n=60, seed=1))
    read = json.loads(json.dumps(found.to_dict()))
    assert read["temperature"] == found.temperature
    assert read["after"]["bins"][0].keys() == {"confidence", "frequency", "size"}
    assert found.before is not None
    assert found.after is not None
    figure = reliability_figure(found.before, found.after, "kind, test")
    (numbers,) = [axes for axes in figure.axes if axes.get_ylabel() == "number"]
    assert sum(bar.get_height() for bar in numbers.patches) == 60
    (risk,) = [axes for axes in figure.axes if axes.get_xlabel() == "share of predictions kept"]
    assert [list(line.get_ydata()) for line in risk.lines] == [found.before.risks, found.after.risks]
