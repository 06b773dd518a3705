"""Training losses between two logs: summed on the device, and read by the host only when they are logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl.distributed import rank, sum_over_ranks


class TrainLosses:
    """The mean training loss of each task since the last log, and over the epoch so far.

    Args:
        tasks: Names of all tasks, in the same order on every rank.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = list(tasks)
        self._sums: dict[str, Tensor] = {}  # summed loss and number of targets on this rank since the last log
        self._epoch: dict[str, list[float]] = {}  # the same from the start of the epoch to the last log, all ranks

    def add(self, task: str, total: Tensor, count: Tensor) -> None:
        """Adds the loss of a step without making the host wait for the device.

        Args:
            task: Task of the loss.
            total: Sum of the loss over the targets, a scalar.
            count: Number of targets, a scalar.
        """
        pair = torch.stack([total.detach().float(), count.to(total.device).float()])
        self._sums[task] = self._sums[task].to(pair.device) + pair if task in self._sums else pair

    def take(self, device: torch.device) -> dict[str, float]:
        """The mean loss over all ranks since the last call, of each task that was trained; all ranks must call this."""
        sums = self._reduced(device)
        self._sums = {}
        for task, (total, count) in sums.items():
            before = self._epoch.get(task, [0.0, 0.0])
            self._epoch[task] = [before[0] + total, before[1] + count]
        return _means(sums)

    def take_epoch(self) -> dict[str, float]:
        """The mean losses over the epoch; call it at the end of the epoch, after `take`."""
        means = _means(self._epoch)
        self._epoch = {}
        return means

    def state_dict(self, device: torch.device) -> dict[str, Any]:
        """The state with which a resumed run logs the same losses; all ranks must call this."""
        return {"sums": self._reduced(device), "epoch": dict(self._epoch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned. Its sums cover all ranks, so only the first rank keeps them."""
        self._sums = {task: torch.tensor(pair) for task, pair in state["sums"].items()} if rank() == 0 else {}
        self._epoch = {task: list(pair) for task, pair in state["epoch"].items()}

    def _reduced(self, device: torch.device) -> dict[str, list[float]]:
        sums = torch.stack([self._sums.get(task, torch.zeros(2)).to(device) for task in self._tasks])
        return {task: pair for task, pair in zip(self._tasks, sum_over_ranks(sums).tolist(), strict=True) if pair[1]}


def _means(sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {task: total / count for task, (total, count) in sums.items()}
