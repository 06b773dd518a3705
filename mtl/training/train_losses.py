"""Training losses between two logs: summed on the device, and read by the host only when they are logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl.distributed import rank, sum_over_ranks


class TrainLosses:
    """The mean training loss of each task since the last log, and over the epoch so far.

    Losses that are not finite are counted instead, so that one of them does not spoil the means.

    Args:
        tasks: Names of all tasks, in the same order on every rank.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = list(tasks)
        # Summed loss, number of targets and number of losses that are not finite, on this rank since the last log.
        self._sums: dict[str, Tensor] = {}
        self._not_finite: Counter[str] = Counter()  # over all ranks, up to the last log
        self._epoch: dict[str, list[float]] = {}  # the same from the start of the epoch to the last log, all ranks

    def add(self, task: str, total: Tensor, count: Tensor) -> None:
        """Adds the loss of a step without making the host wait for the device.

        Args:
            task: Task of the loss.
            total: Sum of the loss over the targets, a scalar.
            count: Number of targets, a scalar.
        """
        total = total.detach().float()
        zero = torch.zeros_like(total)
        finite = total.isfinite()
        count = count.to(total.device).float()
        sums = torch.stack([total.where(finite, zero), count.where(finite, zero), (~finite).float()])
        self._sums[task] = self._sums[task].to(sums.device) + sums if task in self._sums else sums

    def take(self, device: torch.device) -> dict[str, float]:
        """The mean loss over all ranks since the last call, of each task that was trained; all ranks must call this."""
        sums = self._reduced(device)
        self._sums = {}
        for task, (total, count, not_finite) in sums.items():
            before = self._epoch.get(task, [0.0, 0.0])
            self._epoch[task] = [before[0] + total, before[1] + count]
            if not_finite:
                self._not_finite[task] += int(not_finite)
        return _means(sums)

    @property
    def has_not_finite(self) -> bool:
        """Whether `take` has seen losses that are not finite since `take_not_finite`."""
        return bool(self._not_finite)

    def take_not_finite(self, device: torch.device) -> Counter[str]:
        """The number of losses that are not finite since the last call, by task; all ranks must call this."""
        since_log = {task: int(values[2]) for task, values in self._reduced(device).items() if values[2]}
        found = self._not_finite + Counter(since_log)
        self._not_finite = Counter()
        self._sums = {task: values * torch.tensor([1.0, 1.0, 0.0]).to(values) for task, values in self._sums.items()}
        return found

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
        self._sums = (
            {task: torch.tensor([*pair[:2], 0.0]) for task, pair in state["sums"].items()} if rank() == 0 else {}
        )
        self._epoch = {task: list(pair) for task, pair in state["epoch"].items()}

    def _reduced(self, device: torch.device) -> dict[str, list[float]]:
        sums = torch.stack([self._sums.get(task, torch.zeros(3)).to(device) for task in self._tasks])
        totals = sum_over_ranks(sums).tolist()
        return {task: values for task, values in zip(self._tasks, totals, strict=True) if values[1] or values[2]}


def _means(sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {task: values[0] / values[1] for task, values in sums.items() if values[1]}
