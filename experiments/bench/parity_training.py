"""The two sides of `parity.py`: a task of a small budget, trained by biomtl or by `transformers.Trainer`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from heads import IGNORE, Example
from heads.rows import row_to_dict
from mtl.batching.data_module import EvaluationLoader, MixtureData
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.encoder.location import encoder_folder
from mtl.evaluation.evaluator import Evaluator
from mtl.seeding import stream
from mtl.training.assembly import build_data
from mtl.training.module import MultiTaskModule
from mtl.training.precision import natural_precision

TASKS = Path(__file__).parent.parent / "tasks"


@dataclass(frozen=True)
class Setting:
    """One task on a small budget.

    Args:
        task: A file of `experiments/tasks`.
        examples: Of training; whole documents, drawn once, until there are so many. Dev and test stay whole.
        max_length: Maximum length in tokens.
        batch_size: Examples of an update.
        updates: Of the weights.
        learning_rate: Peak, of encoder and head.
        warmup: Share of the updates.
        exact: Whether both must compute the same: no dropout, no warm-up, fp32.
        encoder: As a mixture names it.
        options: Of the head, over those of the task.
        split: That is scored: test, or dev, which nothing here selects on.
    """

    task: str
    examples: int
    max_length: int
    batch_size: int
    updates: int
    learning_rate: float
    warmup: float = 0.1
    exact: bool = False
    encoder: str = "minilm-l6"
    options: dict[str, Any] = field(default_factory=dict)
    split: str = "test"


@dataclass
class Trained:
    """What a training leaves: a value per update, the final weights, and the scores."""

    losses: list[float]
    learning_rates: list[float]
    gradient_norms: list[float]
    weights: dict[str, Tensor]
    scores: dict[str, float]


# --- both sides -------------------------------------------------------------------------------------------------------


def capped_mixture(setting: Setting, folder: Path) -> Mixture:
    """The task alone, with its rows written to the folder: train cut to some documents, the rest whole."""
    fields = {"name": "parity", "encoder": {"name": setting.encoder, "max_length": setting.max_length}}
    whole = load_mixture({**fields, "include": [str((TASKS / f"{setting.task}.yaml").resolve())]})
    data = build_data(whole)
    data.setup()
    splits = data.tasks[setting.task]
    sizes: dict[str, int] = {}
    documents = splits["train"].rows.documents()
    for row in splits["train"].example_rows:
        sizes[documents[row]] = sizes.get(documents[row], 0) + 1
    kept: set[str] = set()
    for document in stream(0, "parity", setting.task).permutation(sorted(sizes)):
        if sum(sizes[name] for name in kept) < setting.examples:
            kept.add(str(document))
    for split, part in splits.items():
        rows = (row for row in part.rows if split != "train" or row.document in kept)
        lines = [json.dumps(row_to_dict(row)) + "\n" for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    spec = whole.tasks[setting.task].model_dump(mode="json")
    spec |= {"data": {"reader": "jsonl", "path": str(folder)}, "max_length": setting.max_length}
    spec["options"] |= setting.options
    if setting.exact:
        spec["options"] |= {"dropout": 0.0}
        fields["encoder"] |= {"dropout": 0.0}  # type: ignore[operator]
    return load_mixture({**fields, "batch_size": setting.batch_size, "tasks": {setting.task: spec}})


def label_tokens(example: Example) -> Iterator[tuple[int, int]]:
    """The tokens of an example that carry a class: the first piece of each word, or [CLS]."""
    if "positions" in example:
        yield from zip(example["positions"], example["tags"], strict=True)
    else:
        label = example["label"]  # of a relation's pair there is a list
        yield 0, label if isinstance(label, int) else label[0]


def precision(setting: Setting) -> str:
    """Lightning's name of the precision of both: what `auto` takes on this machine, unless they must agree exactly."""
    return "32-true" if setting.exact else natural_precision("cpu")


def rates(setting: Setting) -> dict[str, Any]:
    """The learning rate and warm-up of both sides."""
    return {"learning_rate": setting.learning_rate, "warmup": setting.warmup}


# --- ours -------------------------------------------------------------------------------------------------------------


def train_ours(setting: Setting, module: MultiTaskModule, data: MixtureData) -> Trained:
    """Lightning over the module and the data, as `mtl fit` builds them."""
    recorder = StepRecorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision(setting),
        max_steps=setting.updates,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=setting.updates + 1,  # never
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    score = trainer.test if setting.split == "test" else trainer.validate
    score(module, datamodule=data, verbose=False)
    weights = {f"encoder.{name}": value.detach() for name, value in module.encoder.model.named_parameters()}
    (linear,) = [layer for layer in module.head(setting.task).modules() if isinstance(layer, nn.Linear)]
    weights |= {f"head.{name}": value.detach() for name, value in linear.named_parameters()}
    scores = module.results[setting.split][setting.task].scores
    return Trained(recorder.losses, recorder.learning_rates, recorder.gradient_norms, weights, scores)


class StepRecorder(Callback):
    """Loss, learning rate and norm of the gradient before clipping, of each update."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.learning_rates: list[float] = []
        self.gradient_norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.gradient_norms.append(float(nn.utils.get_total_norm(gradients)))
        self.learning_rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


# --- theirs -----------------------------------------------------------------------------------------------------------


def build_theirs(setting: Setting, data: MixtureData, seed: int) -> nn.Module:
    """Hugging Face's own model, with its own new weights of the head and of the added tokens."""
    set_seed(seed)
    task_head = data.heads[setting.task]
    num_labels = len(getattr(task_head, "tags", task_head.labels))
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if setting.exact else {}
    folder = encoder_folder(setting.encoder)
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=num_labels, trust_remote_code=False, **dropout
    )
    if len(data.tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(data.tokenizer))
    return model  # type: ignore[no-any-return]


def copy_weights(module: MultiTaskModule, task: str, model: Any) -> None:
    """Gives their model the weights of ours; every weight must find its place."""
    model.base_model.load_state_dict(module.encoder.model.state_dict())
    (linear,) = [layer for layer in module.head(task).modules() if isinstance(layer, nn.Linear)]
    model.classifier.load_state_dict(linear.state_dict())


def train_theirs(
    setting: Setting,
    model: Any,
    data: MixtureData,
    seed: int,
    batches: Sequence[Sequence[int]] | None = None,
    *,
    pads_to_maximum: bool = False,
) -> Trained:
    """Hugging Face's Trainer with its defaults where the setting says nothing.

    Args:
        setting: The task and its budget.
        model: As `build_theirs` gives it.
        data: Whose encoded examples are read.
        seed: Of shuffling and dropout.
        batches: The examples of each update; None lets the Trainer shuffle.
        pads_to_maximum: Whether each batch is padded to the maximum length, not to its longest example.
    """
    splits = data.tasks[setting.task]
    collator = DataCollatorForTokenClassification(data.tokenizer)
    if pads_to_maximum:
        collator = DataCollatorForTokenClassification(data.tokenizer, "max_length", setting.max_length)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            bf16=precision(setting) == "bf16-mixed",
            seed=seed,
            max_steps=setting.updates,
            per_device_train_batch_size=setting.batch_size,
            per_device_eval_batch_size=2 * setting.batch_size,
            learning_rate=setting.learning_rate,
            weight_decay=0.01,
            max_grad_norm=1.0,
            lr_scheduler_type="linear",
            warmup_steps=setting.warmup,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = FedTrainer(
            model,
            arguments,
            data_collator=collator,
            train_dataset=[features(example) for example in splits["train"].examples],
        )
        trainer.batches = batches
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        scores = score_theirs(setting, trainer, data)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    weights = {f"encoder.{name}": value.detach() for name, value in model.base_model.named_parameters()}
    weights |= {f"head.{name}": value.detach() for name, value in model.classifier.named_parameters()}
    losses, rates, norms = ([float(step[name]) for step in steps] for name in ("loss", "learning_rate", "grad_norm"))
    return Trained(losses, rates, norms, weights, scores)


class FedTrainer(Trainer):
    """The Trainer, with batches given where there are some."""

    batches: Sequence[Sequence[int]] | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        if self.batches is None:
            return super().get_train_dataloader()
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]


def features(example: Example) -> dict[str, list[int]]:
    """An encoded example in the form of Hugging Face's scripts.

    >>> features({"input_ids": [101, 7, 8, 102], "positions": [1], "tags": [2]})["labels"]
    [-100, 2, -100, -100]
    >>> features({"input_ids": [101, 7, 102], "label": 1})["labels"]
    [1, -100, -100]
    """
    labels = [IGNORE] * len(example["input_ids"])
    for token, label in label_tokens(example):
        labels[token] = label
    inputs = {name: example[name] for name in ("input_ids", "token_type_ids") if example.get(name) is not None}
    return {**inputs, "labels": labels}


def score_theirs(setting: Setting, trainer: Trainer, data: MixtureData) -> dict[str, float]:
    """The Trainer's predictions on the split, decoded and scored by our head."""
    split = data.tasks[setting.task][setting.split]
    examples = list(split.examples)
    inputs: Any = [features(example) for example in examples]
    logits = np.asarray(trainer.predict(inputs).predictions)  # [N, T, C]
    place = {(example["row"], example["part"]): i for i, example in enumerate(examples)}
    head = data.heads[setting.task]
    evaluator = Evaluator({setting.task: head}, {setting.task: split}, tune=())
    for batch in EvaluationLoader(data, setting.split):
        (part,) = batch.parts
        own = torch.tensor(logits[[place[example["row"], example["part"]] for example in part.examples]])  # [B, T, C]
        at = part.fields.get("positions")
        read = own[:, 0] if at is None else own.gather(1, at[..., None].expand(-1, -1, own.shape[2]))
        evaluator.add(batch, {setting.task: read})
    return evaluator.finish()[setting.task].scores
