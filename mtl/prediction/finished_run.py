"""A finished run whose best checkpoint scores rows: those of its own data, or those of another corpus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from pytorch_lightning.callbacks import Callback
from torch import Tensor

from heads import Example, Head, Prediction, Row
from mtl.batching.batch import Batch
from mtl.batching.data_module import MixtureData
from mtl.batching.loaders import EvaluationLoader
from mtl.data.examples import SplitData, prepare
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.log_filters import quiet_lightning
from mtl.prediction.one_device import available_precision, one_device_trainer
from mtl.prediction.trained_model import TrainedModel
from mtl.problems import InputError, Problem, did_you_mean

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mtl.config.mixture import DataSpec
    from mtl.evaluation.evaluator import TaskResult


class RowOutputs(NamedTuple):
    """A row with its examples and the head's outputs for each of them."""

    row: Row
    examples: list[Example]
    outputs: list[Tensor]


class Scored(NamedTuple):
    """The result of a task on a split, and its predictions by row id."""

    result: TaskResult
    predictions: dict[str, Prediction]


class FinishedRun:
    """The best checkpoint of a run.

    Args:
        run: Folder of a run, or a checkpoint in it.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; only one device is supported.

    Raises:
        InputError: There is no such run or checkpoint.
    """

    def __init__(self, run: str | Path, trainer: Mapping[str, Any] | None = None) -> None:
        self.model = TrainedModel(run)
        self.folder = self.model.folder
        self.mixture = self.model.mixture
        self._options = dict(trainer or {})

    def require(self, task: str) -> None:
        """Checks that the run has a task.

        Raises:
            InputError: It does not.
        """
        if task not in self.mixture.tasks:
            raise InputError(Problem("--task", f"There is no task '{task}'.", did_you_mean(task, self.mixture.tasks)))

    def head(self, task: str) -> Head:
        """The trained head of a task."""
        return self.model.module.head(task)

    def temperature(self, task: str) -> float:
        """By what the logits of a task are to be divided: 1 unless `mtl calibrate` has calibrated this checkpoint."""
        return self.model.temperatures.get(task, 1.0)

    def split(self, task: str, split: str, data: DataSpec | None = None) -> SplitData:
        """A split, encoded for a task of the run.

        Args:
            task: Name of the task.
            split: train, dev or test.
            data: Data of another corpus; None takes that of the task.

        Raises:
            InputError: There is no such split, or its rows are missing or invalid.
        """
        spec = self.mixture.tasks[task]
        spec = spec if data is None else spec.model_copy(update={"data": data})
        known = read_rows(spec.data, f"tasks.{task}.data", Store())
        if split not in known:
            whose = f"The task '{task}'" if data is None else "The corpus"
            raise InputError(Problem("--split", f"{whose} has no split '{split}'.", did_you_mean(split, known)))
        mixture = self.mixture.only([task])
        mixture = mixture.model_copy(update={"tasks": {task: spec.model_copy(update={"same_rows_as": None})}})
        return prepare(mixture, {task: self.head(task)}, self.model.tokenizer, splits=(split,))[task][split]

    def score(self, task: str, content: SplitData) -> Scored:
        """The scores and predictions of a task.

        Args:
            task: Name of the task.
            content: Rows that `split` encoded for the task.

        Raises:
            InputError: The device ran out of memory.
        """
        loader = self._loader(task, content)
        module = self.model.module
        with TemporaryDirectory() as folder, quiet_lightning(), module.memory.problems():
            module.predictions_folder = Path(folder)
            try:
                self.trainer.test(module, dataloaders=loader, verbose=False)
                assert module.kept is not None
                predictions = dict(module.kept.records(task))
            finally:
                if module.kept is not None:
                    module.kept.discard()
        return Scored(module.results["test"][task], predictions)

    def outputs(self, task: str, content: SplitData) -> Iterator[RowOutputs]:
        """What the head puts out for each row that has examples, which keep their gold.

        Args:
            task: Name of the task.
            content: Rows that `split` encoded for the task.

        Raises:
            InputError: The device ran out of memory.
        """
        collector = _Outputs(task)
        self.trainer.callbacks.append(collector)  # type: ignore[attr-defined]
        try:
            with quiet_lightning(), self.model.module.memory.problems():
                self.trainer.predict(self.model.module, self._loader(task, content), return_predictions=False)
        finally:
            self.trainer.callbacks.remove(collector)  # type: ignore[attr-defined]
        for number, pairs in sorted(collector.pairs.items()):
            ordered = sorted(pairs, key=lambda pair: pair[0]["part"])
            yield RowOutputs(content.rows[number], [one for one, _ in ordered], [output for _, output in ordered])

    @cached_property
    def trainer(self) -> pl.Trainer:
        """The trainer that evaluates, in the precision of the training if the device has it."""
        precision = available_precision(self.model.precision, str(self._options.get("accelerator", "auto")))
        return one_device_trainer({"precision": precision, **self._options})

    def _loader(self, task: str, content: SplitData) -> EvaluationLoader:
        data = MixtureData(self.mixture.only([task]), {task: self.head(task)}, self.model.tokenizer)
        data.tasks = {task: {"test": content}}
        return EvaluationLoader(data, "test")


class _Outputs(Callback):
    """Collects the outputs of a task by row."""

    def __init__(self, task: str) -> None:
        self._task = task
        self.pairs: dict[int, list[tuple[Example, Tensor]]] = defaultdict(list)

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        for part in batch.parts:
            for example, output in zip(part.examples, outputs[self._task], strict=True):
                self.pairs[example["row"]].append((example, output))
