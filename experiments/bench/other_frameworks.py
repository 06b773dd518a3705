"""The trainers of other frameworks as contestants of the throughput benchmark.

Each trains our encoded examples. Its packages are imported inside its function.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from meter import LEARNING_RATE, Meter, seeded

if TYPE_CHECKING:
    from heads import Example
    from mtl.batching.data_module import MixtureData


# --- transformers.Trainer, one task after another ---------------------------------------------------------------------


def hf_default(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Random batches and fp32, as the Trainer has them."""
    return train_hf(options, meter, best=False)


def hf_best(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Batches of similar length, the faster precision, and the attention of the options.

    Without one, attention is eager, which is faster on a CPU than SDPA.
    """
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
        attention = getattr(options, "attention", "eager") if best else None
        model = hf_model(peer_encoder(options), data, task, first, attention)
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
    """The encoder with room for the tokens that our heads added, as `bench_data.prepare` left it with the mixture."""
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
