"""The shared encoder with a head per task, as Lightning trains it.

Shapes: B examples, S sequences, T tokens, H hidden size.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from heads import Head
from mtl.balancing import Balancing, TaskLoss
from mtl.batching.batch import Batch, TaskPart
from mtl.batching.phase_heads import PhaseHeads
from mtl.distributed import average, average_rows, keep_out_of_ddp, max_over_ranks, share_overflow
from mtl.encoder.compilation import compile_encoder
from mtl.encoder.graphs import obstacle
from mtl.encoder.self_check import check_on_device
from mtl.evaluation.evaluator import Evaluator, TaskResult, on_cpu
from mtl.evaluation.predictions import PredictionFiles
from mtl.hashed_ids import shown_id
from mtl.problems import InputError, Problem
from mtl.seeding import derive, seed_dropout
from mtl.single_precision import InSinglePrecision, single_precision
from mtl.training.averaging import WeightAverage, weight_average
from mtl.training.guard import Guard
from mtl.training.hyperparameters import DECAY, Optimisation
from mtl.training.memory import MemoryWatch
from mtl.training.optimisation import adamw, parameter_groups, schedule
from mtl.training.precision import prepare_products
from mtl.training.selection import MIXTURE, Selection
from mtl.training.train_losses import TrainLosses
from mtl.training.withholding import Mark, MarkedUpdate, Withholding

if TYPE_CHECKING:
    from mtl.data.examples import SplitData
    from mtl.encoder.model import Encoder

_log = logging.getLogger(__name__)

CHECKPOINT_KEY = "biomtl"
"""Key of our entries in a checkpoint. Lightning's own hyper-parameters would silently override the command line."""

SHOWN = 8
"""Number of row ids in a message. All of them are in the run's folder."""


class MultiTaskModule(pl.LightningModule):
    """Routes the parts of a batch through one encoder to their heads.

    It trains on any loader that yields `Batch`es. It evaluates on any if the loader has `splits`, a mapping from tasks
    to `SplitData`, or if the data module has a method `splits`, as `MixtureData` has. The number of updates, which the
    learning-rate schedule needs, comes from the data module if it has `total_updates`, else from the trainer.

    Args:
        encoder: The encoder that all tasks share.
        heads: The head of each task.
        balancing: Method that combines the losses of an update's tasks into one.
        selection: Rule that selects the best evaluation on dev.
        seed: Seed of the run. The dropout of each step is drawn from a stream keyed by the seed and the step, so that a
            resumed run draws the same.
        optimisation: Learning rates, their schedule and averaging; None takes the defaults.
        guard: What happens to updates that would harm the training; None takes the defaults.
        learning_rate_factors: Factor on the learning rate of each task's head; 1 for tasks without one.
        compile: Whether `setup` compiles the encoder.
        cuda_graphs: Whether training replays the encoder's passes as CUDA graphs, where that is possible.
        loss_weights: The loss weight of every task from an update on, in the order of the updates; empty if they do
            not change.
        phase_heads: The head that trains each task, by update, where its options change; None trains `heads`.
            Evaluations always use `heads`, so that their losses compare.
        config: The resolved mixture as plain values, saved in checkpoints.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        balancing: Balancing,
        selection: Selection,
        *,
        seed: int,
        optimisation: Optimisation | None = None,
        guard: Guard | None = None,
        learning_rate_factors: Mapping[str, float] | None = None,
        compile: bool = False,
        cuda_graphs: bool = False,
        loss_weights: Sequence[tuple[int, Mapping[str, float]]] = (),
        phase_heads: PhaseHeads | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = _Heads(dict(heads))
        self.balancing = balancing
        self.selection = selection
        self.optimisation = (optimisation or Optimisation()).resolved(encoder.hidden_size)
        self.stopped: set[str] = set()
        """Tasks that are no longer trained."""
        self.results: dict[str, dict[str, TaskResult]] = {}
        """The latest result of each split, by split and task."""
        self.train_losses: dict[str, float] = {}
        """The mean training loss of each task when it was last logged."""
        self.marked: list[MarkedUpdate] = []
        """Updates that were withheld or whose gradient was clipped as a spike, as far as the host knows."""
        self.predictions_folder: Path | None = None
        """Folder in which evaluation saves the prediction of each row; None saves none."""
        self.predictions_with_text = False
        """Whether saved predictions include the text of their row."""
        self.kept: PredictionFiles | None = None
        """Prediction files of the latest evaluation, one part per rank; None if predictions are not saved."""
        self.memory = MemoryWatch()
        """Knows the batch that the device computes, for the problem if it runs out of memory."""
        self._seed, self._config = seed, dict(config or {})
        self._factors = dict(learning_rate_factors or {})
        self._loss_weights = list(loss_weights)
        self._phase_heads = phase_heads or PhaseHeads(heads)
        self._needs_compile, self._wants_graphs = compile, cuda_graphs
        self._evaluator: Evaluator | None = None
        self._averages: list[WeightAverage] = []
        self._losses = TrainLosses(list(heads))
        self._guard = guard or Guard()
        self._withholding = Withholding(self._guard.spikes)
        self._terms: dict[str, Tensor] = {}
        self._update_trains = self._was_empty = False
        self._update_is_open = False  # between the first batch of an update and its gradient's check
        self._finite_loss: Tensor | None = None
        """Whether the losses of the update so far are finite; on the device, None before the first of them."""
        self._tables: list[nn.Parameter] = []  # a list, because an attribute would register it as a second weight

    def head(self, task: str) -> Head:
        return cast(Head, self.heads[task])

    def _head_at(self, task: str, update: int | None) -> Head:
        return self.head(task) if update is None else self._phase_heads.at(task, update)

    def forward(self, batch: Batch, update: int | None = None) -> dict[str, Tensor]:
        """The logits of each part, by task.

        Args:
            batch: The batch.
            update: Number of the update that trains on it, whose options the heads take; None to evaluate.
        """
        if not batch.parts:
            return {}
        states = self.encoder(batch.input_ids, batch.layout, batch.type_ids)  # [S, T, H]
        with single_precision(states.device):
            return {
                part.task: self._head_at(part.task, update)(
                    states[part.start : part.stop].float(), batch.mask[part.start : part.stop], part.fields
                )
                for part in batch.parts
            }

    # --- before training ------------------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[WeightAverage]:
        self._averages = weight_average(self.optimisation)
        return self._averages

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device.type
        prepare_products(device)
        if stage == "fit":
            self._check_balancing()
            problems = self._guard.problems(str(self.trainer.precision))
            if problems:
                raise InputError(problems)
            if self._wants_graphs:
                self._use_graphs()
        if self._needs_compile:
            self._compile(trains=stage == "fit")
        self._tables = self._tables_outside_ddp(device)
        self._arrange_ddp()

    def _check_balancing(self) -> None:
        """Checks that a method that needs the losses of all tasks at once gets them.

        Raises:
            InputError: Steps are accumulated or gradients are scaled.
        """
        accumulate, precision = self.trainer.accumulate_grad_batches, str(self.trainer.precision)
        problems = self.balancing.training_problems(accumulate=accumulate, precision=precision)
        if problems:
            raise InputError(problems)

    def _check_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Checks that a step has all tasks: a foreign loader may leave some out, and early stopping per task does."""
        missing = [task for task in self.balancing.weights if task not in terms]
        if missing:
            message = (
                f"The balancing method {type(self.balancing).__name__} needs all tasks in every step, got none of"
                f" {', '.join(missing)}."
            )
            raise InputError(
                Problem("balancing.name", message, "Do not stop single tasks early, or choose another one.")
            )

    def _use_graphs(self) -> None:
        """Makes the encoder train with CUDA graphs, or logs why it cannot."""
        if self._needs_compile:
            reason: str | None = "model.compile is set"
        elif self.encoder.is_causal:
            reason = "the encoder is a causal language model"
        elif self.trainer.world_size > 1:
            reason = "DDP averages gradients within the backward pass"
        elif self.trainer.accumulate_grad_batches > 1 or self.balancing.needs == "whole":
            reason = "an update needs several backward passes, which would overwrite each other's gradients"
        else:
            dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(str(self.trainer.precision).split("-")[0])
            device, packs = self.trainer.strategy.root_device, self.encoder.packs
            reason = obstacle(self.encoder.model, packs=packs, device=device, dtype=dtype or torch.float32)
        if reason is None:
            self.encoder.use_graphs()
        else:
            _log.warning("CUDA graphs are off: %s.", reason)

    def _compile(self, *, trains: bool) -> None:
        # Lightning moves and converts the module only after this hook, which then no longer changes the encoder.
        precision = self.trainer.precision_plugin
        precision.convert_module(self.encoder.to(self.trainer.strategy.root_device))
        compile_encoder(self.encoder, precision.forward_context, trains=trains)
        self._needs_compile = False

    def _tables_outside_ddp(self, device: str) -> list[nn.Parameter]:
        """The table of token embeddings, which DDP does not average on a CPU.

        The table holds half of a small encoder's weights, but an update touches only a few hundred of its rows, so
        averaging just these rows sends much less; where the table is also a decoder, it touches all of them. On a GPU,
        finding the rows would make the host wait for the device, so DDP averages the whole table.
        """
        table = cast(nn.Parameter, self.encoder.token_embeddings.weight)
        return [table] if device == "cpu" and table.requires_grad else []

    def _is_table(self, parameter: nn.Parameter) -> bool:
        return any(parameter is other for other in self._tables)

    def _arrange_ddp(self) -> None:
        """Excludes from DDP the parameters that must not move in a step that does not train them.

        DDP would fill their gradients with zeros. They belong to the heads and the balancing;
        `on_before_optimizer_step` averages the gradients of those that were trained. Buffers are excluded too: they
        are constants, but DDP would broadcast them in every pass, also in evaluation, where one rank may have fewer
        batches than another. If the balancing method computes gradients itself, all parameters are excluded.
        """
        own = ("heads.", "balancing.")
        is_whole = self.balancing.needs == "whole"
        outside = {name for name, _ in self.named_buffers()}
        outside |= {
            name
            for name, parameter in self.named_parameters()
            if is_whole or name.startswith(own) or self._is_table(parameter)
        }
        keep_out_of_ddp(self, outside)
        inside = [parameter for name, parameter in self.named_parameters() if name not in outside]
        if not any(parameter.requires_grad for parameter in inside):
            # DDP refuses to wrap a module that has nothing to reduce, as with an encoder that is frozen completely.
            vars(self.trainer.strategy)["configure_ddp"] = lambda: None

    # --- training -------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        with self.trainer.precision_plugin.forward_context():
            check_on_device(self.encoder, self.device)
        self._phase_heads.share_weights(self.device)

    def on_train_end(self) -> None:
        self.encoder.free_graphs()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # One stream per step makes dropout a pure function of seed and step, so evaluating between steps, stopping and
        # resuming change nothing.
        self._update_is_open = batch_idx % self.trainer.accumulate_grad_batches != 0
        draws = batch.draws or (self.trainer.current_epoch, batch_idx)
        seed_dropout(derive(self._seed, "dropout", *draws, self.global_rank), self.device)
        # Log before the step, not after it: checkpoints are saved in between, and a resumed run must continue with the
        # same sums.
        every = cast(Any, self.trainer).log_every_n_steps
        if every and batch_idx % every == 0:
            self._log_losses()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._update_trains = False
        self._set_loss_weights()

    def _set_loss_weights(self) -> None:
        """Sets the loss weights of the current update, a function of its number, so that a resumed run has the same."""
        current = [weights for from_step, weights in self._loss_weights if from_step <= self.global_step]
        if current and current[-1] != self.balancing.weights:
            self.balancing.set_weights(current[-1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        self.memory.begin("training", batch)
        self._update_is_open = True
        if any(part.task in self.stopped for part in batch.parts):
            batch.parts = [part for part in batch.parts if part.task not in self.stopped]
        self._was_empty = not batch.parts
        if self._was_empty:
            return self._no_loss()
        self._update_trains = True
        logits = self(batch, update=self.global_step)
        with single_precision(self.device):
            terms = {part.task: self._term(part, logits[part.task]) for part in batch.parts}
            total = torch.zeros((), device=self.device)
            for term in terms.values():
                total = total + term
        finite = total.detach().isfinite()
        self._finite_loss = finite if self._finite_loss is None else self._finite_loss & finite
        # Lightning divides by the accumulated batches and DDP by the ranks, but the terms already account for both.
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size
        if self.balancing.needs == "whole":
            self._check_terms(terms)
            self._terms = {task: term * scale for task, term in terms.items()}
        return total * scale

    def _term(self, part: TaskPart, logits: Tensor) -> Tensor:
        """This step's and rank's part of a task's term in the loss of the update."""
        total, targets = self._head_at(part.task, self.global_step).loss(logits, part.fields)
        if part.update.share:
            self._losses.add(part.task, total, targets)
        return self.balancing.term(part.task, TaskLoss(total, targets, *part.update))

    def backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        shared = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        self.balancing.backward(loss, self._terms, shared)
        self._terms = {}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.world_size == 1:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            share_overflow(scaler, optimizer)
        # DDP averages the encoder's gradients in the backward pass of an update's last batch, unless that is empty.
        is_all = self._was_empty or self.balancing.needs == "whole"
        modules: list[nn.Module] = [self] if is_all else [self.heads, self.balancing]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        average(p.grad for p in parameters if p.grad is not None and not self._is_table(p))
        for table in self._tables:
            if table.grad is not None:
                average_rows(table.grad)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        by_norm = bool(gradient_clip_val) and gradient_clip_algorithm in (None, "norm")
        finite_loss = self._take_finite_loss()
        if self.trainer.precision == "16-mixed":  # whose gradient scaler withholds updates itself
            self._withholding.note(self.global_step, finite_loss)
        else:
            clip_norm = gradient_clip_val if by_norm else None
            self._withholding.guard(optimizer, self.global_step, clip_norm, finite_loss=finite_loss)
            if by_norm:
                return
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _take_finite_loss(self) -> Tensor:
        """Whether the losses of the update are finite on all ranks, a scalar on the device."""
        own, self._finite_loss, self._update_is_open = self._finite_loss, None, False
        finite = torch.ones((), device=self.device, dtype=torch.bool) if own is None else own
        if self.trainer.world_size == 1:
            return finite
        return max_over_ranks((~finite).to(torch.uint8)) == 0

    def on_train_epoch_end(self) -> None:
        self._log_losses()
        self.balancing.on_epoch_end(self._losses.take_epoch())

    def _no_loss(self) -> Tensor | None:
        """The loss of a batch whose tasks have all stopped. It depends on no weight, so no weight gets a gradient."""
        if self.trainer.precision == "16-mixed" and not self._update_trains:
            return None  # Lightning then skips the step; the fp16 scaler refuses to step without any gradient
        return torch.zeros((), device=self.device, requires_grad=True)

    def _check_finite(self) -> None:
        """Checks the updates since the last check; the host waits for the device.

        An update that still accumulates gradients has no mark yet, so its losses wait for the next check.

        Raises:
            FloatingPointError: A loss or a gradient is not finite and the guard does not allow that, or more updates
                were left out than it allows.
        """
        marked = self._withholding.take()
        self.marked += marked
        left_out = [one for one in self.marked if one.mark == Mark.NOT_FINITE or self._guard.spikes == "skip"]
        has_not_finite = any(one.mark == Mark.NOT_FINITE for one in marked)
        if has_not_finite or (self._losses.has_not_finite and not self._update_is_open):
            self._check_not_finite(len(left_out))
        if marked and len(left_out) > self._guard.limit and self._guard.spikes == "skip":
            message = f"{len(left_out)} updates were left out by step {self.global_step}, the last for a spike of the"
            limit = f"gradient norm. guard.limit allows {self._guard.limit}."
            raise FloatingPointError(f"{message} {limit} Lower model.learning_rate, or clip spikes (guard.spikes).")

    def _check_not_finite(self, num_left_out: int) -> None:
        losses = self._losses.take_not_finite(self.device)
        withheld = [one.update for one in self.marked if one.mark == Mark.NOT_FINITE]
        if self._guard.nonfinite == "skip" and withheld and num_left_out <= self._guard.limit:
            return
        found = f"{len(withheld)} updates were withheld" if withheld else f"update {self.global_step} was not"
        causes = [f"the loss of {task} is not finite" for task in losses] or ["a gradient is not finite"]
        message = f"Training diverged by step {self.global_step}: {' and '.join(causes)}; {found}."
        rows = self._rows_of(withheld[0]) if withheld else ""
        advice = "Lower model.learning_rate, keep trainer.gradient_clip_val, or use trainer.precision=32-true."
        raise FloatingPointError(" ".join(filter(None, [message, rows, advice])))

    def _rows_of(self, update: int) -> str:
        """A sentence with the ids of an update's rows, if the data module can derive them."""
        rows_of_update = getattr(cast(Any, self.trainer).datamodule, "rows_of_update", None)
        if rows_of_update is None:
            return ""
        named = [
            f"{task}: {', '.join(map(shown_id, ids[:SHOWN]))}{', ...' * (len(ids) > SHOWN)}"
            for task, ids in rows_of_update(update).items()
        ]
        return f"The first was update {update} with the rows {'; '.join(named)}."

    def _log_losses(self) -> None:
        """Logs the mean loss of each task since the last log, over all ranks.

        Raises:
            FloatingPointError: A loss or a gradient is not finite.
        """
        means = self._losses.take(self.device)
        self._check_finite()
        self.train_losses |= means
        logged = {f"train/{name}/loss": value for name, value in means.items()}
        if logged and self.balancing.state_dict():
            logged |= {f"balancing/{task}": factor for task, factor in self.balancing.current_factors().items()}
        for logger in self.trainer.loggers if logged else ():
            logger.log_metrics(logged, step=self.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in logged.items()})

    def configure_optimizers(self) -> Any:
        heads = {task: self.head(task) for task in self.heads}
        groups = parameter_groups(self.encoder, heads, self.optimisation, factors=self._factors)
        learned = list(self.balancing.parameters())
        if learned:
            rate = self.balancing.learning_rate
            groups.append({"params": learned, "lr": rate, "weight_decay": 0.0, "name": "balancing"})
        total = self.total_updates()
        factor = schedule(
            self.optimisation.schedule,
            warmup=self.optimisation.warmup_updates(total),
            total=total,
            decay=round((self.optimisation.decay or DECAY) * total),
            decay_to=self.optimisation.decay_to or 0.0,
        )
        optimizer = adamw(groups, scaled=self.trainer.precision == "16-mixed")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def total_updates(self) -> int:
        """The number of updates of the whole training."""
        # With our data, reading `trainer.estimated_stepping_batches` would make a resumed run drop the loader's state.
        known = getattr(cast(Any, self.trainer).datamodule, "total_updates", None)
        return int(self.trainer.estimated_stepping_batches if known is None else known())

    # --- evaluation -----------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._check_finite()
        fitting = self.trainer.state.fn == "fit"
        loop = self.trainer.fit_loop.epoch_loop.val_loop if fitting else self.trainer.validate_loop
        self._evaluator = self._make_evaluator("dev", loop)

    def on_test_epoch_start(self) -> None:
        self._evaluator = self._make_evaluator("test", self.trainer.test_loop)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert self._evaluator is not None
        self.memory.begin("evaluating", batch)
        logits = self(batch)
        with single_precision(self.device):
            self._evaluator.add(batch, logits)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Tensor]]:
        """The outputs that each part's head decodes, by task, on the host."""
        self.memory.begin("predicting", batch)
        logits = self(batch)
        with single_precision(self.device):
            return {
                part.task: on_cpu(
                    self.head(part.task).outputs(logits[part.task], batch.mask[part.start : part.stop], part.fields)
                )
                for part in batch.parts
            }

    def on_validation_epoch_end(self) -> None:
        self._finish("dev", "val")

    def on_test_epoch_end(self) -> None:
        self._finish("test", "test")

    def on_validation_end(self) -> None:
        for callback in self._averages:  # only now, because callbacks have saved the weights that were evaluated
            callback.swap_back(self)

    def _make_evaluator(self, split: str, loop: Any) -> Evaluator:
        splits = self._splits(split, loop._combined_loader.iterables)
        self.kept = None
        if self.predictions_folder is not None and not self.trainer.sanity_checking:
            folder = self.predictions_folder / split
            self.kept = PredictionFiles(folder, splits, with_text=self.predictions_with_text)
        # The heads of tasks that are only evaluated stay as they are.
        tune = self.selection.primary_metrics if split == "dev" and not self.trainer.sanity_checking else ()
        return Evaluator({name: self.head(name) for name in self.heads}, splits, tune=tune, files=self.kept)

    def _splits(self, split: str, loader: Any) -> Mapping[str, SplitData]:
        """The rows and examples that a loader evaluates, by task.

        Raises:
            InputError: Neither the loader nor the data module knows them.
        """
        if hasattr(loader, "splits"):
            return cast("Mapping[str, SplitData]", loader.splits)
        data = cast(Any, self.trainer).datamodule
        if hasattr(data, "splits"):
            return cast("Mapping[str, SplitData]", data.splits(split))
        message = f"The loader of {split} must have `splits`, a mapping from tasks to SplitData, or its data module a"
        message += f" method `splits(split)`; got a {type(loader).__name__}."
        raise InputError(Problem(f"{split} loader", message, "Predictions are scored against these rows."))

    def _finish(self, split: str, prefix: str) -> None:
        assert self._evaluator is not None
        results = self._evaluator.finish()
        self._evaluator = None
        self.results[split] = results
        if self.kept is not None:
            self.kept.close()
        if self.trainer.sanity_checking:
            return
        scores = {f"{prefix}/{task}/{name}": value for task, r in results.items() for name, value in r.scores.items()}
        if split == "dev":
            self.selection.add({task: result.scores for task, result in results.items()})
            scores["val/selection"] = self.selection.scores[MIXTURE]
        self.log_dict(scores, rank_zero_only=False)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_finite()
        checkpoint[CHECKPOINT_KEY] = {
            "mixture": self._config,
            "model": asdict(self.optimisation),
            "stopped": sorted(self.stopped),
            "losses": self._losses.state_dict(self.device),
            "train_losses": dict(self.train_losses),
            "selection": self.selection.state_dict(),
            "marked": [[one.update, int(one.mark)] for one in self.marked],
            "norms": self._withholding.state_dict(),
            "precision": str(self.trainer.precision),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint[CHECKPOINT_KEY]
        self.stopped = set(ours["stopped"])
        self.train_losses = dict(ours["train_losses"])
        self.selection.load_state_dict(ours["selection"])
        self._losses.load_state_dict(ours["losses"])
        self.marked = [MarkedUpdate(update, Mark(mark)) for update, mark in ours.get("marked", [])]
        self._withholding.load_state_dict(ours.get("norms", {}))


class _Heads(InSinglePrecision, nn.ModuleDict):
    """The heads by task; they compute in fp32."""
