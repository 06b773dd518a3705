"""Confidence intervals of the scores of one evaluation, whose documents, or patients, are a sample.

They say how much the scores would vary on other test documents. They say nothing about other seeds: see `mtl.study`.

Shapes: U units (documents, or what they share), N rows of counts, K counts, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads import Head
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.resampling_units import Units, unit_numbers

DECIDES_RESULTS = False

Array = NDArray[np.float64]

NUM_RESAMPLES = 1_000

FEW_UNITS = 3
"""Number of units below which a bootstrap says nothing."""

_CHUNK_SIZE = 1_000_000
"""Size of a table of resamples by rows: 8 MB, and a head makes up to a dozen such tables."""


class ScoreInterval(NamedTuple):
    """A confidence interval of a score.

    Args:
        low: Lower end.
        high: Upper end.
        method: "bootstrap" for percentiles over resampled units; "wilson" for Wilson's interval of a proportion.
    """

    low: float
    high: float
    method: Literal["bootstrap", "wilson"]


def score_intervals(
    head: Head,
    result: TaskResult,
    *,
    units: Units | None = None,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, ScoreInterval]:
    """An interval for each metric of a task; empty with fewer than two units.

    Units are resampled as a whole, because their rows are not independent. Proportions, such as a sensitivity, get
    Wilson's interval instead, because a bootstrap of a proportion of 1 has no width.

    Args:
        head: The head of the task.
        result: Its result, with the counts of each document.
        units: The unit of each document, such as its patient; None resamples documents.
        level: Nominal coverage.
        num_resamples: Number of resamples, B.
        seed: Seed of the resamples.
    """
    of_documents = unit_numbers(result.documents, units)
    if not of_documents.any():
        return {}
    arrays = result.stacked_counts()
    sample = _Sample(torch.from_numpy(arrays["counts"]), of_documents[arrays["owners"]], int(of_documents.max()) + 1)
    proportions = {
        name: wilson(sample.by_unit(part), sample.by_unit(whole), level)
        for name, (part, whole) in head.proportions(sample.counts).items()
    }
    if sample.num_units < FEW_UNITS:
        return {name: proportions[name] for name in head.metrics if name in proportions}
    others = [name for name in head.metrics if name not in proportions]
    resampled = _resampled(head, sample, others, num_resamples, seed)
    return {name: proportions.get(name) or _percentiles(resampled[name], level) for name in head.metrics}


def wilson(parts: Array, wholes: Array, level: float = 0.95) -> ScoreInterval:
    """Wilson's interval of a proportion whose cases come in units.

    The numbers of cases are first divided by the design effect: how much larger the variance of the proportion over
    units is than that of independent cases, at least 1 (Rao and Scott 1992, "A simple method for the analysis of
    clustered binary data"). Since this variance is estimated from U units, the quantile is that of Student's t with
    U - 1 degrees of freedom. If all cases count, or none, the units show no variance to estimate, and each counts as
    one case, as if its cases agreed fully. With one case per unit this is Wilson's interval (Wilson 1927). Without
    cases it is the whole range from 0 to 1.

    Args:
        parts: Number of cases that count in each unit, [U].
        wholes: Number of all cases in each unit, [U].
        level: Nominal coverage.

    >>> interval = wilson(np.array([1.0] * 20), np.ones(20))
    >>> round(interval.low, 3), interval.high
    (0.839, 1.0)
    """
    num_cases = float(wholes.sum())
    if not num_cases:
        return ScoreInterval(0.0, 1.0, "wilson")
    share, num_units = float(parts.sum()) / num_cases, int((wholes > 0).sum())
    if num_units == num_cases or share in (0, 1):
        n, z = float(num_units), NormalDist().inv_cdf(0.5 + level / 2)
    elif num_units == 1:
        return ScoreInterval(0.0, 1.0, "wilson")
    else:
        from scipy.stats import t as student_t  # scipy takes longer to import than `mtl check` to start

        n, z = num_cases / _design_effect(parts, wholes), float(student_t.ppf(0.5 + level / 2, num_units - 1))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Rounding must not exclude the share itself where it is 0 or 1.
    low, high = max(0.0, min(centre - half_width, share)), min(1.0, max(centre + half_width, share))
    return ScoreInterval(low, high, "wilson")


def _design_effect(parts: Array, wholes: Array) -> float:
    """The variance of a proportion over at least two units, relative to that of independent cases; at least 1."""
    has_cases = wholes > 0
    parts, wholes = parts[has_cases], wholes[has_cases]
    num_units, num_cases = len(wholes), wholes.sum()
    share = parts.sum() / num_cases
    variance = num_units / (num_units - 1) * ((parts - share * wholes) ** 2).sum() / num_cases**2
    return max(1.0, float(variance / (share * (1 - share) / num_cases)))


class _Sample(NamedTuple):
    """The counts [N, K], the unit of each row [N], and the number of units."""

    counts: Tensor
    owners: NDArray[np.intp]
    num_units: int

    def by_unit(self, values: Tensor) -> Array:
        """The sums over the rows of each unit, [N] -> [U]."""
        sums = np.zeros(self.num_units)
        np.add.at(sums, self.owners, values.double().numpy())
        return sums


def _resampled(head: Head, sample: _Sample, metrics: Sequence[str], num_resamples: int, seed: int) -> dict[str, Array]:
    """The metrics of each resample of the units, [B]."""
    rng = np.random.default_rng(seed)
    shares = np.full(sample.num_units, 1 / sample.num_units)
    size = max(1, _CHUNK_SIZE // max(sample.num_units, len(sample.owners)))
    chunks: dict[str, list[Array]] = {name: [] for name in metrics}
    for start in range(0, num_resamples, size):
        number = min(size, num_resamples - start)
        drawn = rng.multinomial(sample.num_units, shares, size=number)  # [B, U]
        times = torch.from_numpy(drawn[:, sample.owners].astype(np.float64))  # [B, N]
        found = head.many_scores(sample.counts, times, metrics)
        for name in metrics:
            chunks[name].append(found[name].numpy())
    return {name: np.concatenate(parts) for name, parts in chunks.items()}


def _percentiles(values: Array, level: float) -> ScoreInterval:
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return ScoreInterval(float(low), float(high), "bootstrap")
