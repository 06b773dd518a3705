"""The LightningDataModule of a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from heads import Head
from mtl.batching.loaders import EvaluationLoader, TrainLoader
from mtl.batching.phase_heads import PhaseHeads
from mtl.batching.schedule import StepSchedule, UpdateGrid, limited, make_schedule, planned_updates
from mtl.config.curriculum import end_problems
from mtl.data.examples import SplitData, TaskData, prepare
from mtl.problems import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import Mixture


class MixtureData(pl.LightningDataModule):
    """Reads, encodes and batches the tasks of a mixture.

    Args:
        mixture: Mixture that names the tasks and their data.
        heads: The head of each task.
        tokenizer: The encoder's tokenizer.
    """

    def __init__(self, mixture: Mixture, heads: Mapping[str, Head], tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.mixture = mixture
        self.heads = dict(heads)
        self.tokenizer = tokenizer
        self.tasks: dict[str, TaskData] = {}
        self.evaluated: set[str] | None = None
        """Tasks that are evaluated; None evaluates all."""
        self._schedule: StepSchedule | None = None

    def setup(self, stage: str | None = None) -> None:
        if not self.tasks:
            self.tasks = prepare(self.mixture, self.heads, self.tokenizer)

    def train_dataloader(self) -> TrainLoader:
        _ = self._drawing_heads  # made here, because the thread that prepares batches must not touch the generator
        return TrainLoader(self)

    def val_dataloader(self) -> EvaluationLoader:
        trainer = self.trainer
        return EvaluationLoader(self, "dev", is_limited=trainer is not None and trainer.state.fn == "fit")

    def test_dataloader(self) -> EvaluationLoader:
        return EvaluationLoader(self, "test")

    def state_dict(self) -> dict[str, Any]:
        """What prediction must know about the rows that each task was trained on, since it reads raw text like them.

        `row_types` has their type, of which a relation head reads two, and `num_texts` the number of texts per row, or
        None if it varies.
        """
        rows = {name: data["train"].rows for name, data in self.tasks.items()}
        num_texts = {name: {0: 1, len(table): 2}.get(table.num_pairs) for name, table in rows.items()}
        return {"row_types": {name: type(table[0]).__name__ for name, table in rows.items()}, "num_texts": num_texts}

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def schedule(self) -> StepSchedule:
        """The order of all training steps."""
        if self._schedule is None:
            self._schedule = make_schedule(self.mixture, self.tasks, 1)
            if self.trainer is not None:
                problems = end_problems(self.mixture, self.total_updates())
                if problems:
                    raise InputError(problems)
                epochs = self.total_updates() / self.updates.per_epoch
                self._schedule = make_schedule(self.mixture, self.tasks, epochs, self.updates)
        return self._schedule

    def total_updates(self) -> int:
        """The exact number of updates that the trainer is configured for.

        Raises:
            InputError: Neither the number of epochs nor that of steps is limited.
        """
        trainer = self.attached_trainer()
        return planned_updates(self.updates.per_epoch, trainer.max_epochs, trainer.max_steps)

    @property
    def updates(self) -> UpdateGrid:
        """How the updates of the training follow each other."""
        trainer = self.attached_trainer()
        num_steps = limited(self.schedule.steps_per_epoch(), trainer.limit_train_batches)
        return UpdateGrid(-(-num_steps // trainer.accumulate_grad_batches), trainer.accumulate_grad_batches)

    def rows_of_update(self, update: int) -> dict[str, list[str]]:
        """The ids of the rows of an update's examples, by task and over all ranks.

        Args:
            update: Number of the update, from 0.
        """
        trainer, schedule = self.attached_trainer(), self.schedule
        epoch, first = self.updates.first_step(update)
        num_steps = limited(schedule.steps_per_epoch(), trainer.limit_train_batches)
        steps = schedule.epoch(epoch)[: int(num_steps)][first : first + trainer.accumulate_grad_batches]
        found: dict[str, list[str]] = {}
        for ref in (ref for step in steps for ref in step):
            for task in self.followers(ref.task):
                data = self.tasks[task]["train"]
                places = dict.fromkeys(data.example_rows[schedule.indices(ref)].tolist())
                found.setdefault(task, []).extend(data.rows[place].id for place in places)
        return found

    @property
    def stopped(self) -> Collection[str]:
        """Tasks that the module no longer trains; their steps stay empty."""
        return getattr(self.attached_trainer().lightning_module, "stopped", ())

    # --- for the loaders ------------------------------------------------------------------------------------------

    def splits(self, split: str) -> dict[str, SplitData]:
        """The split of every task that has it and is evaluated."""
        return {
            name: data[split]
            for name, data in self.tasks.items()
            if split in data and (self.evaluated is None or name in self.evaluated)
        }

    def followers(self, task: str) -> list[str]:
        """The tasks that train on this task's batches, starting with the task itself."""
        return [task, *(name for name, spec in self.mixture.tasks.items() if spec.same_rows_as == task)]

    def drawing_head(self, task: str, update: int) -> Head:
        """The head that draws the examples of a task at an update."""
        return self._drawing_heads.at(task, update)

    @cached_property
    def _drawing_heads(self) -> PhaseHeads:
        drawing = {name: head for name, head in self.heads.items() if head.draws}
        return PhaseHeads.of(self.mixture, drawing, self.tokenizer)

    def rank_and_world_size(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def device_type(self) -> str:
        return "cpu" if self.trainer is None else str(self.trainer.strategy.root_device.type)

    def attached_trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "the data module is not attached to a trainer"
        return self.trainer
