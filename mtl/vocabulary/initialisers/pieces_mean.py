"""The mean of the rows of the old tokens that a new one replaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.vocabulary.exchange import NewToken
from mtl.vocabulary.initialisers import Initialiser


class PiecesMean(Initialiser):
    """Gives a new token the mean of the rows of its old tokens; the mean of all rows if it has none."""

    other_names = ("subword_mean", "pieces", "subwords", "mean_of_pieces")

    def table_rows(self, table: Tensor, tokens: Sequence[NewToken], seed: int) -> Tensor:
        everything = table.mean(dim=0)
        means = [table[list(token.pieces)].mean(dim=0) if token.pieces else everything for token in tokens]
        return torch.stack(means) if means else table[:0].clone()
