"""Trains one task with biomtl and with plain `transformers.Trainer`, and tells whether they agree.

    python experiments/bench/parity.py exact              # same weights and batches, no dropout, fp32: the same losses
    python experiments/bench/parity.py scores --seeds 8   # everything on, each its own way: the same test scores

What is done is kept in OUT/parity.jsonl and not repeated; OUT/parity.json and OUT/parity.md are written after every
training. Both frameworks read the same encoded examples, and the same scorer reads both; the other side is
`AutoModelForTokenClassification` as it is, labelled at the first piece of each word, or for a sentence at [CLS] alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from machine import machine, machine_line
from pytorch_lightning.callbacks import Callback
from scipy import stats
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
from mtl.assembly import build_data, build_module
from mtl.data import EvaluationLoader, MixtureData
from mtl.encoder import encoder_folder
from mtl.evaluation import Evaluator
from mtl.mixture import Mixture, load_mixture
from mtl.module import MultiTaskModule
from mtl.precision import natural_precision
from mtl.seeding import stream

TASKS = Path(__file__).parent.parent / "tasks"
LOSS_TOLERANCE = 1e-4
MARGIN = 2.0
"""Points of the score within which the difference must lie."""

CONFIDENCE = 0.9
FRAMEWORKS = ("biomtl", "transformers")


@dataclass(frozen=True)
class Setting:
    """One task on a small budget.

    Args:
        task: A file of `experiments/tasks`.
        examples: Of training; whole documents, drawn once, until there are so many. Dev and test stay whole.
        max_length: In word pieces.
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


# Tasks whose scores differ little between seeds: on NCBI-disease and GAD, 100 updates of 8 spread by 4 to 6 points, of
# which eight seeds tell nothing.
SETTINGS = {
    # With the usual overlap of 32 half of each short window would be read twice.
    "ner": Setting("bc5cdr_chemical", 1000, 64, 16, 150, 3e-4, options={"stride": 8}),
    # Test's questions are of another kind than train's, and noisy; dev's are like train's.
    "sentence": Setting("rqe", 1000, 64, 16, 120, 2e-4, split="dev"),
}
# The first update has the learning rate 0 in transformers and peak/warm-up in biomtl, so there is no warm-up here.
# Small batches and a loss that stays above 0, because what rounding does to a weight grows from update to update.
EXACT = {
    "ner": Setting("ncbi_disease", 800, 64, 8, 100, 3e-4, warmup=0.0, exact=True, options={"stride": 8}),
    "sentence": Setting("gad", 1000, 64, 8, 100, 2e-4, warmup=0.0, exact=True),
}


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
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=num_labels, **dropout)
    if len(data.tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(data.tokenizer))
    return model  # type: ignore[no-any-return]


def copy_weights(module: MultiTaskModule, task: str, model: Any) -> None:
    """Gives their model the weights of ours; every weight must find its place."""
    model.base_model.load_state_dict(module.encoder.model.state_dict())
    (linear,) = [layer for layer in module.head(task).modules() if isinstance(layer, nn.Linear)]
    model.classifier.load_state_dict(linear.state_dict())


def train_theirs(
    setting: Setting, model: Any, data: MixtureData, seed: int, batches: Sequence[Sequence[int]] | None = None
) -> Trained:
    """Hugging Face's Trainer with its defaults where the setting says nothing.

    Args:
        setting: The task and its budget.
        model: As `build_theirs` gives it.
        data: Whose encoded examples are read.
        seed: Of shuffling and dropout.
        batches: The examples of each update; None lets the Trainer shuffle.
    """
    splits = data.tasks[setting.task]
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
            data_collator=DataCollatorForTokenClassification(data.tokenizer),
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
    evaluator = Evaluator({setting.task: head}, {setting.task: split}, tune=False)
    for batch in EvaluationLoader(data, setting.split):
        (part,) = batch.parts
        own = torch.tensor(logits[[place[example["row"], example["part"]] for example in part.examples]])  # [B, T, C]
        at = part.fields.get("positions")
        read = own[:, 0] if at is None else own.gather(1, at[..., None].expand(-1, -1, own.shape[2]))
        evaluator.add(batch, {setting.task: read})
    return evaluator.finish()[setting.task].scores


# --- the two comparisons ----------------------------------------------------------------------------------------------


def exact(setting: Setting, mixture: Mixture) -> dict[str, Any]:
    """Trains both from the same weights on the same batches, and gives the largest differences of any update."""
    module, data = build_module(mixture, **rates(setting)), build_data(mixture)
    data.setup()
    model = build_theirs(setting, data, mixture.seed)
    copy_weights(module, setting.task, model)
    ours = train_ours(setting, module, data)
    theirs = train_theirs(setting, model, data, mixture.seed, first_batches(data, setting.updates))
    return {
        "updates": len(ours.losses),
        "loss": largest_difference(ours.losses, theirs.losses),
        "learning_rate": largest_difference(ours.learning_rates, theirs.learning_rates),
        "gradient_norm": largest_difference(ours.gradient_norms, theirs.gradient_norms),
        "first_loss": ours.losses[0],
        "last_loss": ours.losses[-1],
        "clipped_updates": sum(norm > 1 for norm in ours.gradient_norms),
        "score": [own.scores[module.head(setting.task).primary_metric] for own in (ours, theirs)],
        "weights": max(float((value - theirs.weights[name]).abs().max()) for name, value in ours.weights.items()),
        "agrees": largest_difference(ours.losses, theirs.losses) <= LOSS_TOLERANCE,
    }


def first_batches(data: MixtureData, number: int) -> list[list[int]]:
    """The examples of our first updates, over as many epochs as that takes."""
    epochs = range(math.ceil(number / data.plan.slots_per_epoch()))
    slots = [slot for epoch in epochs for slot in data.plan.epoch(epoch)]
    return [data.plan.indices(pick).tolist() for (pick,) in slots[:number]]


def one_score(setting: Setting, mixture: Mixture, framework: str) -> float:
    """The primary metric after one training with everything on, last state, in points."""
    data = build_data(mixture)
    head = data.heads[setting.task]
    if framework == "biomtl":
        trained = train_ours(setting, build_module(mixture, **rates(setting)), data)
    else:
        data.setup()
        trained = train_theirs(setting, build_theirs(setting, data, mixture.seed), data, mixture.seed)
    return 100 * trained.scores[head.primary_metric]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Welch's interval of the difference of means, and whether it lies within the margin.

    >>> found = difference([70.0, 71.0, 72.0], [70.0, 71.0, 72.0])
    >>> found["difference"], found["within"], round(found["interval"][1], 2)
    (0.0, True, 1.74)
    """
    low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(CONFIDENCE)
    return {
        "biomtl": {"mean": mean(ours), "sd": stdev(ours), "scores": list(ours)},
        "transformers": {"mean": mean(theirs), "sd": stdev(theirs), "scores": list(theirs)},
        "difference": mean(ours) - mean(theirs),
        "interval": [float(low), float(high)],
        "within": bool(low >= -MARGIN and high <= MARGIN),
    }


def precision(setting: Setting) -> str:
    """Lightning's name of the precision of both: what `auto` takes on this machine, unless they must agree exactly."""
    return "32-true" if setting.exact else natural_precision("cpu")


def rates(setting: Setting) -> dict[str, Any]:
    """What `build_module` and the Trainer are both told."""
    return {"learning_rate": setting.learning_rate, "warmup": setting.warmup}


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Between values of the same update."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


# --- running and reporting --------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Runs what is missing and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="?", choices=["exact", "scores"], help="one of the two (default both)")
    parser.add_argument("--task", choices=list(SETTINGS), help="one of the two tasks (default both)")
    parser.add_argument("--seeds", type=int, default=8, help="of `scores` (default 8)")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    command = f"python experiments/bench/parity.py {' '.join(arguments)}"
    for check in [options.check] if options.check else ["exact", "scores"]:
        for name in [options.task] if options.task else list(SETTINGS):
            with tempfile.TemporaryDirectory() as folder:
                run(check, name, Path(folder), options, command)
    print(report(options.out))


def run(check: str, name: str, folder: Path, options: argparse.Namespace, command: str) -> None:
    """The trainings of one check of one task that are not done yet."""
    setting = (EXACT if check == "exact" else SETTINGS)[name]
    done = read_entries(options.out)
    common = {"check": check, "task": name, "setting": asdict(setting)}
    wanted: list[dict[str, Any]] = [common]
    if check == "scores":
        wanted = [{**common, "seed": seed, "framework": side} for seed in range(options.seeds) for side in FRAMEWORKS]
    missing = [entry for entry in wanted if not any(entry.items() <= old.items() for old in done)]
    mixture = capped_mixture(setting, folder) if missing else None
    for entry in missing:
        assert mixture is not None
        started = time.perf_counter()
        if check == "exact":
            result: dict[str, Any] = exact(setting, mixture)
        else:
            seeded = mixture.model_copy(update={"seed": entry["seed"]})
            result = {"score": one_score(setting, seeded, entry["framework"]), "precision": precision(setting)}
        seconds = round(time.perf_counter() - started, 1)
        entry |= {**result, "seconds": seconds, "command": command, "machine": machine()}
        with (options.out / "parity.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        report(options.out)


def read_entries(out: Path) -> list[dict[str, Any]]:
    """The trainings that are done, oldest first."""
    path = out / "parity.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def report(out: Path) -> str:
    """Writes parity.json and parity.md from what is done, and gives the latter."""
    entries = read_entries(out)
    found = {
        "exact": {name: entry for name in SETTINGS if (entry := exact_result(entries, name))},
        "scores": {name: result for name in SETTINGS if (result := scores_result(entries, name))},
    }
    text = as_markdown(found)
    (out / "parity.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "parity.md").write_text(text, encoding="utf-8")
    return text


def exact_result(entries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """The latest comparison of the losses with the setting of now."""
    own = [e for e in entries if e["check"] == "exact" and e["setting"] == asdict(EXACT[name])]
    return dict(own[-1]) if own else None


def scores_result(entries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """The comparison of the scores over all seeds that both have finished with the setting of now."""
    runs = [e for e in entries if e["check"] == "scores" and e["setting"] == asdict(SETTINGS[name])]
    ours, theirs = ({e["seed"]: e["score"] for e in runs if e["framework"] == side} for side in FRAMEWORKS)
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    return {
        **difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]),
        "seeds": seeds,
        "seconds": sum(e["seconds"] for e in runs),
        **{key: runs[-1][key] for key in ("precision", "setting", "command", "machine")},
    }


def as_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The two tables, and where and how they came about."""
    lines = ["# biomtl beside transformers.Trainer", ""]
    if found["exact"]:
        lines += [
            "Same initial weights, same batches in the same order, no dropout, fp32; largest difference of any update.",
            "",
            "| task | updates | loss from | to | difference of loss | of learning rate | of gradient norm "
            f"| updates clipped | scores | losses agree to {LOSS_TOLERANCE:g} |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_exact_line(name, entry) for name, entry in found["exact"].items()),
            "",
        ]
    if found["scores"]:
        lines += [
            "Everything on (dropout, warm-up, each framework's own shuffling and new weights): points.",
            "",
            "| task | split | precision | seeds | biomtl mean (SD) | transformers mean (SD) | difference "
            f"| 90% interval (Welch) | within ±{MARGIN:g} |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_scores_line(name, entry) for name, entry in found["scores"].items()),
            "",
            *(f"{name}: {_reason(entry)}\n" for name, entry in found["scores"].items() if not entry["within"]),
        ]
    every = [entry for part in found.values() for entry in part.values()]
    lines += sorted({f"- `{entry['command']}`" for entry in every})
    lines += sorted({"- " + machine_line(entry["machine"]) for entry in every})
    lines += [f"- {check}, {name}: {entry['setting']}" for check, part in found.items() for name, entry in part.items()]
    return "\n".join(lines) + "\n"


def _exact_line(name: str, entry: Mapping[str, Any]) -> str:
    gaps = " | ".join(f"{entry[key]:.1e}" for key in ("loss", "learning_rate", "gradient_norm"))
    both = " and ".join(f"{100 * score:.2f}" for score in entry["score"])
    return (
        f"| {name} ({entry['setting']['task']}) | {entry['updates']} | {entry['first_loss']:.4f} "
        f"| {entry['last_loss']:.4f} | {gaps} | {entry['clipped_updates']} | {both} "
        f"| {'yes' if entry['agrees'] else 'NO'} |"
    )


def _scores_line(name: str, entry: Mapping[str, Any]) -> str:
    sides = " | ".join(f"{entry[side]['mean']:.2f} ({entry[side]['sd']:.2f})" for side in FRAMEWORKS)
    low, high = entry["interval"]
    return (
        f"| {name} ({entry['setting']['task']}) | {entry['setting']['split']} | {entry['precision']} "
        f"| {len(entry['seeds'])} | {sides} "
        f"| {entry['difference']:+.2f} | {low:+.2f} to {high:+.2f} | {'yes' if entry['within'] else 'NO'} |"
    )


def _reason(entry: Mapping[str, Any]) -> str:
    """Why the interval isn't within the margin: too few seeds for this spread, or a real difference."""
    low, high = entry["interval"]
    half = (high - low) / 2
    if abs(entry["difference"]) > MARGIN:
        return f"the means themselves differ by more than {MARGIN:g} points."
    room = MARGIN - abs(entry["difference"])
    needed = math.ceil(len(entry["seeds"]) * (half / room) ** 2) if room else math.inf
    return (
        f"the means differ by {entry['difference']:+.2f}, but the seeds spread so much that the interval reaches "
        f"{half:.2f} to either side; if spread and difference stay, about {needed} seeds would do."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
