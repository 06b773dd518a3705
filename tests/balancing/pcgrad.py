"""A method on per-task gradients, as a user would write it with the interface of `Balancing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl.balancing import Balancing
from mtl.distributed import average


class PCGrad(Balancing):
    """Removes from each task's gradient its conflicts with others (Yu et al. 2020), in the order of the mixture."""

    needs = "whole"

    def backward(self, loss: Tensor, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> None:
        loss.backward(retain_graph=True)
        rows = [self._gradient(term, shared) for term in terms.values()]
        average(rows)
        combined = sum(self._projected(row, rows) for row in rows)
        place = 0
        for parameter in shared:
            parameter.grad = combined[place : place + parameter.numel()].view_as(parameter).clone()
            place += parameter.numel()

    def _gradient(self, term: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
        gradients = torch.autograd.grad(term, list(shared), retain_graph=True, allow_unused=True)
        return torch.cat(
            [
                (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
                for parameter, gradient in zip(shared, gradients, strict=True)
            ]
        )

    def _projected(self, row: Tensor, rows: Sequence[Tensor]) -> Tensor:
        for other in rows:
            if other is not row and row @ other < 0:
                row = row - (row @ other) / (other @ other) * other
        return row
