"""Two systems on the same documents: the difference of a corpus metric, its interval and its significance.

The tests are those of the gains of a study, with documents in place of seeds: sign flips exchange the two systems on a
document (approximate randomisation, Noreen 1989; Yeh 2000), and the interval resamples documents. Documents that
depend on each other, such as those of a patient, are exchanged and resampled together, as one unit.

Shapes: D documents, U units, N rows of counts, K counts, P sign patterns, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from heads import Head
from mtl.study.statistics.resampling import resampled_scores, resamples
from mtl.study.statistics.significance import Array, Interval, is_below, sign_patterns

NUM_RESAMPLES = 1_000

_CHUNK_SIZE = 1_000_000
"""Size of a table of sign patterns by rows: 8 MB, and a head makes up to a dozen such tables."""

_TIE = 1e-12
"""Differences that differ by less are ties: one number, summed in a different order."""

Counts = Mapping[str, NDArray[np.generic]]
"""`documents` [D], `counts` [N, K] and `owners` [N], as `TaskResult.stacked_counts` returns them."""


class Difference(NamedTuple):
    """The difference of two systems in a metric.

    Args:
        metric: Name of the metric.
        first: Score of the first system.
        second: Score of the second system.
        interval: Interval of first minus second over resampled units.
    """

    metric: str
    first: float
    second: float
    interval: Interval

    @property
    def difference(self) -> float:
        return self.first - self.second


def differences(
    head: Head, first: Counts, second: Counts, *, units: ArrayLike | None = None, level: float = 0.95, seed: int = 0
) -> dict[str, Difference]:
    """The difference in each metric of a head, with a percentile interval over units.

    Args:
        head: Head of the task.
        first: Counts of the first system.
        second: Counts of the second system, on the same documents in the same order.
        units: Number of each document's unit, [D], from 0; None if documents are the units.
        level: Nominal coverage.
        seed: Seed of the resamples, which are the same for both systems.

    Raises:
        ValueError: The documents, or the rows of the counts, differ.
    """
    _check(first, second)
    num_units, owners = _units(first, units)
    drawn = resamples(1, num_units, NUM_RESAMPLES, seed=seed)
    once = torch.ones(1, len(owners), dtype=torch.double)
    found = {}
    for metric in head.metrics:

        def scores(counts: Tensor, times: Tensor, metric: str = metric) -> Tensor:
            return head.many_scores(counts, times, (metric,))[metric]

        own = [float(scores(_tensor(system), once)[0]) for system in (first, second)]
        resampled = [
            resampled_scores(system["counts"][None], scores, drawn, owners=owners)[:, 0] for system in (first, second)
        ]
        low, high = np.quantile(resampled[0] - resampled[1], [0.5 - level / 2, 0.5 + level / 2])
        found[metric] = Difference(metric, own[0], own[1], Interval(float(low), float(high)))
    return found


def exchange_p(
    head: Head, first: Counts, second: Counts, *, units: ArrayLike | None = None, unit: float = 0.0, seed: int = 0
) -> float:
    """The two-sided p value of the null hypothesis that the two systems are exchangeable on every unit.

    It is the share of sign patterns over units whose difference in the primary metric is at least as far from 0 as
    the observed one: exact up to 16 units; beyond that, patterns are sampled and the observed one is included.

    Args:
        head: Head of the task.
        first: Counts of the first system.
        second: Counts of the second system, on the same documents in the same order.
        units: Number of each document's unit, [D], from 0; None if documents are the units.
        unit: One unit of the test set (`mtl.evaluation.units`); a smaller difference is not significant: its p is 1.
        seed: Seed of the sampled patterns.

    Raises:
        ValueError: The documents, or the rows of the counts, differ.
    """
    _check(first, second)
    num_units, owners = _units(first, units)
    both = torch.cat([_tensor(first), _tensor(second)])  # [2 N, K]
    signs = sign_patterns(num_units, seed=seed)  # [P, U]
    size = max(1, _CHUNK_SIZE // max(1, len(both)))
    statistics = np.concatenate(
        [_exchanged(head, both, signs[start : start + size][:, owners]) for start in range(0, len(signs), size)]
    )
    if bool(is_below(statistics[0], unit)):
        return 1.0
    return float((np.abs(statistics) >= abs(statistics[0]) - _TIE).mean())


def _exchanged(head: Head, both: Tensor, signs: Array) -> Array:
    """The difference of the primary metric if rows with a negative sign change sides, [P, N] -> [P]."""
    kept = torch.from_numpy((signs > 0).astype(np.float64))
    sides = [head.primary_scores(both, torch.cat(pair, dim=1)) for pair in ((kept, 1 - kept), (1 - kept, kept))]
    found: Array = (sides[0] - sides[1]).numpy()
    return found


def _units(system: Counts, units: ArrayLike | None) -> tuple[int, NDArray[np.intp]]:
    """The number of units, and that of each row of counts, [N]."""
    of_documents = np.arange(len(system["documents"])) if units is None else np.asarray(units, dtype=np.intp)
    return int(of_documents.max(initial=-1)) + 1, of_documents[system["owners"].astype(np.intp)]


def _tensor(system: Counts) -> Tensor:
    return torch.from_numpy(np.asarray(system["counts"]))


def _check(first: Counts, second: Counts) -> None:
    for name in ("documents", "owners"):
        if first[name].tolist() != second[name].tolist():
            raise ValueError(f"both systems must have the same {name} in the same order.")
