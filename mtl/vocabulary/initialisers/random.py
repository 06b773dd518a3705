"""Random rows, the baseline of the other methods."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.problems import InputError, Problem
from mtl.seeding import derive
from mtl.vocabulary.exchange import NewToken
from mtl.vocabulary.initialisers import Initialiser


class Random(Initialiser):
    """Draws each number of a row from N(0, std), as BERT draws its embeddings.

    Each token has its own random stream, so its row does not depend on the other new tokens.

    Args:
        std: Standard deviation.

    Raises:
        InputError: `std` is not above 0.
    """

    other_names = ("normal", "gaussian", "scratch")

    def __init__(self, *, std: float = 0.02) -> None:
        if not std > 0:
            raise InputError(Problem("init.std", f"must be above 0, got {std}."))
        self._std = std

    def table_rows(self, table: Tensor, tokens: Sequence[NewToken], seed: int) -> Tensor:
        rows = torch.empty(len(tokens), table.shape[1])
        for row, token in zip(rows, tokens, strict=True):
            row.normal_(std=self._std, generator=torch.Generator().manual_seed(derive(seed, "embedding", token.token)))
        return rows.to(table)
