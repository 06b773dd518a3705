"""How the losses of several tasks become one update of the weights: one file per method.

A new method is a new file here with one subclass of `Balancing`; its file name is its name in YAML
(``balancing: {name: uncertainty}``).

The loss of an update is the sum of one term per task::

    share * (factor * mean + offset)

`mean` is the task's mean loss over everything it counts in the update: all ranks, all accumulated steps, all batches of
a mixed step. `share` is the task's share of the update's batches. Counts are known before the update, so each step and
each rank adds its own part of the sums, and the parts add up to the loss of one big batch. A method decides `factor`
and `offset`; both are fixed during an update.

A method that needs the losses or gradients of all tasks before it can decide anything says so with `needs = "whole"`.
It gets them in `backward`, which requires that every step trains every task and is an update by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mtl.single_precision import InSinglePrecision

__all__ = ["Balancing", "TaskLoss"]


class TaskLoss(NamedTuple):
    """The loss of one task in one step on one rank, as a part of its update.

    Args:
        total: Sum over the targets of this step and rank, a scalar.
        targets: How many targets `total` sums over, a scalar.
        update_targets: Targets of the task in the whole update: all ranks, accumulated steps and mixed batches.
        share: The task's share of the update's batches; 0 where this rank has no examples of the task.
    """

    total: Tensor
    targets: Tensor
    update_targets: int
    share: float


class Balancing(InSinglePrecision):
    """Turns the losses of an update's tasks into one.

    Options of a method are the keyword-only arguments of its `__init__`. Learned parameters are trained by the
    optimiser of the model, at `learning_rate` and without weight decay; one parameter per task, so that a task that is
    not trained in a step moves nothing. What a resume needs is in parameters and buffers.

    Args:
        weights: The tasks, in the order of the mixture, each with its `loss_weight`: a factor on its mean loss.
    """

    needs: ClassVar[Literal["linear", "whole"]] = "linear"
    """"linear": factors and offsets, fixed before the update. "whole": the losses of all tasks in one step."""

    learning_rate: float = 0.0
    """Peak learning rate of the method's own parameters, where it has some."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def factor(self, task: str) -> Tensor | float:
        """What the task's mean loss is multiplied by in this update."""
        return self.weights[task]

    def offset(self, task: str) -> Tensor | float:
        """What is added to the task's weighted mean loss in this update."""
        return 0.0

    def term(self, task: str, loss: TaskLoss) -> Tensor:
        """This step's and rank's part of the task's term in the loss of the update."""
        offset = self.offset(task)
        term = (self.factor(task) * loss.share / loss.update_targets) * loss.total
        if isinstance(offset, Tensor):
            term = term + (offset * loss.share / loss.update_targets) * loss.targets
        return term

    def backward(self, loss: Tensor, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> None:
        """Computes the gradients of all weights.

        Args:
            loss: The sum of the terms.
            terms: Of each task, as `term` gives them and scaled like `loss`; filled for methods that need the whole.
            shared: The encoder's trained parameters. A method that replaces their gradients averages its own over the
                ranks (`mtl.distributed`); every other gradient is averaged afterwards.
        """
        loss.backward()  # type: ignore[no-untyped-call]

    def on_epoch_end(self, means: Mapping[str, float]) -> None:
        """Takes the mean training loss of each task that was trained in the epoch, over all ranks."""

    def current_factors(self) -> dict[str, float]:
        """The factor of every task now, for logs."""
        with torch.no_grad():
            return {task: float(self.factor(task)) for task in self.weights}
