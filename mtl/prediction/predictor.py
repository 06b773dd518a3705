"""The checkpoint of a run, loaded once, which predicts any number of inputs.

Everything that predicts text uses it: `mtl predict`, a served model, the page in the browser, the spaCy component.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm.auto import tqdm

from mtl.batching.batch import Batch
from mtl.config import components
from mtl.config.mixture import Mixture, TaskSpec
from mtl.log_filters import quiet_lightning
from mtl.prediction.input_job import AcceptedInput, InputJob
from mtl.prediction.input_options import InputOptions
from mtl.prediction.inputs import Given, Input, open_input
from mtl.prediction.label_sets import set_quantiles, with_set
from mtl.prediction.one_device import available_precision, one_device_trainer
from mtl.prediction.output_records import as_record
from mtl.prediction.pipeline import Decoded, Pipeline
from mtl.prediction.soft_labels import tagging_tasks
from mtl.prediction.trained_model import TrainedModel
from mtl.problems import InputError, Problem, did_you_mean
from mtl.writers import PredictedRow

Take = Callable[[Iterable[dict[str, Any]]], None]
"""Takes the records of the next finished rows."""


class Predictor:
    """The checkpoint of a run, whose weights are loaded by the first prediction and kept.

    Calls from several threads wait for each other.

    Args:
        checkpoint: Folder of a run to use its best checkpoint, or the last one if none was selected on dev; or a
            checkpoint file.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; only one device is supported.

    Raises:
        InputError: There is no such run, or no undamaged checkpoint of this framework.
    """

    def __init__(self, checkpoint: str | Path, trainer: Mapping[str, Any] | None = None) -> None:
        self.model = TrainedModel(checkpoint)
        self.mixture = self.model.mixture
        given = dict(trainer or {})
        trained = self.model.precision
        self.options = {"precision": available_precision(trained, str(given.get("accelerator", "auto"))), **given}
        """Options of Lightning's trainer."""
        self._lock = RLock()

    def load(self) -> None:
        """Loads the weights now instead of at the first prediction."""
        _ = self.model.module

    def predict(
        self,
        rows: Iterable[Given],
        *,
        tasks: Sequence[str] | None = None,
        mentions: Sequence[str] = (),
        on_bad_row: Literal["error", "skip"] = "error",
        coverage: float | None = None,
        probabilities: bool = False,
    ) -> list[dict[str, Any]]:
        """The predictions of texts, as lines of the JSON lines output of `mtl predict`.

        Args:
            rows: The texts: strings, objects as in JSON lines, or rows.
            tasks: As in `task_names`.
            mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``.
            on_bad_row: Whether rows that cannot be predicted are an error or left out.
            coverage: 0.8, 0.9, 0.95 or 0.99: adds to each task that chooses one label the `set` of labels that contains
                the right one with this probability; None adds none.
            probabilities: Whether tasks that tag words give the probabilities of the tags of each word too.

        Raises:
            InputError: A task name or a text is invalid, no task is calibrated for the coverage, or none tags words.
        """
        with self._lock, quiet_lightning():
            names = task_names(self.mixture, tasks)
            job = self.job(self.open(rows, names), names, mentions)
            accepted = job.check(skips=on_bad_row == "skip")
            quantiles = set_quantiles(self.model.calibration, names, coverage, None)
            tagging = tagging_tasks({name: job.heads[name] for name in names}, None, wanted=probabilities)
            found = self.found(job, accepted, range(accepted.num_rows), quantiles, tagging)
            return [row.to_dict() for row in found]

    def open(
        self,
        rows: str | Path | Iterable[Given],
        names: Sequence[str],
        options: InputOptions = InputOptions(),  # noqa: B008  # immutable
    ) -> Input:
        """An input for some tasks, see `open_input`."""
        return open_input(rows, [self.mixture.tasks[name] for name in names], options)

    def job(self, source: Input, names: Sequence[str], mentions: Sequence[str] = ()) -> InputJob:
        """The tasks that predict an input, not yet checked.

        Args:
            source: The input.
            names: Names of the tasks.
            mentions: As in `predict`.
        """
        heads = {name: self.model.heads[name] for name in names}
        specs = self.mixture.tasks
        return InputJob(source, heads, kinds=self.model.rows, choices=mentions, all_heads=self.model.heads, specs=specs)

    def found(
        self,
        job: InputJob,
        accepted: AcceptedInput,
        wanted: range,
        quantiles: Mapping[str, float] | None = None,
        tagging: Collection[str] = (),
    ) -> Iterator[PredictedRow]:
        """Rows of a checked input with their predictions, all of which are held in memory; see `run`."""
        records: list[dict[str, Any]] = []
        self.run(job, accepted, wanted, records.extend, quantiles, tagging=tagging)
        return job.predicted(accepted, wanted, records)

    def run(
        self,
        job: InputJob,
        accepted: AcceptedInput,
        wanted: range,
        take: Take,
        quantiles: Mapping[str, float] | None = None,
        *,
        tagging: Collection[str] = (),
        done: int | None = None,
    ) -> Mapping[str, int]:
        """Predicts rows of a checked input, and returns how many of them each task truncated at its maximum length.

        Args:
            job: The input and its tasks.
            accepted: What its check found.
            wanted: Numbers of the rows.
            take: Takes the records of the next rows.
            quantiles: The conformal quantile of each task that gets sets of labels.
            tagging: Tasks whose predictions get the probabilities of the tags of each word.
            done: Number of wanted rows that were predicted earlier, for the progress bar; None disables it.
        """
        remaining = (one.row for one in islice(job.rows(accepted), wanted.start + (done or 0), wanted.stop))
        with self._lock:
            live = {name: self.model.module.head(name) for name in job.heads}
            options: Any = {"sources": job.sources, "temperatures": self.model.temperatures, "completes": job.completes}
            options["tagging"] = tagging
            pipeline = Pipeline(remaining, live, self.model.tokenizer, self.mixture, self.model.rows, **options)
            bar = tqdm(initial=done or 0, total=len(wanted), unit="row", desc="predict", disable=done is None)
            collector = _Collector(pipeline, take, job.names, quantiles or {}, bar)
            trainer = one_device_trainer(self.options, [collector])
            trainer.predict(self.model.module, _PipelineLoader(pipeline), return_predictions=False)
        return pipeline.num_cut

    def memory_problems(self) -> AbstractContextManager[None]:
        """A context in which running out of memory on the device is a problem that says what to do about it.

        `run` does not do this itself, because a server must not answer that the request is wrong. The context raises
        InputError.
        """
        return self.model.module.memory.problems()

    def num_texts(self, task: str) -> int | None:
        """Number of texts of each row on which a task was trained; None if it was both, or is not known."""
        return self.model.rows.num_texts.get(task)

    def fitting(self, names: Iterable[str], num_texts: int) -> list[str]:
        """The tasks, of some, that were trained on rows of this number of texts; those of which it is not known too."""
        return [name for name in names if self.num_texts(name) in (None, num_texts)]


class _Collector(Callback):
    """Passes outputs to the pipeline and finished rows on.

    Args:
        pipeline: The pipeline.
        take: Takes the records of the next rows.
        names: Names of the tasks that are written.
        quantiles: The conformal quantile of each task that gets sets of labels.
        bar: Shows the number of finished rows.
    """

    def __init__(
        self, pipeline: Pipeline, take: Take, names: Sequence[str], quantiles: Mapping[str, float], bar: Any
    ) -> None:
        self._pipeline, self._take, self._names, self._bar = pipeline, take, names, bar
        self._quantiles = quantiles

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._pipeline.add(batch, outputs)
        self._pass_on()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pass_on()
        self._bar.close()
        assert not self._pipeline.num_waiting, "a row was not predicted"

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()

    def _record(self, name: str, decoded: Decoded) -> dict[str, Any]:
        record = as_record(decoded.prediction, decoded.row, decoded.scores)
        return with_set(record, self._quantiles.get(name))

    def _pass_on(self) -> None:
        finished = [
            {name: self._record(name, decoded[name]) for name in self._names}
            for _, decoded in self._pipeline.take_finished()
        ]
        if finished:
            self._take(finished)
            self._bar.update(len(finished))


class _PipelineLoader:
    """The batches of a pipeline, as a loader that Lightning accepts."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._pipeline)


def task_names(mixture: Mixture, tasks: Sequence[str] | None = None) -> list[str]:
    """The tasks of a mixture to predict.

    Args:
        mixture: The mixture.
        tasks: Names of tasks; None takes all tasks except self-supervised ones.

    Raises:
        InputError: There is no such task, or it predicts nothing.
    """
    names = list(dict.fromkeys(tasks or mixture.tasks))
    unknown = [name for name in names if name not in mixture.tasks]
    if unknown:
        raise InputError(
            [Problem("--task", f"There is no task '{n}'.", did_you_mean(n, mixture.tasks)) for n in unknown]
        )
    predicted = [name for name in names if not _is_self_supervised(mixture.tasks[name])]
    if predicted and not tasks:
        return predicted
    learned = [name for name in names if name not in predicted]
    if learned:
        message = f"must name tasks that predict something about a text; {', '.join(learned)} learned from texts alone."
        raise InputError(Problem("--task", message, f"Choices: {', '.join(predicted)}." if predicted else ""))
    return names


def _is_self_supervised(spec: TaskSpec) -> bool:
    return bool(components.find("head", spec.head, "head").self_supervised)
