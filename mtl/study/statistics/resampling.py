"""The uncertainty of a gain over both seeds and test documents, by a hierarchical bootstrap.

Shapes: S seeds, D documents, N rows of counts, K counts, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from mtl.study.statistics.significance import Array, Interval, multiplicities

Scores = Callable[[Tensor, Tensor], Tensor]
"""Scores [B] from counts [N, K] and the number of times each of their rows is drawn [B, N]: `Head.primary_scores`."""

_CHUNK_SIZE = 1_000_000
"""Size of a table of resamples by rows or by counts: 8 MB, and a head makes up to a dozen such tables."""


class Resamples(NamedTuple):
    """The number of times each seed [B, S] and each document [B, D] is drawn."""

    seeds: Array
    documents: Array


def resamples(num_seeds: int, num_documents: int, num_resamples: int = 1_000, *, seed: int = 0) -> Resamples:
    """Resamples of seeds and of documents, to be used for both sides of a difference.

    In a resample all seeds are scored on the same documents: the runs share one test set and so its sampling error.

    Args:
        num_seeds: Number of seeds, S.
        num_documents: Number of test documents, D.
        num_resamples: Number of resamples, B.
        seed: Seed of the random draws.
    """
    rng = np.random.default_rng(seed)
    return Resamples(multiplicities(num_seeds, num_resamples, rng), multiplicities(num_documents, num_resamples, rng))


def resampled_scores(counts: ArrayLike, scores: Scores, drawn: Resamples, *, owners: ArrayLike | None = None) -> Array:
    """The corpus score of each seed in each resample of the documents, [B, S].

    Args:
        counts: Counts of each seed, [S, N, K].
        scores: Function that scores many corpora at once, such as `Head.primary_scores`.
        drawn: Resamples from `resamples`.
        owners: Number of the document that each row of counts belongs to, [N], as saved with the counts of a run. None
            means one row per document.

    Raises:
        ValueError: If the number of rows of `counts` does not match `owners` or the number of documents.
    """
    values = torch.as_tensor(np.asarray(counts))
    rows = np.arange(drawn.documents.shape[1]) if owners is None else np.asarray(owners, dtype=np.intp)
    if len(rows) != values.shape[1]:
        expected = f"the {len(rows)} resampled documents" if owners is None else f"the {len(rows)} rows of owners"
        raise ValueError(f"counts must have as many rows as {expected}, got {values.shape[1]}.")
    size = max(1, _CHUNK_SIZE // max(1, *values.shape[1:]))
    chunks = []
    for start in range(0, len(drawn.documents), size):
        times = torch.from_numpy(drawn.documents[start : start + size, rows])  # [B, N]
        chunks.append(torch.stack([scores(of_seed, times) for of_seed in values], dim=1))
    scored: Array = torch.cat(chunks).numpy()
    return scored


def resampled_interval(gains: Array, drawn: Resamples, level: float = 0.95) -> Interval:
    """The percentile interval of the mean gain over resampled seeds and documents.

    With few seeds a percentile interval is too narrow: resampling S seeds reproduces only (S - 1) / S of their
    variance, and that variance is itself estimated (Hesterberg 2015 on percentile intervals of small samples). The
    part of the variation that comes from resampling seeds is therefore widened to the width of the t interval.
    Simulated coverage of the 95% interval with 60 documents and normal differences is 0.93 to 0.99 at 6, 8 and 12
    seeds, highest if documents and seeds interact; without widening it is 0.86 to 0.91 if all noise is seed noise.

    A study computes `resampled_scores` of a baseline once for all partners, and takes the differences itself.

    Args:
        gains: Gain of each seed in each resample of the documents, [B, S].
        drawn: The resamples that `gains` was computed on.
        level: Nominal coverage.
    """
    num_seeds = drawn.seeds.shape[1]
    of_documents = gains.mean(axis=1)  # [B], over all seeds and the drawn documents
    of_both = (gains * drawn.seeds).sum(axis=1) / num_seeds  # [B], over the drawn seeds and documents
    means = of_documents + _widening(num_seeds, level) * (of_both - of_documents)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def _widening(num_seeds: int, level: float) -> float:
    """The ratio of the width of the t interval to that of the percentile interval, for normal differences."""
    quantile = 0.5 + level / 2
    by_quantile = stats.t.ppf(quantile, num_seeds - 1) / stats.norm.ppf(quantile)
    return float(by_quantile * np.sqrt(num_seeds / (num_seeds - 1)))
