"""The README of an exported encoder: facts of its run, without paths, ids and text of rows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mtl.config.encoder_catalogue import entry_of
from mtl.config.mixture import EncoderSpec, Mixture
from mtl.markdown import table
from mtl.prediction.trained_model import TrainedModel


class _HubTask(NamedTuple):
    """What the hub and transformers call a kind of language modelling."""

    name: str
    tag: str
    auto_class: str


_TASKS = {
    None: _HubTask("masked language modelling", "fill-mask", "AutoModelForMaskedLM"),
    "causal": _HubTask("causal language modelling", "text-generation", "AutoModelForCausalLM"),
}
"""By the kind of the encoder."""


def model_card(run: TrainedModel, language_model: str | None) -> str:
    """The README of an encoder, with metadata as the Hugging Face hub reads them.

    Args:
        run: The run.
        language_model: Task whose head for language modelling is exported too; None if there is none.
    """
    kind = run.trained_mixture.encoder.kind
    head: dict[str, Any] = {
        "library_name": "transformers",
        "tags": ["biomtl", *([_TASKS[kind].tag] if language_model else [])],
    }
    base = hub_name(run.trained_mixture.encoder)
    if base is not None:
        head["base_model"] = base
    what, too = "encoder", ""
    if language_model is not None:
        what = f"encoder, with its head for {_TASKS[kind].name},"
        too = f", and `{_TASKS[kind].auto_class}` does too"
    lines = [
        f"# {run.trained_mixture.name}",
        "",
        f"The {what} of a training with biomtl. `AutoTokenizer` and `AutoModel` of transformers load it{too}.",
        "",
        *table(["", ""], run_rows(run).items()),
        "## Tasks",
        "",
        "Scores on dev are those of the run's best evaluation, those on test of its latest test.",
        "",
        *table(["task", "head", "rate", "loss weight", "scores"], _tasks(run)),
    ]
    return "\n".join(["---", yaml.safe_dump(head, sort_keys=False) + "---", "", *lines])


def run_rows(run: TrainedModel) -> dict[str, Any]:
    """The facts of a training by their names, without paths."""
    mixture = run.trained_mixture
    return {
        "run": run.folder.path.name,
        "checkpoint": f"{run.checkpoint.name}, after {run.updates} updates",
        "started from": _start(mixture),
        "longest input in training": f"{mixture.encoder.max_length} tokens",
        "batch": f"{mixture.tokens_per_batch} tokens" if mixture.tokens_per_batch else f"{mixture.batch_size} examples",
        "sampler": mixture.sampler.name,
        "changes of the curriculum": ", ".join(f"from step {one.from_step}" for one in mixture.curriculum) or "none",
        "seed": mixture.seed,
        "precision": run.precision,
        "exported by": f"biomtl {version('biomtl')}, torch {version('torch')}, transformers {version('transformers')}",
    }


def _start(mixture: Mixture) -> str:
    spec = mixture.encoder
    name = hub_name(spec) or _shown_name(spec)
    if spec.weights == "random":
        tokenizer = f", tokenizer of {Path(spec.tokenizer).name}" if spec.tokenizer else ""
        return f"random weights, configuration of {name}{tokenizer}"
    if mixture.init is not None:
        heads = "" if mixture.init.heads == "none" else ", and its heads"
        return f"the encoder of the run {Path(mixture.init.run).name}{heads}"
    return name if spec.revision is None else f"{name}, revision {spec.revision}"


def hub_name(spec: EncoderSpec) -> str | None:
    """The pretrained model on the hub that an encoder is; None for a folder, a run, or random weights."""
    if spec.weights == "random":
        return None
    entry = entry_of(spec.name)
    if entry is not None:
        return entry.hub
    return spec.name if "/" in spec.name and _shown_name(spec) == spec.name else None


def _shown_name(spec: EncoderSpec) -> str:
    """The name of an encoder without the folders above it; OWNER/NAME of a model on the hub stays."""
    path = Path(spec.name)
    return path.name if path.is_absolute() or path.exists() or len(path.parts) != 2 else spec.name


def _tasks(run: TrainedModel) -> Iterator[tuple[str, ...]]:
    metrics = run.folder.metrics
    for name, spec in run.trained_mixture.tasks.items():
        rate = "by size" if spec.rate is None else f"{spec.rate:g}"
        scores = [
            f"{split} {metric} {value:.4g}"
            for split in ("dev", "test")
            for metric, value in metrics.get(split, {}).get(name, {}).items()
            if isinstance(value, int | float)
        ]
        yield name, spec.head, rate, f"{spec.loss_weight:g}", ", ".join(scores) or "none"
