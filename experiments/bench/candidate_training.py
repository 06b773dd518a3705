"""One candidate of `cpu_candidates.py`: trains a plain loop with it and measures it, in a process of its own.

    python experiments/bench/candidate_training.py lazy_rows JOB figures.json

JOB is JSON: the mixture file, the seed, and the numbers of updates of the warm-up and of the window.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from contestants import batch_loss, our_batches
from lazy_rows import LazyTable
from meter import LEARNING_RATE, QUIET, seeded
from torch import Tensor, nn
from torch.nn.functional import pad

from mtl.encoder.compilation import compile_encoder
from mtl.encoder.packing import Layout
from mtl.training.assembly import build_data, build_module
from mtl.training.hyperparameters import Optimisation
from mtl.training.optimisation import adamw, parameter_groups, schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mtl.batching.batch import Batch
    from mtl.config.mixture import Mixture
    from mtl.encoder.model import Encoder

BUCKET = 256
"""Numbers of tokens that `compiled_static` compiles are multiples of it."""

PARTS = ("forward", "backward", "clipping", "optimiser")
"""Parts of an update that are timed."""


class Now:
    """A plain loop in fp32 with the model, optimiser, clipping and schedule of the present code.

    Args:
        mixture: Mixture of the benchmark.
        batches: All batches of the measurement.
    """

    def __init__(self, mixture: Mixture, batches: Sequence[Batch]) -> None:
        self.module = build_module(mixture, learning_rate=LEARNING_RATE).train()
        self.encoder: Encoder = self.module.encoder
        self.prepare(batches)
        optimisation = Optimisation(learning_rate=LEARNING_RATE, weight_decay=0.01)
        heads = {task: self.module.head(task) for task in self.module.heads}
        self.optimizer = adamw(parameter_groups(self.encoder, heads, optimisation, factors={}), scaled=False)
        factor = schedule("linear", warmup=round(0.1 * len(batches)), total=len(batches))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.parts = dict.fromkeys(PARTS, 0.0)

    def prepare(self, batches: Sequence[Batch]) -> None:
        """Changes the module before the optimiser is made."""

    def update(self, batch: Batch) -> None:
        """One update of the weights, with the time of its parts."""
        with self.timed("forward"):
            loss = batch_loss(self.module, batch)
        with self.timed("backward"):
            loss.backward()
        with self.timed("clipping"):
            nn.utils.clip_grad_norm_(self.trained(), 1.0)
        with self.timed("optimiser"):
            self.step()
            self.scheduler.step()
            self.optimizer.zero_grad()

    def trained(self) -> list[Tensor]:
        """The tensors whose gradients are clipped."""
        return list(self.module.parameters())

    def step(self) -> None:
        """Moves the weights."""
        self.optimizer.step()

    def tokens(self, batch: Batch) -> int:
        """Tokens that linear layers compute."""
        return batch.layout.num_tokens

    def checks(self) -> dict[str, float]:
        """Further figures after the window."""
        return {}

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.parts[part] += time.perf_counter() - started


class Compiled(Now):
    """`--model.compile true`."""

    def prepare(self, batches: Sequence[Batch]) -> None:
        compile_encoder(self.encoder)


class CompiledStatic(Now):
    """One code per number of tokens."""

    def prepare(self, batches: Sequence[Batch]) -> None:
        torch._dynamo.config.recompile_limit = 64  # more than there are numbers of tokens
        self.encoder.model.compile(dynamic=False)
        self.encoder.forward = partial(filled, self.encoder)  # type: ignore[method-assign]  # for a measurement
        # A batch for each number, so that nothing is compiled in the window.
        for batch in {self.tokens(batch): batch for batch in batches}.values():
            batch_loss(self.module, batch).backward()
        self.module.zero_grad()

    def tokens(self, batch: Batch) -> int:
        return -(-batch.layout.num_tokens // BUCKET) * BUCKET


def filled(encoder: Encoder, input_ids: Tensor, layout: Layout, type_ids: Tensor | None = None) -> Tensor:
    """States [B, T, H] as the encoder gives them, computed with sequences of one token after those of the batch."""
    missing = -layout.num_tokens % BUCKET
    room = Layout([*layout.lengths, *[1] * missing])  # the longest first, so that the filling is last
    row = {"input_ids": input_ids, "position_ids": layout.positions + encoder._first_position}
    if type_ids is not None and getattr(encoder.config, "type_vocab_size", 0) > 1:
        row["token_type_ids"] = type_ids
    inputs = {name: pad(values, (0, missing))[None] for name, values in row.items()}
    states: Tensor = encoder.model(**inputs, layout=room).last_hidden_state[0, : layout.num_tokens]
    return layout.states(states)


class LazyRows(Now):
    """AdamW on the rows of the batch only."""

    def prepare(self, batches: Sequence[Batch]) -> None:
        self._initial = self.encoder.token_embeddings.weight.detach().clone()
        self.table = LazyTable(self.encoder.token_embeddings, weight_decay=0.01)
        self.encoder.model.set_input_embeddings(self.table)  # type: ignore[operator]  # of transformers
        self._history: list[tuple[float, Tensor, Tensor]] = []

    def trained(self) -> list[Tensor]:
        return [*self.module.parameters(), self.table.leaf]

    def step(self) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        self.table.step(rate)
        assert self.table.leaf.grad is not None
        self._history.append((rate, self.table.rows, self.table.leaf.grad))
        self.optimizer.step()

    def checks(self) -> dict[str, float]:
        """The time to make up for all rows, and the largest difference from dense AdamW with the same gradients."""
        started = time.perf_counter()
        self.table.catch_up()
        seconds = time.perf_counter() - started
        weight = nn.Parameter(self._initial.clone())
        weight.grad = torch.zeros_like(weight)
        dense = torch.optim.AdamW([weight], weight_decay=0.01, fused=True)
        for rate, rows, gradient in self._history:
            weight.grad.zero_().index_copy_(0, rows, gradient)
            dense.param_groups[0]["lr"] = rate
            dense.step()
        difference = float((weight.detach() - self.table.weight).abs().max())
        return {"all_rows_seconds": seconds, "largest_difference": difference}


CANDIDATES: dict[str, type[Now]] = {
    "now": Now,
    "compiled": Compiled,
    "compiled_static": CompiledStatic,
    "lazy_rows": LazyRows,
}


def main(arguments: Sequence[str]) -> None:
    """Trains with one candidate and writes its figures."""
    name, text, out = arguments
    job = argparse.Namespace(**json.loads(text))
    mixture, warmup = seeded(job), job.warmup
    batches = our_batches(mixture, warmup + job.updates)
    started = time.perf_counter()
    candidate = CANDIDATES[name](mixture, batches)
    prepared_in = time.perf_counter() - started
    for batch in batches[:warmup]:
        candidate.update(batch)
    candidate.parts = dict.fromkeys(PARTS, 0.0)
    started = time.perf_counter()
    for batch in batches[warmup:]:
        candidate.update(batch)
    figures: dict[str, Any] = {
        "seconds": time.perf_counter() - started,
        "updates": job.updates,
        "real_tokens": sum(batch.layout.num_tokens for batch in batches[warmup:]),
        "computed_tokens": sum(candidate.tokens(batch) for batch in batches[warmup:]),
        "preparing_seconds": prepared_in,
        "parts": candidate.parts,
        **candidate.checks(),
    }
    if name == "now":
        figures["assembling_seconds"] = assembling(mixture, job.updates)
    Path(out).write_text(json.dumps(figures), encoding="utf-8")


def assembling(mixture: Mixture, number: int) -> float:
    """Median seconds in which the loader of a training makes a batch from the cache."""
    import pytorch_lightning as pl

    times: list[float] = []

    class Timer(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def on_train_start(self) -> None:
            batches = iter(data.train_dataloader())
            for _ in range(number):
                started = time.perf_counter()
                next(batches)
                times.append(time.perf_counter() - started)
            self.trainer.should_stop = True

        def training_step(self, batch: Batch, batch_idx: int) -> None:
            return None

        def configure_optimizers(self) -> None:
            return None

    data = build_data(mixture)
    trainer = pl.Trainer(**QUIET, max_epochs=1, limit_val_batches=0, num_sanity_val_steps=0)
    trainer.fit(Timer(), datamodule=data)
    return median(times)


if __name__ == "__main__":
    main(sys.argv[1:])
