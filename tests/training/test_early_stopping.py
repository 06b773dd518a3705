import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.batching.data_module import MixtureData
from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training.early_stopping import early_stopping
from mtl.training.saving import checkpoint_callbacks

Write = Callable[..., Path]
Train = Callable[..., Any]

PRIMARY = {"cause": "accuracy", "drugs": "f1", "risk": "pearson", "bleed": "accuracy"}


class PresetScores:
    """Replaces the primary scores of the evaluations by preset ones, so that the right decisions are known."""

    def __init__(self, scores: dict[str, list[float]], *then: Callable[[Any, MixtureData], None]) -> None:
        self._scores, self._then = scores, then

    def __call__(self, module: Any, data: MixtureData) -> None:
        for task, values in self._scores.items():
            module.head(task).score = self._replaced(task, module.head(task).score, iter(values))
        for before in self._then:
            before(module, data)

    @staticmethod
    def _replaced(task: str, score: Callable[[Tensor], dict[str, float]], values: Iterator[float]) -> Any:
        return lambda counts: {**score(counts), PRIMARY[task]: next(values)}


def folder_in(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "toy", 1)


def per_task(patience: int, min_delta: float = 0.0) -> list[Callback]:
    return early_stopping(patience=patience, min_delta=min_delta, per_task=True)


def test_without_patience_nothing_stops() -> None:
    assert early_stopping(patience=None, min_delta=0.0, per_task=True) == []


def test_training_stops_if_the_mean_score_does_not_improve(toy_mixture: Write, train: Train) -> None:
    callbacks = early_stopping(patience=2, min_delta=0.5, per_task=False)
    trained = train(load_mixture(toy_mixture()), callbacks=callbacks, max_epochs=9)
    assert trained.trainer.current_epoch == 3  # the first evaluation is the best; two more are not better by 0.5


def test_a_task_that_does_not_improve_stops_and_the_others_continue(toy_mixture: Write, train: Train) -> None:
    rising = [0.1 * n for n in range(6)]
    scores = {"cause": rising, "drugs": [0.5, 0.6, 0.6, 0.6, 0.9, 0.9], "risk": rising, "bleed": rising}
    trained_tasks: list[set[str]] = [set() for _ in range(6)]
    rates: dict[str, list[float]] = {"with": [], "without": []}
    inputs: dict[str, list[Any]] = {"with": [], "without": []}

    def look(kind: str) -> Callable[[Any, MixtureData], None]:
        def before(module: Any, data: MixtureData) -> None:
            start = module.on_train_batch_start

            def note(batch: Any, batch_idx: int) -> None:
                start(batch, batch_idx)
                tasks = {part.task for part in batch.parts}
                if kind == "with":
                    trained_tasks[module.trainer.current_epoch] |= tasks
                rates[kind].append(module.trainer.optimizers[0].param_groups[0]["lr"])
                inputs[kind].append((sorted(tasks), batch.input_ids.tolist(), torch.initial_seed()))

            module.on_train_batch_start = note

        return before

    mixture = load_mixture(toy_mixture())
    train(mixture, callbacks=per_task(patience=2), before=PresetScores(scores, look("with")), max_epochs=6)
    everything = set(PRIMARY)
    assert trained_tasks == [everything] * 4 + [everything - {"drugs"}] * 2  # stops after two evaluations at 0.6
    train(mixture, before=look("without"), max_epochs=6, limit_val_batches=0)
    assert rates["with"] == rates["without"]
    for one, other in zip(inputs["with"], inputs["without"], strict=True):
        assert one == other or (one[0] == [] and other[0] == ["drugs"])


def test_a_rise_below_min_delta_is_not_an_improvement(toy_mixture: Write, train: Train) -> None:
    scores = {task: [0.5, 0.505, 0.509, 0.52] for task in PRIMARY}
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, callbacks=per_task(patience=2, min_delta=0.01), before=PresetScores(scores), max_epochs=4)
    assert trained.trainer.current_epoch == 3


def test_training_ends_when_every_task_has_stopped(toy_mixture: Write, train: Train) -> None:
    scores = {
        "cause": [0.5] * 6,
        "drugs": [0.5, 0.6, 0.6, 0.6, 0.6, 0.6],
        "risk": [0.5] * 6,
        "bleed": [0.5, 0.6, 0.7, 0.7, 0.7, 0.7],
    }
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, callbacks=per_task(patience=1), before=PresetScores(scores), max_epochs=6)
    assert trained.trainer.current_epoch == 4  # `bleed` continues alone, on the batches of `cause`, and stops last
    assert trained.module.stopped == set(PRIMARY)


def test_tasks_that_share_the_batches_of_a_stopped_task_continue_on_them(toy_mixture: Write, train: Train) -> None:
    heads: list[dict[str, Tensor]] = []

    class Look(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            heads.append({name: value.detach().clone() for name, value in pl_module.heads.state_dict().items()})

    scores = {"cause": [0.5] * 3, "drugs": [0.1, 0.2, 0.3], "risk": [0.1, 0.2, 0.3], "bleed": [0.1, 0.2, 0.3]}
    mixture = load_mixture(toy_mixture())
    callbacks = [*per_task(patience=1), Look()]
    train(mixture, callbacks=callbacks, before=PresetScores(scores), max_epochs=3, model={"schedule": "constant"})
    moved = {name.split(".")[0] for name in heads[1] if not torch.equal(heads[1][name], heads[2][name])}
    assert moved == {"drugs", "risk", "bleed"}


def test_a_stopped_task_stays_stopped_in_a_resumed_run(toy_mixture: Write, train: Train, tmp_path: Path) -> None:
    mixture, folder = load_mixture(toy_mixture()), folder_in(tmp_path)
    scores = {"cause": [0.1, 0.2], "drugs": [0.5, 0.5], "risk": [0.3, 0.4], "bleed": [0.1, 0.2]}
    callbacks = [*per_task(patience=1), *checkpoint_callbacks(folder, list(PRIMARY))]
    train(mixture, callbacks=callbacks, before=PresetScores(scores), enable_checkpointing=True, max_epochs=2)
    again = {"cause": [0.2, 0.2], "drugs": [0.9, 0.9], "risk": [0.5, 0.6], "bleed": [0.3, 0.4]}
    callbacks = [*per_task(patience=1), *checkpoint_callbacks(folder, list(PRIMARY))]
    path = folder.resolve_checkpoint("last")
    options = {"callbacks": callbacks, "enable_checkpointing": True, "max_epochs": 3, "ckpt_path": path}
    resumed = train(mixture, before=PresetScores(again), **options)
    assert resumed.module.stopped == {"drugs", "cause"}  # `cause` had 0.2 before, so 0.2 is not an improvement


def test_an_undefined_score_does_not_count_as_an_evaluation(toy_mixture: Write, train: Train) -> None:
    scores = {task: [0.5, math.nan, math.nan, 0.6] for task in PRIMARY}
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, callbacks=per_task(patience=1), before=PresetScores(scores), max_epochs=4)
    assert trained.module.stopped == set()


def test_the_mixture_is_compared_over_the_tasks_that_have_a_score(toy_mixture: Write, train: Train) -> None:
    undefined = [math.nan] * 6
    scores = {"cause": [0.1, 0.2, 0.3, 0.3, 0.3, 0.9], "drugs": undefined, "risk": undefined, "bleed": undefined}
    callbacks = early_stopping(patience=2, min_delta=0.0, per_task=False)
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, callbacks=callbacks, before=PresetScores(scores), max_epochs=6)
    assert trained.trainer.current_epoch == 5  # the third is the best, and two more are not better
