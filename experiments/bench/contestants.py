"""One contestant of the throughput benchmark: trains a window of updates and measures it.

    python experiments/bench/contestants.py ours --mixture FILE --seed 0 --warmup 10 --updates 40 --out figures.json

`throughput.py` starts these, each in a process of its own. All read the same encoded examples with the same batch size.
Packages of a single contestant are imported inside its function, so that they do not slow down the start of others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from meter import LEARNING_RATE, QUIET, Meter, seeded
from other_frameworks import edsnlp, hf_best, hf_default, tasknet_best, tasknet_default

if TYPE_CHECKING:
    from torch import Tensor

    from heads import Example
    from mtl.batching.batch import Batch
    from mtl.batching.data_module import MixtureData
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule

# --- ours -------------------------------------------------------------------------------------------------------------


def ours(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """`mtl fit` with its defaults, MLflow and progress bar included, but no evaluation and no checkpoint.

    The precision is what the default has found for the whole benchmark: found again by each process, it could differ
    between two that are compared.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

    from mtl.commands import fit as lightning

    StrategyRegistry.register("ddp_bf16", DDPStrategy, "gradients sent in bf16", ddp_comm_hook=bf16_compress_hook)
    found: dict[str, Any] = {}

    class Ending(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            found.update(precision=str(trainer.precision), optimizer="AdamW, fused", **encoder_size(pl_module))
            found.update(over_ranks(trainer, meter.figures()))

    def before_fit(cli: Any) -> None:
        cli.trainer.callbacks += [window(meter, options.warmup, options.updates), Ending()]

    lightning.MixtureCLI.before_fit = before_fit  # type: ignore[attr-defined]  # which Lightning's command line calls
    lightning.main(
        [
            *("fit", "--mixture", str(options.mixture), f"--mixture.seed={options.seed}"),
            *(f"--trainer.max_steps={options.warmup + options.updates}", "--trainer.max_epochs=-1"),
            *("--trainer.limit_val_batches=0", "--trainer.enable_checkpointing=false"),
            *("--run.baselines=false", f"--run.root={options.mixture.parent / 'runs'}"),
            *(f"--trainer.precision={options.precision}", *options.arguments),
        ]
    )
    return found


def window(meter: Meter, warmup: int, updates: int) -> Any:
    """A callback of Lightning that measures a window of updates of ours."""
    import pytorch_lightning as pl

    class Window(pl.Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            encoder = pl_module.encoder
            meter.watch(encoder if encoder.has_graphs else encoder.model)
            meter.begin(warmup, updates)

        def on_train_batch_end(self, *_: Any) -> None:
            meter.update_done()

    return Window()


def over_ranks(trainer: Any, figures: dict[str, Any]) -> dict[str, Any]:
    """What all processes of a training read together, in the time of the slowest."""
    for name, value in figures.items():
        how = "sum" if name in ("examples", "real_tokens", "padded_tokens", "squared_lengths") else "max"
        total = trainer.strategy.reduce(torch.tensor(float(value), dtype=torch.float64), reduce_op=how)
        figures[name] = type(value)(float(total))
    return figures


def encoder_size(module: MultiTaskModule) -> dict[str, Any]:
    """What the formula of the model's operations needs."""
    from torch import nn

    tables = sum(m.weight.numel() for m in module.encoder.modules() if isinstance(m, nn.Embedding))
    return {
        "parameters": sum(parameter.numel() for parameter in module.encoder.parameters()) - tables,
        "layers": int(module.encoder.config.num_hidden_layers),
        "hidden_size": module.encoder.hidden_size,
    }


def evaluation(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """A training pass and an evaluation of the very same examples, both timed whole."""
    import pytorch_lightning as pl

    from mtl.training.assembly import build_data, build_module

    mixture = seeded(options)
    module, data = build_module(mixture, learning_rate=LEARNING_RATE), build_data(mixture)
    data.setup()
    for splits in data.tasks.values():
        splits["dev"] = splits["train"]
    quiet = {**QUIET, "precision": options.precision}
    trainer = pl.Trainer(**quiet, max_epochs=1, gradient_clip_val=1.0, limit_val_batches=0)
    started = time.perf_counter()
    trainer.fit(module, datamodule=data)
    trained = time.perf_counter()
    pl.Trainer(**quiet).validate(module, datamodule=data, verbose=False)
    return {"training_seconds": trained - started, "evaluation_seconds": time.perf_counter() - trained}


# --- the ceiling ------------------------------------------------------------------------------------------------------


def bare(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """A plain loop over the very batches of `ours`, which are ready in memory before the first update."""
    mixture = seeded(options)
    started = time.perf_counter()
    batches = our_batches(mixture, options.warmup + options.updates)
    loading_seconds = time.perf_counter() - started
    return {"loading_seconds": loading_seconds, **bare_loop(options, meter, mixture, batches)}


def sorted_padded(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """The same loop over batches of similar length, padded to their longest text, as version 0.1.0 made them.

    The tasks follow each other as in `ours`. Padding is computed like text, which takes as long as masking it.
    """
    from mtl.batching.batch import ExampleGroup, UpdateShare, collate
    from mtl.training.assembly import build_data

    mixture = seeded(options)
    tasks = [batch.parts[0].task for batch in our_batches(mixture, options.warmup + options.updates)]
    data = build_data(mixture)
    data.setup()
    streams = {task: windows(data, task, options.seed) for task in set(tasks)}
    batches, lengths = [], []
    for task in tasks:
        examples = next(streams[task])
        lengths.append(torch.tensor([len(example["input_ids"]) for example in examples]))
        padded = [padded_to(example, int(lengths[-1].max()), data.tokenizer.pad_token_id) for example in examples]
        share = UpdateShare(sum(example["targets"] for example in examples))
        batches.append(collate([ExampleGroup({task: padded}, {task: share})], data.heads))
    figures = bare_loop(options, meter, mixture, batches)
    real = torch.cat(lengths[options.warmup :])
    return {**figures, "real_tokens": int(real.sum()), "squared_lengths": int((real**2).sum())}


def windows(data: MixtureData, task: str, seed: int, *, size: int = 50) -> Iterator[Sequence[Example]]:
    """Batches of similar length without end: the examples of `size` batches are sorted, and these batches shuffled."""
    import numpy as np

    train, number = data.tasks[task]["train"], data.mixture.batch_size
    random = np.random.default_rng(seed)
    while True:
        drawn = random.permutation(len(train.lengths))
        for start in range(0, len(drawn), size * number):
            window = drawn[start : start + size * number]
            window = window[np.argsort(train.lengths[window], kind="stable")]
            batches = [window[place : place + number] for place in range(0, len(window), number)]
            for place in random.permutation(len(batches)):
                yield train.examples.take(batches[place])


def padded_to(example: Example, length: int, pad: int) -> Example:
    """The example with padding as further tokens."""
    missing = length - len(example["input_ids"])
    padded = {**example, "input_ids": [*example["input_ids"], *[pad] * missing]}
    if example.get("token_type_ids") is not None:
        padded["token_type_ids"] = [*example["token_type_ids"], *[0] * missing]
    return padded


def rank_balance(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """How evenly two ranks share the tokens of each full batch of a pass, with a batch of its own for each rank."""
    from mtl.batching.batcher import shards
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data

    number = 2 * load_mixture(options.mixture).batch_size
    data = build_data(load_mixture(options.mixture, [f"seed={options.seed}", f"batch_size={number}"]))
    data.setup()
    found = []
    for ref in itertools.chain.from_iterable(data.schedule.epoch(0)):
        lengths = data.tasks[ref.task]["train"].lengths[data.schedule.indices(ref)]
        if len(lengths) == number:
            found.append(max(2 * lengths[shards([lengths], rank, 2)[0]].sum() / lengths.sum() for rank in range(2)))
    if not found:
        raise ValueError(f"no task has the {number} examples of a full batch of two ranks; raise --examples")
    return {"rank_balance": float(max(found))}


def bare_loop(options: argparse.Namespace, meter: Meter, mixture: Mixture, batches: Sequence[Batch]) -> dict[str, Any]:
    """Trains on batches that are ready in memory, with the model, optimiser, clipping and precision of `ours`."""
    from torch import nn

    from mtl.training.assembly import build_module
    from mtl.training.optimisation import adamw, schedule

    module = build_module(mixture, learning_rate=LEARNING_RATE)
    optimizer = adamw(groups_of(module), scaled=False)
    factor = schedule("linear", warmup=round(0.1 * len(batches)), total=len(batches))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    meter.watch(module.encoder.model)
    meter.begin(options.warmup, options.updates)
    module.train()
    for batch in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bf16-mixed"):
            loss = batch_loss(module, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        meter.update_done()
    return {
        "precision": options.precision,
        "optimizer": "AdamW, fused",
        **encoder_size(module),
        **meter.figures(),
    }


def groups_of(module: MultiTaskModule) -> list[dict[str, Any]]:
    """The parameter groups with which `ours` trains at its defaults."""
    from mtl.training.hyperparameters import Optimisation
    from mtl.training.optimisation import parameter_groups

    heads = {task: module.head(task) for task in module.heads}
    optimisation = Optimisation(learning_rate=LEARNING_RATE, weight_decay=0.01)
    return parameter_groups(module.encoder, heads, optimisation, factors={})


def batch_loss(module: MultiTaskModule, batch: Batch) -> Tensor:
    """The loss of an update that is one batch."""
    from mtl.balancing import TaskLoss

    logits = module(batch)
    losses = [
        module.balancing.term(
            part.task,
            TaskLoss(*module.head(part.task).loss(logits[part.task], part.fields), *part.update),
        )
        for part in batch.parts
    ]
    return torch.stack(losses).sum()


def our_batches(mixture: Mixture, number: int) -> list[Batch]:
    """The first batches that our data module gives to a trainer."""
    import pytorch_lightning as pl

    from mtl.training.assembly import build_data

    batches: list[Batch] = []

    class Collector(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Batch, batch_idx: int) -> None:
            batches.append(batch)
            self.trainer.should_stop = len(batches) == number

        def configure_optimizers(self) -> None:
            return None

    trainer = pl.Trainer(**QUIET, max_epochs=-1, max_steps=number, limit_val_batches=0, num_sanity_val_steps=0)
    trainer.fit(Collector(), datamodule=build_data(mixture))
    return batches


# --- the processor ----------------------------------------------------------------------------------------------------


def gemm(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """The most floating-point operations per second that a matrix product reaches, in fp32 and in bf16."""
    shapes = [(1344, 384, 1536), (1344, 1536, 384), (1344, 384, 384), (2048, 2048, 2048)]
    peaks = {
        name: max(product_rate(dtype, *shape) for shape in shapes)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    return {"flops": peaks}


def product_rate(dtype: torch.dtype, rows: int, inner: int, columns: int) -> float:
    """Operations per second of one shape: the best of some tries, each of 20 ms or more."""
    left, right = torch.rand(rows, inner, dtype=dtype), torch.rand(columns, inner, dtype=dtype)
    best = 0.0
    for _ in range(6):  # the first is a warm-up
        done, started = 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < 0.02:
            torch.nn.functional.linear(left, right)
            done += 1
        best = max(best, 2 * rows * inner * columns * done / taken)
    return best


# --- running one ------------------------------------------------------------------------------------------------------


RUNNERS: dict[str, Callable[[argparse.Namespace, Meter], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        *(ours, evaluation, rank_balance, bare, sorted_padded),
        *(hf_default, hf_best, tasknet_default, tasknet_best, edsnlp, gemm),
    )
}


def main(arguments: Sequence[str]) -> None:
    """Runs one contestant and writes its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runner", choices=list(RUNNERS))
    parser.add_argument("--mixture", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"], default="32-true", help="the faster one")
    parser.add_argument("--edsnlp", type=Path, help="environment of EDS-NLP")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    options, options.arguments = parser.parse_known_args(arguments)  # the others are for `mtl fit`
    figures = RUNNERS[options.runner](options, Meter())
    figures.setdefault("threads", torch.get_num_threads())
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:  # Lightning starts the other processes of DDP with this command too
        options.out.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
