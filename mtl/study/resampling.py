"""Two sources of noise, seeds and documents: how far they leave a gain open, by a hierarchical bootstrap.

Shapes: S seeds, D documents, N rows of counts, K counts, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mtl.study.statistics import Array, Interval, multiplicities

Scores = Callable[[Tensor, Tensor], Tensor]
"""From counts [N, K] and how often each row of them is taken [B, N] to scores [B], as `Head.primary_scores`."""

_CHUNK_SIZE = 1_000_000
"""Numbers in one table of resamples by rows or by counts: 8 MB, of which a head makes up to a dozen."""


class Resamples(NamedTuple):
    """How often each unit is drawn: seeds [B, S] and documents [B, D]."""

    seeds: Array
    documents: Array


def resamples(num_seeds: int, num_documents: int, num_resamples: int = 1_000, *, seed: int = 0) -> Resamples:
    """Draws of seeds and of documents, to be used for both sides of a difference.

    All seeds of a resample score the same documents: they were tested on one test set, whose chance they share.
    """
    rng = np.random.default_rng(seed)
    return Resamples(multiplicities(num_seeds, num_resamples, rng), multiplicities(num_documents, num_resamples, rng))


def resampled_scores(counts: ArrayLike, scores: Scores, drawn: Resamples, *, owners: ArrayLike | None = None) -> Array:
    """The corpus score of each seed in each resample of the documents, [B, S].

    Args:
        counts: Of each seed, [S, N, K].
        scores: Of many corpora at once, as `Head.primary_scores` gives them.
        drawn: From `resamples`.
        owners: The document of each row of counts, [N], as the run's archive of counts has it; None where each
            document has one row.
    """
    values = torch.as_tensor(np.asarray(counts))
    rows = np.arange(drawn.documents.shape[1]) if owners is None else np.asarray(owners, dtype=np.intp)
    if len(rows) != values.shape[1]:
        others = "the resamples have {} documents" if owners is None else "owners has {} rows"
        raise ValueError(f"counts has {values.shape[1]} rows and {others.format(len(rows))}; both must be alike.")
    size = max(1, _CHUNK_SIZE // max(1, *values.shape[1:]))
    chunks = []
    for start in range(0, len(drawn.documents), size):
        times = torch.from_numpy(drawn.documents[start : start + size, rows])  # [B, N]
        chunks.append(torch.stack([scores(of_seed, times) for of_seed in values], dim=1))
    scored: Array = torch.cat(chunks).numpy()
    return scored


def resampled_interval(gains: Array, drawn: Resamples, level: float = 0.95) -> Interval:
    """The percentile interval of the mean over drawn seeds, from the gain of each seed in each resample [B, S].

    A study computes `resampled_scores` of a baseline once for all partners, and takes differences itself.
    """
    means = (gains * drawn.seeds).sum(axis=1) / drawn.seeds.shape[1]
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))
