"""The mean of all old rows, the same for every new token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtl.vocabulary.exchange import NewToken
from mtl.vocabulary.initialisers import Initialiser


class Mean(Initialiser):
    """Gives every new token the mean of all old rows (Hewitt 2021, nlp.stanford.edu/~johnhew/vocab-expansion.html)."""

    other_names = ("average", "mean_all")

    def table_rows(self, table: Tensor, tokens: Sequence[NewToken], seed: int) -> Tensor:
        return table.mean(dim=0).repeat(len(tokens), 1)
