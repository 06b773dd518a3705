"""How much the measures of calibration would vary on other test documents, by a bootstrap over units.

Both states are measured on the same resamples, so the interval of a change is that of paired values.

Shapes: n outcomes, U units (documents, or what they share), C classes, M sums of a unit, B resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtl.calibration.measures import NUM_BINS, bin_places, log_losses, squared_errors
from mtl.calibration.outcomes import Outcomes

Array = NDArray[np.float64]

Span = tuple[float, float]
"""The lower and the upper end of an interval."""

NUM_RESAMPLES = 1_000


def measure_intervals(
    before: Outcomes, after: Outcomes, units: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, Span]]:
    """Percentile intervals of `ece`, `brier`, `nll` and `aurc`: `before`, `after`, and of the `change` between them.

    The calibration error of a resample is on average larger than that of the sample, because noise in a bin adds to
    it (Roelofs et al. 2022, "Mitigating bias in calibration error estimation"). Its interval therefore lies high; that
    of the change hardly does.

    Args:
        before: Outcomes at temperature 1.
        after: The same outcomes at another temperature.
        units: Number of each outcome's unit, [n].
        level: Nominal coverage.
        seed: Seed of the resamples.

    Returns:
        Spans by state and measure; empty with fewer than two units.
    """
    _, owners = np.unique(np.asarray(units), return_inverse=True)
    if not owners.any():
        return {}
    num_units = int(owners.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(num_units, np.full(num_units, 1 / num_units), size=NUM_RESAMPLES)
    states = {name: _measured(one, owners, drawn) for name, one in (("before", before), ("after", after))}
    states["change"] = {name: states["after"][name] - states["before"][name] for name in states["after"]}
    ends = [0.5 - level / 2, 0.5 + level / 2]
    return {
        state: {name: (float(low), float(high)) for name, (low, high) in _quantiles(values, ends)}
        for state, values in states.items()
    }


def _quantiles(values: dict[str, Array], ends: list[float]) -> Iterator[tuple[str, Array]]:
    for name, of_resamples in values.items():
        known = of_resamples[np.isfinite(of_resamples)]  # a resample may have only units without outcomes
        yield name, np.quantile(known, ends) if len(known) else np.full(2, np.nan)


def _measured(outcomes: Outcomes, owners: NDArray[np.intp], drawn: NDArray[np.int64]) -> dict[str, Array]:
    """The four measures in each resample, [B]."""
    places = bin_places(outcomes.confidence, NUM_BINS)
    columns = [
        np.ones(len(owners)),
        squared_errors(outcomes.probabilities, outcomes.gold),
        log_losses(outcomes.probabilities, outcomes.gold),
        *((outcomes.confidence - outcomes.happened) * (places == place) for place in range(NUM_BINS)),
    ]
    sums = np.stack([np.bincount(owners, weights=one, minlength=drawn.shape[1]) for one in columns], axis=1)  # [U, M]
    number, squares, logs, *gaps = (drawn @ sums).T
    return {
        "ece": np.abs(gaps).sum(axis=0) / number,
        "brier": squares / number,
        "nll": logs / number,
        "aurc": _areas(outcomes.certainty, outcomes.is_right, owners, drawn),
    }


def _areas(certainty: Array, is_right: Array, owners: NDArray[np.intp], drawn: NDArray[np.int64]) -> Array:
    """The area under the risk-coverage curve in each resample, [B]; ties as in `risk_coverage`.

    A group of m equally certain outcomes with mean error e, after K others with E errors, adds the sum over k from 1
    to m of (E + k e) / (K + k), which is m e + (E - K e) (H(K + m) - H(K)) with the harmonic numbers H.
    """
    _, group, sizes = np.unique(-certainty, return_inverse=True, return_counts=True)
    found = np.empty(len(drawn))
    for number, times in enumerate(drawn):
        weights = times[owners].astype(np.float64)
        m = np.bincount(group, weights=weights, minlength=len(sizes))
        errors = np.bincount(group, weights=weights * (1 - is_right), minlength=len(sizes))
        ends, all_errors = np.cumsum(m).astype(np.intp), np.cumsum(errors)
        starts = np.concatenate([[0], ends[:-1]])
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ends[-1] + 1))])
        mean = errors / np.maximum(m, 1)
        area = errors + (all_errors - errors - starts * mean) * (harmonic[ends] - harmonic[starts])
        found[number] = area.sum() / ends[-1] if ends[-1] else np.nan
    return found
