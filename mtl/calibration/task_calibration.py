"""The calibration of one task: what is fitted on dev, and what the probabilities on test are worth before and after.

Shapes: n decisions, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from heads import Decisions
from mtl.calibration.abstention import (
    COVERAGES,
    area_under_risk_coverage,
    conformal_quantile,
    prediction_sets,
    risk_coverage,
)
from mtl.calibration.measure_intervals import Span, measure_intervals
from mtl.calibration.measures import (
    Bin,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from mtl.calibration.outcomes import num_outcomes, outcomes_of
from mtl.calibration.temperature import at_temperature, fit_temperature, has_no_error, known
from mtl.evaluation.intervals import wilson

FEW_ROWS = 50
"""With fewer rows of dev, a temperature is hardly better than a guess."""

Unit = Literal["class", "label", "span"]
"""What is counted: decisions for one class of several, yes-or-no decisions for labels, or predicted spans."""


class Reliability(NamedTuple):
    """How good the probabilities on a split are, in one state: before or after calibration.

    Args:
        ece: Expected calibration error, 15 bins.
        brier: Brier score.
        nll: Mean negative log-likelihood in nats.
        aurc: Area under the risk-coverage curve.
        bins: The reliability diagram.
        risks: The risk at coverages of 10%, 20% and so on to 100%.
    """

    ece: float
    brier: float
    nll: float
    aurc: float
    bins: list[Bin]
    risks: list[float]

    def numbers(self) -> dict[str, float]:
        """The four numbers by name."""
        return {"ece": self.ece, "brier": self.brier, "nll": self.nll, "aurc": self.aurc}


class ConformalCheck(NamedTuple):
    """How conformal sets do on test.

    Args:
        quantile: Threshold from dev.
        coverage: Share of the sets that contain the gold class; None without test.
        size: Mean number of classes in a set; None without test.
        interval: 95% interval of the share: Wilson's, with the number of cases corrected for units with several.
    """

    quantile: float
    coverage: float | None = None
    size: float | None = None
    interval: Span | None = None


@dataclass(frozen=True)
class TaskCalibration:
    """The calibration of one task.

    Args:
        temperature: By what logits are divided.
        unit: What is counted on test.
        num_rows: Number of rows of dev with gold.
        num_decisions: Number of decisions with gold on dev.
        thresholds: Thresholds of labels on the scale of calibrated probabilities.
        num_test: Number of decisions or spans on test; 0 without test.
        before: Reliability on test at temperature 1; None without test.
        after: The same at the temperature.
        intervals: 95% intervals of the four numbers in the states `before` and `after`, and of their `change`; empty
            without test or with one unit.
        conformal: Quantiles by coverage, such as ``"0.9"``; only if each decision is for one class of a text.
        note: What the user should know about the fit; None for nothing.
    """

    temperature: float
    unit: Unit
    num_rows: int
    num_decisions: int
    thresholds: Mapping[str, float] = field(default_factory=dict)
    num_test: int = 0
    before: Reliability | None = None
    after: Reliability | None = None
    intervals: Mapping[str, Mapping[str, Span]] = field(default_factory=dict)
    conformal: Mapping[str, ConformalCheck] = field(default_factory=dict)
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        found = asdict(self)
        for state in ("before", "after"):
            one = getattr(self, state)
            if one is not None:
                found[state] = {**one._asdict(), "bins": [own._asdict() for own in one.bins]}
        found["conformal"] = {coverage: check._asdict() for coverage, check in self.conformal.items()}
        return found

    def metrics(self) -> dict[str, float]:
        """The numbers for the metrics of a run."""
        found = {"temperature": self.temperature}
        for state, one in (("before", self.before), ("after", self.after)):
            found |= {} if one is None else {f"{name}_{state}": value for name, value in one.numbers().items()}
        for coverage, check in self.conformal.items():
            if check.coverage is not None and check.size is not None:
                found |= {f"coverage_{coverage}": check.coverage, f"set_size_{coverage}": check.size}
        return found


def pooled(decisions: Iterable[Decisions]) -> Decisions:
    """The decisions of all rows as one; there must be at least one row.

    >>> one = Decisions(torch.ones(2, 1), torch.zeros(2).long(), torch.zeros(2).long(), torch.tensor([[0, 2, 1]]))
    >>> pooled([one, one]).spans.tolist()
    [[0, 2, 1], [2, 4, 1]]
    """
    found = list(decisions)
    spans, start = [], 0
    for one in found:
        if one.spans is not None:
            spans.append(one.spans + torch.tensor([start, start, 0]))
        start += len(one.gold)
    return Decisions(
        torch.cat([one.probabilities for one in found]),
        torch.cat([one.gold for one in found]),
        torch.cat([one.chosen for one in found]),
        torch.cat(spans) if spans else None,
    )


def calibrated(
    dev: Decisions,
    num_rows: int,
    test: Decisions | None,
    units: ArrayLike | None = None,
    *,
    has_sets: bool = True,
) -> TaskCalibration:
    """Fits a task on dev and checks it on test.

    Args:
        dev: Decisions on dev, at least one of them with gold.
        num_rows: Number of rows of dev with gold.
        test: Decisions on test; None without test.
        units: Number of the unit (document or patient) of each outcome on test, [n], in the order of the decisions;
            None resamples the outcomes one by one.
        has_sets: Whether to fit conformal sets, if each decision is for one class.
    """
    temperature = fit_temperature(dev)
    probabilities, gold = known(dev)
    is_class = dev.spans is None and probabilities.dim() == 2
    quantiles = {}
    if is_class and has_sets:
        of_gold = at_temperature(probabilities, temperature).gather(1, gold[:, None])[:, 0].numpy()
        quantiles = {f"{coverage:g}": conformal_quantile(of_gold, coverage) for coverage in COVERAGES}
    intervals: dict[str, dict[str, Span]] = {}
    if test is not None:
        states = outcomes_of(test, 1.0), outcomes_of(test, temperature)
        intervals = measure_intervals(*states, np.arange(num_outcomes(test)) if units is None else units)
    conformal = {name: _check(test, temperature, quantile, units) for name, quantile in quantiles.items()}
    return TaskCalibration(
        temperature=temperature,
        unit="span" if dev.spans is not None else "class" if is_class else "label",
        num_rows=num_rows,
        num_decisions=gold.numel(),
        num_test=0 if test is None else num_outcomes(test),
        before=None if test is None else reliability(test, 1.0),
        after=None if test is None else reliability(test, temperature),
        intervals=intervals,
        conformal=conformal,
        note="; ".join(_cautions(num_rows, conformal, dev)) or None,
    )


def _cautions(num_rows: int, conformal: Mapping[str, ConformalCheck], dev: Decisions) -> Iterator[str]:
    if num_rows < FEW_ROWS:
        yield f"fitted on {num_rows} rows of dev, fewer than {FEW_ROWS}: do not rely on it"
    if has_no_error(*known(dev)):
        yield "dev has no error, so it cannot tell how sure the model should be: the temperature stays 1"
    missed = [name for name, one in conformal.items() if one.interval is not None and one.interval[1] < float(name)]
    if missed:
        yield f"sets with the coverage {', '.join(missed)} cover fewer of test: dev and test may differ"


def reliability(decisions: Decisions, temperature: float) -> Reliability | None:
    """How good probabilities are at a temperature; None if there is nothing to count."""
    outcomes = outcomes_of(decisions, temperature)
    if not len(outcomes.confidence):
        return None
    bins = reliability_bins(outcomes.confidence, outcomes.happened)
    curve = risk_coverage(outcomes.certainty, outcomes.is_right)
    places = np.ceil(np.arange(1, 11) / 10 * len(curve)).astype(int) - 1
    return Reliability(
        ece=expected_calibration_error(bins),
        brier=brier_score(outcomes.probabilities, outcomes.gold),
        nll=negative_log_likelihood(outcomes.probabilities, outcomes.gold),
        aurc=area_under_risk_coverage(outcomes.certainty, outcomes.is_right),
        bins=bins,
        risks=curve[places].tolist(),
    )


def _check(test: Decisions | None, temperature: float, quantile: float, units: ArrayLike | None) -> ConformalCheck:
    if test is None:
        return ConformalCheck(quantile)
    probabilities, gold = known(test)
    if not len(gold):
        return ConformalCheck(quantile)
    sets = prediction_sets(at_temperature(probabilities, temperature).numpy(), quantile)
    covered = sets[np.arange(len(gold)), gold.numpy()]
    _, owners = np.unique(np.arange(len(gold)) if units is None else np.asarray(units), return_inverse=True)
    parts, wholes = (np.bincount(owners, weights=own).astype(np.float64) for own in (covered, np.ones(len(gold))))
    share = wilson(parts, wholes)
    return ConformalCheck(quantile, float(covered.mean()), float(sets.sum(axis=1).mean()), (share.low, share.high))
