"""The encoder of a run as a folder that transformers loads, without this framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from heads import Head
from mtl.encoder.pretrained import load_config, load_weights
from mtl.export.model_card import model_card
from mtl.files import require_empty, whole_folder, write_text
from mtl.prediction.trained_model import TrainedModel
from mtl.problems import InputError, Problem, did_you_mean
from mtl.seeding import separate_draws

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule


class ExportedEncoder(NamedTuple):
    """What was written.

    Args:
        checkpoint: The checkpoint that was read.
        model_class: Class of transformers that saved the model.
        language_model: Task whose head for language modelling is in the folder; None if there is none.
        note: Why a head is not in the folder; None if there is nothing to say.
    """

    checkpoint: Path
    model_class: str
    language_model: str | None
    note: str | None


def export_encoder(run: str | Path, folder: str | Path, *, task: str | None = None) -> ExportedEncoder:
    """Writes the encoder of a run, its tokenizer with the tokens of its heads, and a README.

    The head of a task for masked or causal language modelling is written with it, so that `AutoModelForMaskedLM` or
    `AutoModelForCausalLM` loads the folder as well as `AutoModel`.

    Args:
        run: Folder of a run, whose best checkpoint is read, or the last one if none was selected on dev; or a
            checkpoint in it.
        folder: The folder to write. It must not exist, or be empty.
        task: Task with the head for language modelling, if the run has several.

    Raises:
        InputError: There is no such run, task or undamaged checkpoint, several tasks have such a head, the folder has
            content, or it is not writable.
    """
    folder = Path(folder)
    require_empty(folder)
    loaded = TrainedModel(run)
    chosen = _language_model_task({name: loaded.module.head(name) for name in loaded.mixture.tasks}, task)
    model, note = _model(loaded.mixture, loaded.module, chosen, loaded.checkpoint)
    language_model = None if note is not None else chosen
    with whole_folder(folder) as part:
        model.save_pretrained(part)
        loaded.tokenizer.save_pretrained(part)
        write_text(part / "README.md", model_card(loaded, language_model))
    return ExportedEncoder(loaded.checkpoint, type(model).__name__, language_model, note)


def _language_model_task(heads: Mapping[str, Head], task: str | None) -> str | None:
    """The task with the head for language modelling."""
    found = [name for name, head in heads.items() if _weights(head) is not None]
    if task is not None and task not in found:
        message = f"The run has no task '{task}' for language modelling."
        raise InputError(Problem("--task", message, did_you_mean(task, found) if found else "Leave --task out."))
    if task is None and len(found) > 1:
        message = f"The run has several tasks for language modelling: {', '.join(found)}."
        raise InputError(Problem("--task", message, "Add --task with the one whose head is to be written."))
    return task or next(iter(found), None)


def _weights(head: Head) -> Mapping[str, Tensor] | None:
    """The weights of a head for language modelling, by their names in transformers' class for it; None for others."""
    masked = head.masked_lm_weights()
    return head.causal_lm_weights() if masked is None else masked


def _model(mixture: Mixture, module: MultiTaskModule, task: str | None, checkpoint: Path) -> tuple[Any, str | None]:
    """The model to save, and why it lacks the head of a task."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    encoder: Any = module.encoder.model
    config = load_config(mixture.encoder)
    own = encoder.state_dict()
    with separate_draws():
        head = {} if task is None else _weights(module.head(task)) or {}
        is_causal = mixture.encoder.kind == "causal"  # an output layer that is tied has no weights in the head
        auto: Any = AutoModelForCausalLM if is_causal else AutoModelForMaskedLM
        if task is not None and (head or is_causal) and type(config) in auto._model_mapping:
            model = _made(auto, config)
            named: dict[str, Tensor] = {f"{model.base_model_prefix}.{name}": value for name, value in own.items()}
            load_weights(model, {**named, **{name: value.detach() for name, value in head.items()}}, checkpoint)
            return model, None
        model = _made(AutoModel, config)
    load_weights(model, own, checkpoint)
    if getattr(model, "pooler", None) is not None:
        model.register_module("pooler", None)  # it is random, because no run trains it
    if task is None:
        return model, None
    message = f"the head of '{task}' is not in the folder: transformers' class for masked language modelling of the"
    return model, f"{message} family {config.model_type} has other layers, or there is none"


def _made(auto: Any, config: Any) -> Any:
    return auto.from_config(config, dtype=torch.float32)
