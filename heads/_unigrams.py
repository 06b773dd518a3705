"""The frequencies of tokens: what a language model must beat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class Unigrams(NamedTuple):
    """A predictor that knows no context.

    Args:
        losses: Negative logarithm of the probability of each token.
        most_frequent: Id of the most probable token.
    """

    losses: npt.NDArray[np.float64]
    most_frequent: int

    @classmethod
    def of(cls, texts: Iterable[Ids], size: int) -> Unigrams:
        """The frequencies in some texts, where every token is counted once more (Laplace smoothing).

        Args:
            texts: Ids of the tokens of each text.
            size: Number of tokens of the vocabulary.

        >>> unigrams = Unigrams.of([np.array([1, 1, 2])], 3)
        >>> unigrams.most_frequent, np.exp(-unigrams.losses).round(6).tolist()
        (1, [0.166667, 0.5, 0.333333])
        """
        numbers = np.ones(size)
        for ids in texts:
            numbers += np.bincount(ids, minlength=size)
        return cls(np.log(numbers.sum()) - np.log(numbers), int(numbers.argmax()))
