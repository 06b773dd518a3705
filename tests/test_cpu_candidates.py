"""The candidates for more speed on a CPU: each computes what the present code does."""

from __future__ import annotations

import lazy_rows
import pytest
import torch
from torch import nn


@pytest.mark.parametrize(("rate", "updates"), [(5e-5, 30), (5e-5, 250), (1e-3, 250)])
def test_lazy_rows_are_as_near_to_exact_adamw_as_dense_rows(rate: float, updates: int) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 16)
    nn.init.normal_(table.weight, std=0.1)
    exact = nn.Parameter(table.weight.detach().double())
    lazy = lazy_rows.LazyTable(table, weight_decay=0.01)
    optimizers = [torch.optim.AdamW([weight], lr=rate, weight_decay=0.01) for weight in (table.weight, exact)]
    # Rows 0 to 3 are in every batch, others rarely or once, and 40 to 49 never. Gradients differ in size.
    for update in range(updates):
        now = rate * (1 - update / updates)
        few = [4 + update % 7] if update % 5 == 0 else [11 + (update * update) % 29] if update % 31 == 0 else []
        ids = torch.tensor([0, 1, 2, 3, *few, *few])
        weights = torch.randn(len(ids), 16) * 10.0 ** torch.randint(-9, 0, (len(ids), 1))
        found = lazy(ids)
        assert (found - exact[ids]).abs().max() < 1e-6
        for rows in (found, table(ids), exact[ids]):
            (rows * weights).sum().backward()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = now
            optimizer.step()
            optimizer.zero_grad()
        lazy.step(now)
    lazy.catch_up()
    errors = [float((weight - exact).detach().abs().max()) for weight in (lazy.weight, table.weight)]
    assert errors[0] < min(1e-6, errors[1] + 1e-7)


def test_a_row_that_is_not_caught_up_with_is_off_by_more() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(4, 8)
    lazy = lazy_rows.LazyTable(table, weight_decay=0.01)
    dense = torch.optim.AdamW([table.weight], lr=1e-3, weight_decay=0.01, fused=True)
    for ids in (torch.tensor([0, 1]), torch.tensor([1])):
        for embed in (table, lazy):
            embed(ids).pow(2).sum().backward()
        dense.step()
        lazy.step(1e-3)
        dense.zero_grad()
    assert (lazy.weight[0] - table.weight[0]).abs().max() > 1e-5
    lazy.catch_up()
    assert (lazy.weight - table.weight).abs().max() < 1e-6
