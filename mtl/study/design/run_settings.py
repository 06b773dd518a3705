"""What each run of a study trains: the settings and updates of its tasks, and the settings of its optimiser."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from mtl.batching.batcher import Batcher
from mtl.batching.passes import default_passes
from mtl.config.mixture import Mixture
from mtl.data.examples import TaskData
from mtl.study.design.arms import Arm
from mtl.study.design.data_variants import DataVariant
from mtl.study.design.runs import Run, original
from mtl.study.design.study_file import Study
from mtl.training.hyperparameters import Optimisation


class RunSettings:
    """The tasks, the updates and the optimiser of the runs of a study.

    Args:
        study: The study.
        data: Prepared data of each task.
        hidden_size: Hidden size of the encoder, which decides the default learning rate.
        arms: The arms by name.
        variants: Other data of some tasks, by name.
    """

    def __init__(
        self,
        study: Study,
        data: Mapping[str, TaskData],
        hidden_size: int,
        arms: Mapping[str, Arm] = MappingProxyType({}),
        variants: Mapping[str, DataVariant] = MappingProxyType({}),
    ) -> None:
        self._study, self._data, self._hidden_size, self.arms = study, data, hidden_size, arms
        self._variants = variants
        self.per_evaluation = cache(self._per_evaluation)
        """Function from a task, a stage and the name of other data to the number of updates between two evaluations."""

    def updates(self, stage: str = "") -> dict[str, int]:
        """The number of updates of each task in a run."""
        evaluations = self._study.spec.budget.evaluations
        return {task: self.per_evaluation(task, stage) * evaluations for task in self._study.mixture.tasks}

    def mixture(self, run: Run) -> Mixture:
        """All tasks of the study, with the settings of the run's arm and with the run's data."""
        mixture = self.arms[run.arm].mixture if run.arm else self._study.mixture
        return self._variants[run.data].applied(mixture) if run.data else mixture

    def data(self, name: str = "") -> Mapping[str, TaskData]:
        """The data of all tasks in runs that have the data of this name."""
        return {**self._data, **self._variants[name].data} if name else self._data

    def model(self, tasks: Collection[str], stage: str = "") -> Optimisation:
        """The optimiser of a run, with the learning rates filled in."""
        name = self._study.mixture.encoder.name
        return self._study.spec.model.of([original(task) for task in tasks], stage).resolved(self._hidden_size, name)

    def canonical(self, run: Run) -> Run:
        """The run without a stage or an arm that trains its tasks just as the study does elsewhere; so are its sources.

        Two runs that train the same thus have the same name, and are one run.
        """
        tasks = [original(task) for task in run.tasks]
        is_own = self.model(tasks, run.stage) != self.model(tasks) or any(
            self.per_evaluation(task, run.stage) != self.per_evaluation(task, "") for task in tasks
        )
        source = run.source and self.canonical(run.source)
        return replace(run, stage=run.stage if is_own else "", arm=run.arm if self._changes(run) else "", source=source)

    def _changes(self, run: Run) -> bool:
        """Whether the arm of a run changes its tasks or their encoder."""
        if not run.arm:
            return False
        names = list(dict.fromkeys(map(original, run.tasks)))
        own, other = self.mixture(run).only(names), self._study.mixture.only(names)
        return (own.tasks, own.encoder, own.curriculum) != (other.tasks, other.encoder, other.curriculum)

    def _per_evaluation(self, task: str, stage: str, data: str = "") -> int:
        budget, mixture = self._study.spec.budget, self._study.mixture
        amount = budget.of(task, stage)
        wanted = float(amount.updates or 0)
        if amount.updates is None:
            lengths = self.data(data)[task]["train"].lengths
            batcher = Batcher(
                lengths, mixture.batch_size_of(task), 0, task, token_budget=mixture.tokens_per_batch_of(task)
            )
            passes = default_passes(len(lengths)) if amount.passes is None else amount.passes
            wanted = passes * batcher.batches_per_pass
        return math.ceil(wanted / budget.evaluations)
