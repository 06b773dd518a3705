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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from meter import QUIET, Meter

if TYPE_CHECKING:
    from torch import Tensor

    from heads import Example
    from mtl.batching.batch import Batch
    from mtl.batching.data_module import MixtureData
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule

LEARNING_RATE = 5e-5
"""Learning rate of every contestant: the default of all three frameworks."""


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """`mtl fit` with its defaults, MLflow and progress bar included, but no evaluation and no checkpoint.

    The precision is what the default has found for the whole benchmark: found anew by each process, it could differ
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
    from mtl.batching.batcher import shard
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data

    number = 2 * load_mixture(options.mixture).batch_size
    data = build_data(load_mixture(options.mixture, [f"seed={options.seed}", f"batch_size={number}"]))
    data.setup()
    found = []
    for ref in itertools.chain.from_iterable(data.schedule.epoch(0)):
        lengths = data.tasks[ref.task]["train"].lengths[data.schedule.indices(ref)]
        if len(lengths) == number:
            found.append(max(2 * lengths[shard(lengths, rank, 2)].sum() / lengths.sum() for rank in range(2)))
    if not found:
        raise ValueError(f"no task has the {number} examples of a full batch of two ranks; raise --examples")
    return {"rank_balance": float(max(found))}


def bare_loop(options: argparse.Namespace, meter: Meter, mixture: Mixture, batches: Sequence[Batch]) -> dict[str, Any]:
    """Trains on batches that are ready in memory, with the model, optimiser, clipping and precision of `ours`."""
    from torch import nn

    from mtl.training.assembly import build_module
    from mtl.training.hyperparameters import Optimisation
    from mtl.training.optimisation import adamw, parameter_groups, schedule

    device, graphs = getattr(options, "device", "cpu"), getattr(options, "graphs", False)
    module = build_module(mixture, learning_rate=LEARNING_RATE).to(device)
    if graphs:
        module.encoder.use_graphs()
    batches = [batch.to(device) for batch in batches]
    groups = parameter_groups(
        module.encoder,
        {task: module.head(task) for task in module.heads},
        Optimisation(learning_rate=LEARNING_RATE, weight_decay=0.01),
        factors={},
    )
    optimizer = adamw(groups, scaled=False)
    factor = schedule("linear", warmup=round(0.1 * len(batches)), total=len(batches))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    meter.watch(module.encoder if graphs else module.encoder.model)
    meter.begin(options.warmup, options.updates)
    module.train()
    for batch in batches:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=options.precision == "bf16-mixed"):
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


# --- transformers.Trainer, one task after another ---------------------------------------------------------------------


def hf_default(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Random batches and fp32, as the Trainer has them."""
    return train_hf(options, meter, best=False)


def hf_best(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Batches of similar length, the faster precision, and eager attention, which is faster on a CPU than SDPA."""
    return train_hf(options, meter, best=True)


def counter_of_updates(meter: Meter) -> Any:
    """A callback of transformers' Trainer, on which tasknet's stands as well."""
    from transformers import TrainerCallback

    class Counter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.update_done()

    return Counter()


def train_hf(options: argparse.Namespace, meter: Meter, *, best: bool) -> dict[str, Any]:
    """Each task has as many updates as `ours` has of it; every training has a warm-up of its own."""
    from parity_training import FedTrainer
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        PrinterCallback,
        TrainingArguments,
    )

    from mtl.training.assembly import build_data

    mixture = seeded(options)
    data = build_data(mixture)
    data.setup()
    in_bf16 = best and options.precision == "bf16-mixed"
    shares = own_updates(data, options.warmup, options.updates)
    warmup = max(2, options.warmup // len(shares))
    for task, updates in shares.items():
        train = data.tasks[task]["train"]
        arguments = TrainingArguments(
            str(options.mixture.parent / "hf"),
            use_cpu=getattr(options, "device", "cpu") == "cpu",
            dataloader_num_workers=getattr(options, "loader_workers", 0),
            bf16=in_bf16,
            seed=options.seed,
            max_steps=warmup + updates,
            per_device_train_batch_size=mixture.batch_size,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **({"train_sampling_strategy": "group_by_length"} if best else {}),
        )
        first = next(iter(train.examples))
        collator = DataCollatorForTokenClassification if "tags" in first else DataCollatorWithPadding
        model = hf_model(peer_encoder(options), data, task, first, attention="eager" if best else None)
        trainer = FedTrainer(
            model,
            arguments,
            data_collator=collator(data.tokenizer),
            train_dataset=[peer_features(example) for example in train.examples],
        )
        if best:
            trainer.batches = grouped(train.lengths.tolist(), mixture.batch_size, warmup + updates, options.seed)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(counter_of_updates(meter))
        meter.watch(model.base_model)
        meter.begin(warmup, updates)
        trainer.train()
    return {
        "precision": "bf16-mixed" if in_bf16 else "32-true",
        "optimizer": str(arguments.optim),
        "updates_of": dict(shares),
        **meter.figures(),
    }


def own_updates(data: MixtureData, warmup: int, updates: int) -> Counter[str]:
    """How many updates of our window train each task, in the order of the mixture."""
    slots = itertools.chain.from_iterable(data.schedule.epoch(epoch) for epoch in itertools.count())
    counts = Counter(pick.task for slot in itertools.islice(slots, warmup, warmup + updates) for pick in slot)
    return Counter({task: counts[task] for task in data.mixture.leaders() if counts[task]})


def grouped(lengths: Sequence[int], batch_size: int, number: int, seed: int) -> list[list[int]]:
    """Batches as transformers' sampler groups them, in random order.

    Its own order begins with the longest examples of all, so that a window of a few updates would see long ones only.
    """
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < number:
        order = list(LengthGroupedSampler(batch_size, lengths=list(lengths), generator=generator))
        cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        batches += [cut[place] for place in torch.randperm(len(cut), generator=generator).tolist()]
    return batches[:number]


def hf_model(encoder: Path, data: MixtureData, task: str, first: Example, attention: str | None) -> Any:
    """The class of transformers' own that such a task calls for."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    chosen: dict[str, Any] = {"trust_remote_code": False}
    chosen |= {} if attention is None else {"attn_implementation": attention}
    labels = peer_labels(data, task)
    if "tags" in first:
        return AutoModelForTokenClassification.from_pretrained(encoder, num_labels=len(labels), **chosen)
    kind = problem_type(peer_features(first)["labels"])
    return AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(labels) or 1, problem_type=kind, **chosen
    )


def peer_encoder(options: argparse.Namespace) -> Path:
    """The encoder with room for the tokens that our heads added, as `bench_data.prepare` left it beside the mixture."""
    return Path(options.mixture).parent / "encoder"


def problem_type(label: Any) -> str:
    """What transformers calls a task with such labels.

    >>> problem_type(2.5), problem_type(1), problem_type([1.0, 0.0])
    ('regression', 'single_label_classification', 'multi_label_classification')
    """
    kinds = {float: "regression", list: "multi_label_classification"}
    return kinds.get(type(label), "single_label_classification")


def peer_labels(data: MixtureData, task: str) -> list[str]:
    """The classes that a peer's head tells apart: tags of entities, or labels; none for a number."""
    head: Any = data.heads[task]
    return [str(label) for label in getattr(head, "tags", getattr(head, "labels", ()))]


def peer_features(example: Example) -> dict[str, Any]:
    """An encoded example in the form of Hugging Face's scripts.

    >>> peer_features({"input_ids": [101, 7, 102], "label": [1]})
    {'input_ids': [101, 7, 102], 'labels': 1}
    """
    if "tags" in example:
        from parity_training import features

        return features(example)
    if "labels" in example:
        label: Any = [float(value) for value in example["labels"]]
    else:
        label = example["label"]
        label = label[0] if isinstance(label, list) else label
    inputs = {name: example[name] for name in ("input_ids", "token_type_ids") if example.get(name) is not None}
    return {**inputs, "labels": label}


# --- tasknet ----------------------------------------------------------------------------------------------------------


def tasknet_default(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Random batches, trimmed to their longest example, and fp32."""
    return train_tasknet(options, meter, best=False)


def tasknet_best(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """The faster precision, eager attention, and length grouping, which it accepts and ignores."""
    return train_tasknet(options, meter, best=True)


def train_tasknet(options: argparse.Namespace, meter: Meter, *, best: bool) -> dict[str, Any]:
    """The model and trainer of tasknet, with proportional sampling as we have it, over our encoded examples."""
    import evaluate

    # tasknet loads its metrics from a hub as it is imported; nothing is scored here, so nothing needs them.
    evaluate.load = lambda *_, **__: None
    import tasknet
    from transformers import PrinterCallback

    from mtl.training.assembly import build_data

    mixture = seeded(options)
    data = build_data(mixture)
    data.setup()
    in_bf16 = best and options.precision == "bf16-mixed"
    hyper_parameters: dict[str, Any] = {
        "model_name": str(peer_encoder(options)),
        "max_length": mixture.encoder.max_length,
        "per_device_train_batch_size": mixture.batch_size,
        "learning_rate": LEARNING_RATE,
        "max_steps": options.warmup + options.updates,
        "seed": options.seed,
        "output_dir": str(options.mixture.parent / "tasknet"),
        "use_cpu": True,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if best:
        hyper_parameters |= {
            "bf16": in_bf16,
            "attn_implementation": "eager",
            "train_sampling_strategy": "group_by_length",
        }
    tasks = [tasknet_task(tasknet, data, name) for name in data.mixture.leaders()]
    model = tasknet.Model(tasks, hyper_parameters)
    trainer = tasknet.Trainer(model, tasks, hyper_parameters, tokenizer=data.tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(counter_of_updates(meter))
    for own in model.task_models_list:
        meter.watch(own.base_model)
    meter.begin(options.warmup, options.updates)
    trainer.train()
    return {
        "precision": "bf16-mixed" if in_bf16 else "32-true",
        "optimizer": str(trainer.args.optim),
        **meter.figures(),
    }


def tasknet_task(tasknet: Any, data: MixtureData, name: str) -> Any:
    """A tasknet task whose texts are already tokens, padded as tasknet pads its own."""
    import datasets

    train = data.tasks[name]["train"].examples
    labels = peer_labels(data, name)
    records = [peer_features(example) for example in train]
    records = [{key: record[key] for key in ("input_ids", "labels")} for record in records]
    parts = {"train": records, "validation": records[:2], "test": records[:2]}
    pad_id = data.tokenizer.pad_token_id
    is_tagging = isinstance(records[0]["labels"], list) and "tags" in next(iter(train))

    class Encoded(tasknet.TokenClassification if is_tagging else tasknet.Classification):  # type: ignore[misc]
        def preprocess_function(self, example: Mapping[str, Any]) -> dict[str, Any]:
            ids = example["input_ids"]
            room = self.tokenizer_kwargs["max_length"] - len(ids)
            label = [*example["labels"], *[-100] * room] if is_tagging else example["labels"]
            mask = [1] * len(ids) + [0] * room
            return {
                "input_ids": [*ids, *[pad_id] * room],
                "attention_mask": mask,
                "labels": label,
                "task": [self.index],
            }

    splits = datasets.DatasetDict({split: datasets.Dataset.from_list(own) for split, own in parts.items()})
    if is_tagging:
        task = Encoded(dataset=splits, name=name, y="labels", num_labels=len(labels))
        task.label_names = labels
        return task
    return Encoded(dataset=splits, name=name, y="labels", num_labels=len(labels) or 1)


# --- EDS-NLP ----------------------------------------------------------------------------------------------------------


def edsnlp(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """EDS-NLP's trainer on the NER tasks, one after another, in a process of an environment of its own.

    It has as many updates of each task as `ours` has, and reads the same sentences, in fp32.
    """
    import subprocess
    from dataclasses import asdict

    from edsnlp_environment import edsnlp_python
    from edsnlp_training import Job

    from mtl.training.assembly import build_data

    mixture, folder = seeded(options), Path(options.mixture).parent
    data = build_data(mixture)
    data.setup()
    shares = own_updates(data, options.warmup, options.updates)
    job = Job(
        rows=str(folder / "rows"),
        encoder=str(peer_encoder(options)),
        out=str(folder / "edsnlp_out"),
        updates=dict(shares),
        labels={task: list(mixture.tasks[task].labels) for task in shares},
        warmup=max(2, options.warmup // len(shares)),
        batch_size=mixture.batch_size,
        max_length=mixture.encoder.max_length,
        learning_rate=LEARNING_RATE,
        seed=options.seed,
    )
    python, script = edsnlp_python(options.edsnlp), Path(__file__).parent / "edsnlp_training.py"
    figures = folder / "edsnlp.json"
    subprocess.run([str(python), str(script), json.dumps(asdict(job)), str(figures)], check=True)
    found: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return found


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


def seeded(options: argparse.Namespace) -> Mixture:
    """The mixture with the seed of the round."""
    from mtl.config.loading import load_mixture

    return load_mixture(options.mixture, [f"seed={options.seed}"])


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
