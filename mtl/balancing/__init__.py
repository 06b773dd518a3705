"""How the losses of several tasks are combined into one update of the weights: one file per method.

A new method is a new file here with one subclass of `Balancing`; its file name is its name in YAML
(``balancing: {name: uncertainty}``).

The loss of an update is the sum of one term per task::

    share * (factor * mean + offset)

`mean` is the task's mean loss over everything it counts in the update: all ranks, all accumulated steps, all batches of
a mixed step. `share` is the task's share of the update's batches. Counts are known before the update, so each step and
each rank adds its own part of the sums, and the parts add up to the loss of one big batch. A method decides `factor`
and `offset`; both are fixed during an update.

A method that needs the losses or gradients of all tasks before it can decide anything sets `needs = "whole"`.
It gets them in `backward`, which requires that every step trains every task and is an update by itself.

torchjd's scalarisations are the tests' reference, not the base of these methods: each of them takes the losses of all
tasks of an update at once, which steps of one task and accumulated steps do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mtl.problems import Problem
from mtl.single_precision import InSinglePrecision

__all__ = ["Balancing", "TaskLoss"]


class TaskLoss(NamedTuple):
    """The loss of one task in one step on one rank, as a part of its update.

    Args:
        total: Sum over the targets of this step and rank, a scalar.
        targets: Number of targets that `total` sums over, a scalar.
        update_targets: Number of the task's targets in the whole update: all ranks, accumulated steps and mixed
            batches.
        share: The task's share of the update's batches; 0 where this rank has no examples of the task.
    """

    total: Tensor
    targets: Tensor
    update_targets: int
    share: float


class Balancing(InSinglePrecision):
    """Combines the losses of an update's tasks into one.

    Options of a method are the keyword-only arguments of its `__init__`. Learned parameters are trained by the
    optimiser of the model, at `learning_rate` and without weight decay. Each must belong to one task, so that a step
    moves only the parameters of the tasks that it trains. Everything that a resumed run needs must be a parameter or
    buffer.

    Args:
        weights: The tasks, in the order of the mixture, each with its `loss_weight`: a factor on its mean loss.
    """

    needs: ClassVar[Literal["linear", "whole"]] = "linear"
    """"linear": factors and offsets, fixed before the update. "whole": the losses of all tasks in one step."""

    learning_rate: float = 0.0
    """Peak learning rate of the method's own parameters, if it has any."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Changes the factors on the tasks' mean losses, as a curriculum does between two updates.

        Args:
            weights: All tasks with their new `loss_weight`.
        """
        self.weights = dict(weights)

    def factor(self, task: str) -> Tensor | float:
        """The factor on the task's mean loss in this update."""
        return self.weights[task]

    def offset(self, task: str) -> Tensor | float:
        """The offset that is added to the task's weighted mean loss in this update."""
        return 0.0

    def term(self, task: str, loss: TaskLoss) -> Tensor:
        """This step's and rank's part of the task's term in the loss of the update."""
        offset = self.offset(task)
        term = (self.factor(task) * loss.share / loss.update_targets) * loss.total
        if isinstance(offset, Tensor) or offset != 0:  # adding a zero could turn -0.0 into 0.0
            term = term + (offset * loss.share / loss.update_targets) * loss.targets
        return term

    def backward(self, loss: Tensor, terms: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> None:
        """Computes the gradients of all weights.

        Args:
            loss: The sum of the terms.
            terms: The term of each task, scaled like `loss`; empty unless `needs` is "whole".
            shared: The encoder's trained parameters. A method that replaces their gradients must average its own over
                the ranks (`mtl.distributed`); all other gradients are averaged afterwards.
        """
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def training_problems(self, *, accumulate: int, precision: str, stops_tasks: bool = False) -> list[Problem]:
        """Why the method cannot work with options of the training.

        Args:
            accumulate: Number of steps per update.
            precision: Lightning's name for the precision.
            stops_tasks: Whether early stopping may stop single tasks.
        """
        if self.needs != "whole":
            return []
        method = f"the balancing method {type(self).__name__}"
        problems = []
        if accumulate > 1:
            message = f"must be 1 with {method}, which needs all losses in one step, got {accumulate}."
            problems.append(Problem("trainer.accumulate_grad_batches", message, "Raise batch_size instead."))
        if precision == "16-mixed":
            message = f"must not scale gradients with {method}, got 16-mixed."
            problems.append(Problem("trainer.precision", message, "Use bf16-mixed or 32-true."))
        if stops_tasks:
            message = f"must be false with {method}, which needs all tasks in every step, got true."
            problems.append(Problem("early_stopping.per_task", message, "Stop all tasks together."))
        return problems

    def on_epoch_end(self, means: Mapping[str, float]) -> None:
        """Receives the mean training loss, over all ranks, of each task that was trained in the epoch."""

    def current_factors(self) -> dict[str, float]:
        """The current factor of every task, for logs."""
        with torch.no_grad():
            return {task: float(self.factor(task)) for task in self.weights}
