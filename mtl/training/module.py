"""The shared encoder with a head per task, as Lightning trains it.

Shapes: B examples, T tokens, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from heads import Head
from mtl.batching.batch import Batch
from mtl.distributed import average_rows
from mtl.encoder.compilation import compile_encoder
from mtl.evaluation.evaluator import Evaluator, TaskResult, on_cpu
from mtl.evaluation.predictions import PredictionFiles
from mtl.seeding import derive
from mtl.training.optimisation import Schedule, adamw, parameter_groups, schedule

if TYPE_CHECKING:
    from mtl.batching.data_module import MixtureData
    from mtl.config.mixture import EvaluationSpec
    from mtl.encoder.model import Encoder

CHECKPOINT_KEY = "biomtl"
"""Where a checkpoint keeps what is ours. Lightning's own hyper-parameters would silently beat the command line."""


class MultiTaskModule(pl.LightningModule):
    """Routes the parts of a batch through one encoder to their heads.

    Args:
        encoder: Shared by all tasks.
        heads: By task.
        evaluation: What selects checkpoints.
        config: Plain values to keep in checkpoints: the resolved mixture.
        loss_weights: Of the tasks, for the dev loss that is logged.
        seed: Dropout of a step is drawn from a stream keyed by it, so that a resumed run draws the same.
        learning_rate: Peak, of the encoder.
        head_learning_rate: Peak, of heads; None takes `learning_rate`.
        learning_rate_factors: On the rate of each head.
        weight_decay: Of everything but biases and norms.
        warmup: Share of all updates.
        schedule: After the warm-up.
        compile: Whether `setup` compiles the encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        evaluation: EvaluationSpec,
        *,
        config: Mapping[str, Any],
        seed: int,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
        learning_rate_factors: Mapping[str, float] | None = None,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        schedule: Schedule = "linear",
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = _InSinglePrecision(dict(heads))
        self.results: dict[str, dict[str, TaskResult]] = {}
        """The latest result of each split, by split and task."""
        self.predictions_folder: Path | None = None
        """Where evaluation keeps each row's prediction; None keeps none."""
        self.kept: PredictionFiles | None = None
        """The predictions of the latest evaluation, where they are kept, in parts."""
        self._evaluation = evaluation
        self._config = dict(config)
        self._seed = seed
        self._rates = (learning_rate, learning_rate if head_learning_rate is None else head_learning_rate)
        self._factors = dict(learning_rate_factors or {})
        self._weight_decay, self._warmup, self._schedule = weight_decay, warmup, schedule
        self._awaits_compiling = compile
        self._evaluator: Evaluator | None = None
        self.train_losses: dict[str, float] = {}
        """The mean training loss per task that was logged last."""
        self._losses: dict[str, Tensor] = {}
        self._update_trains = self._was_empty = False
        self._apart: list[nn.Parameter] = []  # in a list, or the module would take the table for one more weight
        cast(Any, self).register_load_state_dict_pre_hook(_without_double)

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device.type
        self.encoder.settle(device, str(self.trainer.precision))
        if self._awaits_compiling:
            self._compile(trains=stage == "fit")
        self._apart = self._rows_reduced_apart(device)
        # A head without a batch in a step must not move, so its gradient must stay None: DDP would fill it with
        # zeros. Heads stay outside DDP, and `on_before_optimizer_step` averages the gradients of those that trained.
        outside = {f"heads.{name}" for name, _ in self.heads.named_parameters()}
        # Buffers are constants. DDP would broadcast them with every pass, also in evaluation, where one rank may have
        # fewer batches than another.
        outside |= {name for name, _ in self.named_buffers()}
        outside |= {name for name, parameter in self.named_parameters() if self._is_apart(parameter)}
        cast(Any, DistributedDataParallel)._set_params_and_buffers_to_ignore_for_model(self, outside)
        left = [parameter for name, parameter in self.named_parameters() if name not in outside]
        if not any(parameter.requires_grad for parameter in left):
            # DDP refuses to wrap what it has nothing to reduce of, as with an encoder that is frozen as a whole.
            vars(self.trainer.strategy)["configure_ddp"] = lambda: None

    def _compile(self, *, trains: bool) -> None:
        # Lightning moves and converts the module after this hook; an encoder that is there already stays as it is.
        precision = self.trainer.precision_plugin
        precision.convert_module(self.encoder.to(self.trainer.strategy.root_device))
        compile_encoder(self.encoder, precision.forward_context, trains=trains)
        self._awaits_compiling = False

    def _is_apart(self, parameter: nn.Parameter) -> bool:
        return any(parameter is other for other in self._apart)

    def _rows_reduced_apart(self, device: str) -> list[nn.Parameter]:
        """The table of word pieces, whose gradient on a CPU is not DDP's business.

        It is half of a small encoder's weights, and an update touches a few hundred of its rows, so that averaging
        these alone sends a small part of it. On a GPU, where finding them would wait for the device, DDP sends all.
        """
        get_table = getattr(self.encoder.model, "get_input_embeddings", None)
        table = None if get_table is None or device != "cpu" else get_table().weight
        return [table] if table is not None and table.requires_grad else []

    @property
    def optimisation(self) -> dict[str, Any]:
        """The options of `model` that decide how weights move, by name."""
        return {
            "learning_rate": self._rates[0],
            "head_learning_rate": self._rates[1],
            "weight_decay": self._weight_decay,
            "warmup": self._warmup,
            "schedule": self._schedule,
        }

    def head(self, task: str) -> Head:
        return cast(Head, self.heads[task])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The logits of each part's task."""
        if not batch.parts:
            return {}
        states = self.encoder(batch.input_ids, batch.mask, batch.type_ids)  # [B, T, H]
        with _single_precision(states.device):
            return {
                part.task: self.heads[part.task](
                    states[part.start : part.stop].float(), batch.mask[part.start : part.stop], part.fields
                )
                for part in batch.parts
            }

    # --- training -------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # One stream per step makes dropout a pure function of seed and step: evaluation between steps, a stop and a
        # resume change nothing.
        torch.manual_seed(derive(self._seed, "dropout", self.trainer.current_epoch, batch_idx, self.global_rank))
        # Before the step rather than after it: checkpoints are saved in between, and a resumed run must go on with
        # the same sums.
        every = cast(Any, self.trainer).log_every_n_steps
        if every and batch_idx % every == 0:
            self._log_losses()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._update_trains = False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        self._was_empty = not batch.parts
        if self._was_empty:
            return self._no_loss()
        self._update_trains = True
        logits = self(batch)
        with _single_precision(self.device):
            total = torch.zeros((), device=self.device)
            for part in batch.parts:
                loss, count = self.head(part.task).loss(logits[part.task], part.fields)
                total = total + part.scale * loss
                if part.scale:
                    self._note_loss(part.task, loss.detach(), count)
        # Lightning divides by the accumulated batches and DDP by the ranks; `scale` has already counted all of them.
        return total * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.world_size == 1:
            return
        # DDP averages the encoder's gradients in the backward pass of an update's last batch, unless that is empty.
        for parameter in (self if self._was_empty else self.heads).parameters():
            if parameter.grad is not None and not self._is_apart(parameter):
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.trainer.world_size
        for table in self._apart:
            if table.grad is not None:
                average_rows(table.grad)

    def on_train_epoch_end(self) -> None:
        self._log_losses()

    def _no_loss(self) -> Tensor | None:
        """The loss of a batch whose tasks have all stopped: it hangs on no weight, so that none gets a gradient."""
        if self.trainer.precision == "16-mixed" and not self._update_trains:
            return None  # Lightning then leaves out the step, which fp16's scaler refuses without any gradient
        return torch.zeros((), device=self.device, requires_grad=True)

    def _note_loss(self, task: str, loss: Tensor, count: Tensor) -> None:
        """Adds up on the device, so that no step waits for a number to reach the host."""
        pair = torch.stack([loss.float(), count.float()])
        self._losses[task] = self._losses[task].to(pair.device) + pair if task in self._losses else pair

    def _log_losses(self) -> None:
        """Mean loss per task since the last time, over all ranks."""
        means = {name: loss / count for name, (loss, count) in self._summed_losses().items()}
        self._losses = {}
        lost = {name: value for name, value in means.items() if not math.isfinite(value)}
        if lost:
            names = ", ".join(f"{name} ({value})" for name, value in lost.items())
            advice = "Lower model.learning_rate, keep trainer.gradient_clip_val, or use trainer.precision=32-true."
            raise FloatingPointError(f"Training diverged by step {self.global_step}: the loss of {names}. {advice}")
        self.train_losses |= means
        logged = {f"train/{name}/loss": value for name, value in means.items()}
        for logger in self.trainer.loggers if logged else ():
            logger.log_metrics(logged, step=self.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in logged.items()})

    def _summed_losses(self) -> dict[str, list[float]]:
        """Sum and count per task since the last log, over all ranks; nothing for a task that wasn't trained."""
        pairs = torch.stack([self._losses.get(name, torch.zeros(2)).to(self.device) for name in self.heads])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(pairs)
        return {name: pair for name, pair in zip(self.heads, pairs.tolist(), strict=True) if pair[1]}

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(
            self.encoder,
            {task: self.head(task) for task in self.heads},
            learning_rate=self._rates[0],
            head_learning_rate=self._rates[1],
            factors=self._factors,
            weight_decay=self._weight_decay,
        )
        # Not `trainer.estimated_stepping_batches`: reading it here makes a resume drop the loader's state.
        total = self._data.total_updates()
        factor = schedule(self._schedule, warmup=round(self._warmup * total), total=total)
        optimizer = adamw(groups, scaled=self.trainer.precision == "16-mixed")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # --- evaluation -----------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._evaluator = self._make_evaluator("dev")

    def on_test_epoch_start(self) -> None:
        self._evaluator = self._make_evaluator("test")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert self._evaluator is not None
        logits = self(batch)
        with _single_precision(self.device):
            self._evaluator.add(batch, logits)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Tensor]]:
        """What each part's head needs to decode its examples, on the host."""
        logits = self(batch)
        with _single_precision(self.device):
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

    def _make_evaluator(self, split: str) -> Evaluator:
        tune = split == "dev" and not self.trainer.sanity_checking
        splits = self._data.splits(split)
        self.kept = None
        if self.predictions_folder is not None and not self.trainer.sanity_checking:
            with_text = self._data.mixture.privacy.log_text
            self.kept = PredictionFiles(self.predictions_folder / split, splits, with_text=with_text)
        return Evaluator({name: self.head(name) for name in self.heads}, splits, tune=tune, files=self.kept)

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
            scores["val/selection"] = self.selection_score(results)
        self.log_dict(scores, rank_zero_only=False)

    def selection_score(self, results: Mapping[str, TaskResult]) -> float:
        """What selects checkpoints, higher is better; lower-is-better metrics enter with a minus.

        It is no number where a task it needs was not scored, since a part never stands for the whole.
        """
        select = self._evaluation.select
        if "/" in select:
            task, metric = select.split("/", 1)
            value = results[task].scores[metric]
            return -value if metric in self.head(task).lower_is_better else value
        primary = {task: result.scores[self.head(task).primary_metric] for task, result in results.items()}
        if select == "worst":
            return math.nan if any(map(math.isnan, primary.values())) else min(primary.values())
        weights = {task: self._evaluation.weights.get(task, 1.0) if select == "weighted" else 1.0 for task in primary}
        return sum(weights[task] * value for task, value in primary.items()) / sum(weights.values())

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # A relation task reads two shapes of rows; a prediction must read raw text as the training read its rows.
        row_types = {name: type(data["train"].rows[0]).__name__ for name, data in self._data.tasks.items()}
        checkpoint[CHECKPOINT_KEY] = {
            "mixture": self._config,
            "model": self.optimisation,
            "stopped": sorted(self._data.stopped),
            "losses": self._summed_losses(),
            "train_losses": dict(self.train_losses),
            "row_types": row_types,
            "precision": str(self.trainer.precision),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint.get(CHECKPOINT_KEY, {})
        self._data.stopped.update(ours.get("stopped", []))
        self.train_losses = dict(ours.get("train_losses", {}))
        if self.global_rank == 0:  # the sums are those of all ranks together
            self._losses = {task: torch.tensor(pair) for task, pair in ours.get("losses", {}).items()}

    @property
    def _data(self) -> MixtureData:
        return cast("MixtureData", cast(Any, self.trainer).datamodule)


class _InSinglePrecision(nn.ModuleDict):
    """Modules that follow the others to a device, and stay in fp32 whatever Lightning turns the others to."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype != tensor.dtype else moved

        return cast(Self, cast(Any, super())._apply(move, recurse))


@contextmanager
def _single_precision(device: torch.device) -> Iterator[None]:
    """In fp32, as heads compute: they cost little, and in bf16 a score has 8 bits, which ties what should be ranked.

    That is without autocast, and without the default that Lightning sets where all weights are in another precision.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(default)


def _without_double(module: nn.Module, state: dict[str, Any], *_: Any) -> None:
    """Checkpoints of earlier versions held the table of word pieces a second time."""
    state.pop("_word_rows", None)
