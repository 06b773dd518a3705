"""AdamW on an embedding table that computes only the rows of a batch, with the result of dense AdamW.

In dense AdamW a row without a gradient moves, too: by its momentum, which fades, and by weight decay. For that it needs
nothing but its own state and the learning rates, so a row can be left alone until a batch reads it, and then make up
for all updates that it has missed. Let m and v be the moments after the last update u that it took part in, s = u + j
a missed update, and D_s = 1 - rate_s * (weight decay). Then

    row = row prod_s D_s - sum_j (prod_{s' > s} D_s') (rate_s b1^j / (1 - b1^s)) m / (sqrt(v) e_j + eps)
    e_j = sqrt(b2^j / (1 - b2^s))

Because of eps there is no closed form for the sum, so its terms are added up, for all rows of a batch at once. After
100 of them b1^j is 3e-5, and what is left moves a weight by at most 1e-3 rates (5e-8 at a rate of 5e-5). Rows that no
batch has read have no momentum and only decay. So this is AdamW up to rounding, but not to the last bit.

Shapes: V rows of the table, n rows of a batch, H hidden size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BETAS, EPS = (0.9, 0.999), 1e-8
"""Those of `torch.optim.AdamW` by default."""

MOST = 100
"""Missed updates of the momentum that are made up for."""


class LazyTable(nn.Module):
    """An embedding table with its own optimiser, for one call of `forward` and of `step` per update.

    Args:
        table: Table with the initial rows, which stay its own.
        weight_decay: Weight decay of AdamW.
    """

    def __init__(self, table: nn.Embedding, weight_decay: float) -> None:
        super().__init__()
        self._weight_decay = weight_decay
        self.weight = table.weight.detach().clone()
        """Rows [V, H], of which those that a batch reads are up to date."""
        self._first_moments, self._second_moments = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self._updated = np.zeros(len(self.weight), dtype=np.int64)  # updates that each row has taken part in
        self._moves = np.zeros(len(self.weight), dtype=bool)  # rows that have had a gradient
        self._rates, self._decays = [0.0], [1.0]  # of each update from 1 on, and the product of all decays up to it
        self.rows: Tensor = torch.zeros(0, dtype=torch.long)
        """Rows of the current batch [n]."""
        self.leaf: Tensor = torch.zeros(0)
        """Their values [n, H], which get the gradient."""

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of the ids."""
        self.rows, places = torch.unique(ids, return_inverse=True)
        self.catch_up(self.rows)
        self.leaf = self.weight[self.rows].requires_grad_()
        return nn.functional.embedding(places, self.leaf)

    def step(self, rate: float) -> None:
        """Updates the rows of the batch with the gradient of `leaf`."""
        self._rates.append(rate)
        self._decays.append(self._decays[-1] * (1 - rate * self._weight_decay))
        assert self.leaf.grad is not None
        state = [values[self.rows] for values in (self._first_moments, self._second_moments)]
        row = self.leaf.detach()
        settings: dict[str, Any] = {
            **{"lr": rate, "beta1": BETAS[0], "beta2": BETAS[1], "weight_decay": self._weight_decay, "eps": EPS},
            **{"amsgrad": False, "maximize": False},
        }
        number = torch.tensor(float(len(self._rates) - 1))
        torch._fused_adamw_([row], [self.leaf.grad], state[:1], state[1:], [], [number], **settings)
        self._write(self.rows, row, *state)
        self._moves[self.rows.numpy()] = True

    def catch_up(self, rows: Tensor | None = None) -> None:
        """Makes up for the updates that rows [n] have missed; None stands for all rows, as before an evaluation."""
        places = np.arange(len(self.weight)) if rows is None else rows.numpy()
        missed = len(self._rates) - 1 - self._updated[places]
        order = np.argsort(-missed, kind="stable")
        places, missed = places[order], missed[order]
        late = missed > 0
        for moves in (False, True):
            chosen = late & (self._moves[places] == moves)
            if chosen.any():
                self._make_up(places[chosen], missed[chosen], moves=moves)

    def _make_up(self, places: np.ndarray, missed: np.ndarray, *, moves: bool) -> None:
        """Moves rows by the updates that they have missed, of which there are fewer from row to row."""
        rows, updated = torch.from_numpy(places), self._updated[places]
        decays = np.asarray(self._decays)
        row = self.weight[rows] * column(decays[-1] / decays[updated])
        if not moves:
            self.weight[rows] = row
            self._updated[places] = len(self._rates) - 1
            return
        first, second = self._first_moments[rows], self._second_moments[rows]
        root, room = second.sqrt(), torch.empty_like(row)
        rates = np.asarray(self._rates)
        for age in range(1, min(int(missed[0]), MOST) + 1):
            count = int((missed >= age).sum())
            number = updated[:count] + age
            factor = decays[-1] / decays[number] * rates[number] * BETAS[0] ** age / (1 - BETAS[0] ** number)
            spread = np.sqrt(BETAS[1] ** age / (1 - BETAS[1] ** number))
            inverse = 1 / np.maximum(factor, 1e-30)  # the rate may be zero
            torch.addcmul(column(EPS * inverse), root[:count], column(spread * inverse), out=room[:count])
            row[:count].addcdiv_(first[:count], room[:count], value=-1)
        kept = [moment * column(beta**missed) for moment, beta in zip((first, second), BETAS, strict=True)]
        self._write(rows, row, *kept)

    def _write(self, rows: Tensor, row: Tensor, first: Tensor, second: Tensor) -> None:
        for values, new in ((self.weight, row), (self._first_moments, first), (self._second_moments, second)):
            values.index_copy_(0, rows, new)
        self._updated[rows.numpy()] = len(self._rates) - 1


def column(values: np.ndarray) -> Tensor:
    """Values as a column [n, 1] in fp32."""
    return torch.from_numpy(values.astype(np.float32))[:, None]
