"""Trains one run of a study and scores each target on test at its selected dev evaluation, or tests a trained run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.batching.data_module import MixtureData
from mtl.config.mixture import Mixture
from mtl.data.examples import prepare
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.surfaces import surface_scores
from mtl.files import make_folder
from mtl.log_filters import filter_logs, quiet_lightning
from mtl.study.design.run_spec import RunSpec
from mtl.study.running.ledger import Counts, Ledger
from mtl.study.running.run_costs import RunCosts, environment
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.training.assembly import build_heads, build_module
from mtl.training.module import MultiTaskModule
from mtl.training.selection import MIXTURE, of_task


def train(run_spec: RunSpec, ledger: Ledger) -> tuple[dict[str, Any], Counts]:
    """Trains a run and returns its result and its counts; stores the encoder in the ledger if other runs need it.

    Args:
        run_spec: Spec of the run.
        ledger: Ledger that has the encoder of the source.

    Raises:
        InputError: The mixture or its data is invalid, or the device ran out of memory.
    """
    costs = RunCosts()
    filter_logs()
    torch.set_num_threads(run_spec.trainer["threads"])
    mixture = Mixture(**run_spec.mixture)
    heads, tokenizer = build_heads(mixture, run_spec.known_tokens)
    data = MixtureData(mixture, heads, tokenizer)
    data.setup()
    module = build_module(mixture, built=(heads, tokenizer), **run_spec.model)
    if run_spec.source is not None:
        own_tokens = {token for head in heads.values() for token in head.special_tokens()} - set(run_spec.known_tokens)
        added = tokenizer.get_added_vocab()
        own_rows = [added[token] for token in own_tokens if token in added]
        _start_from(module, ledger.encoder(run_spec.source), own_rows, keeps_heads=run_spec.keeps_heads)
    data.evaluated = set(run_spec.targets)
    watch = _Watch(run_spec)
    trainer = _trainer(run_spec, [watch, costs])
    with quiet_lightning(), module.memory.problems():
        trainer.fit(module, datamodule=data)
        results = watch.test(trainer, module, data)
    if run_spec.keeps_encoder:
        _keep_state(ledger.encoder(run_spec.key), watch.state())
    labels = {"cost": costs.cost(), **run_spec.labels(), "versions": environment(run_spec)}
    result = {**watch.scores(results, heads), **labels}
    return result, {target: found.stacked_counts() for target, found in results.items()}


def test_source(run_spec: RunSpec, ledger: Ledger) -> tuple[dict[str, Any], Counts]:
    """Tests the source of a run on another corpus, in the state that was selected on dev of the source's own.

    Args:
        run_spec: Spec of the run.
        ledger: Ledger that has the state of the source.

    Raises:
        InputError: The data of the corpus is invalid, or the device ran out of memory.
    """
    costs = RunCosts()
    filter_logs()
    torch.set_num_threads(run_spec.trainer["threads"])
    mixture = Mixture(**run_spec.mixture)
    heads, tokenizer = build_heads(mixture, run_spec.known_tokens)
    data = MixtureData(mixture, heads, tokenizer)
    data.tasks = prepare(mixture, heads, tokenizer, splits=("test",))
    module = build_module(mixture, built=(heads, tokenizer), weights=False, **run_spec.model)
    assert run_spec.source is not None, "there is nothing to test"
    module.load_state_dict(torch.load(ledger.encoder(run_spec.source), weights_only=True))
    trainer = _trainer(run_spec, [costs])
    with quiet_lightning(), module.memory.problems():
        trainer.test(module, datamodule=data, verbose=False)
    ((trained, found),) = module.results["test"].items()
    (target,) = run_spec.targets
    result = {
        "test": {target: _plain(found.scores)},
        "dev": {},
        "primary": {target: heads[trained].primary_metric},
        "selected": {},
        "curve": [],
    }
    labels = {"cost": costs.cost(), **run_spec.labels(), "versions": environment(run_spec)}
    return {**result, **labels}, {target: found.stacked_counts()}


def _trainer(run_spec: RunSpec, callbacks: list[Callback]) -> pl.Trainer:
    with quiet_lightning():
        return pl.Trainer(
            max_epochs=run_spec.evaluations,
            accelerator=run_spec.trainer["accelerator"],
            # To Lightning, 1 means the first GPU, even if this worker was assigned another one.
            devices=[torch.cuda.current_device()] if run_spec.trainer["accelerator"] == "cuda" else 1,
            precision=run_spec.trainer["precision"],
            gradient_clip_val=run_spec.trainer["gradient_clip_val"],
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,  # its tensors cannot be trained after an evaluation
        )


class _Watch(Callback):
    """Records the scores of every evaluation, and keeps the states that were selected for a target."""

    def __init__(self, run_spec: RunSpec) -> None:
        self._run_spec = run_spec
        self._curve: list[dict[str, Any]] = []
        self._best: dict[str, int] = {}
        """Index of the selected evaluation, by the names of `mtl.training.selection`."""
        self._states: dict[int, dict[str, Tensor]] = {}
        self.surfaces: dict[str, dict[str, float | None]] = {}
        """Scores on mentions that occur in train and on others, of targets that find mentions."""

    # The module logs the losses of an epoch after the evaluation at its end.
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note_losses(cast(MultiTaskModule, pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note_losses(cast(MultiTaskModule, pl_module))

    def _note_losses(self, module: MultiTaskModule) -> None:
        if self._curve:
            self._curve[-1]["train_loss"] = dict(module.train_losses)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(MultiTaskModule, pl_module)
        results = module.results["dev"]
        number = len(self._curve)
        scores = {target: results[target].scores for target in self._run_spec.targets}
        self._curve.append({"updates": self._updates(number + 1), "dev": scores})
        selected = module.selection.scores if self._run_spec.select == "last" else module.selection.improved
        self._best |= dict.fromkeys(selected, number)
        if number in self._best.values():
            self._states[number] = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
        self._states = {number: state for number, state in self._states.items() if number in self._best.values()}

    def test(self, trainer: pl.Trainer, module: MultiTaskModule, data: MixtureData) -> dict[str, TaskResult]:
        """Evaluates each target on test, in the state that was selected for it on dev."""
        results: dict[str, TaskResult] = {}
        chosen = {target: self._best[of_task(target)] for target in self._run_spec.targets}
        for number in sorted(set(chosen.values())):
            data.evaluated = {target for target in self._run_spec.targets if chosen[target] == number}
            module.load_state_dict(self._states[number])
            finds_mentions = [target for target in data.evaluated if data.heads[target].mention_types]
            with TemporaryDirectory() as folder:
                module.predictions_folder = Path(folder) if finds_mentions else None
                trainer.test(module, datamodule=data, verbose=False)
                self.surfaces |= _surfaces(module, data, finds_mentions)
            module.predictions_folder = None
            results |= {target: module.results["test"][target] for target in data.evaluated}
        return {target: results[target] for target in self._run_spec.targets}

    def scores(self, results: Mapping[str, TaskResult], heads: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {target: self._best[of_task(target)] for target in self._run_spec.targets}
        return {
            "test": {target: _plain(result.scores) for target, result in results.items()},
            "dev": {target: _plain(self._curve[number]["dev"][target]) for target, number in chosen.items()},
            "primary": {target: heads[target].primary_metric for target in self._run_spec.targets},
            "surfaces": self.surfaces,
            "selected": {target: {"evaluation": number + 1} for target, number in chosen.items()},
            "curve": [
                {**point, "dev": {target: _plain(found) for target, found in point["dev"].items()}}
                for point in self._curve
            ],
        }

    def state(self) -> Mapping[str, Tensor]:
        """Returns the state that was selected for the mean over the targets."""
        return self._states[self._best[MIXTURE]]

    def _updates(self, evaluations: int) -> dict[str, int]:
        quota = self._run_spec.mixture["sampler"]["batches"]
        return {task: evaluations * quota[task] for task in self._run_spec.tasks}


def _surfaces(module: MultiTaskModule, data: MixtureData, targets: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The scores of targets on seen and unseen mentions, from the predictions that an evaluation on test has kept."""
    found: dict[str, dict[str, float | None]] = {}
    for target in targets:
        assert module.kept is not None
        train, test = (data.tasks[target][split].rows for split in ("train", "test"))
        scores = surface_scores(data.heads[target], train, test, dict(module.kept.records(target)))
        if scores is not None:
            found[target] = _plain(scores.scores())
    return found


# --- starting from another run -----------------------------------------------------------------------------------


def _keep_state(path: Path, state: Mapping[str, Tensor]) -> None:
    make_folder(path.parent)
    write_checkpoint(path, partial(torch.save, dict(state)))


def _start_from(module: MultiTaskModule, path: Path, own_rows: Sequence[int], *, keeps_heads: bool) -> None:
    """Loads the encoder of the source, and its heads if they are kept.

    Args:
        module: Module of this run.
        path: Path of the state of the source.
        own_rows: Ids of tokens that the source did not have. They keep their new embeddings, even if the embedding
            table of the source has spare rows with these ids (DeBERTa-v3).
        keeps_heads: Whether heads with the same name start from those of the source.
    """
    state = torch.load(path, weights_only=True)
    own = module.state_dict()
    table = cast(Any, module.encoder.model).get_input_embeddings().weight.detach()
    new = table[list(own_rows)]
    for name, value in state.items():
        is_kept = name.startswith("encoder.") or (keeps_heads and name.startswith("heads."))
        if is_kept and name in own:
            target = own[name]
            if target.dim() and target.shape[0] > value.shape[0]:
                target[: value.shape[0]] = value  # only the token embeddings can have more rows
            else:
                target.copy_(value)
    table[list(own_rows)] = new


# --- details ----------------------------------------------------------------------------------------------------------


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
