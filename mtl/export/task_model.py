"""A task of a run as a folder that transformers loads, without this framework.

Shapes: B sequences, T tokens, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_config
from mtl.export.evaluation_results import evaluation_results
from mtl.export.task_card import task_card
from mtl.export.task_forms import PREDICT, TOKENS, HeadPlace, TaskExport, TaskForm, calibrated, form_of
from mtl.files import make_folder, require_empty, whole_folder, write_text
from mtl.prediction.trained_model import TrainedModel
from mtl.problems import InputError, Problem, did_you_mean
from mtl.seeding import separate_draws

TOLERANCE = 1e-4
"""Largest difference between the logits of a class and ours, beyond which the class computes something else."""


class ExportedTask(NamedTuple):
    """What was written for a task.

    Args:
        task: Name of the task.
        folder: Where it is.
        model_class: Class of transformers that saved the model.
    """

    task: str
    folder: Path
    model_class: str


class ExportedTasks(NamedTuple):
    """What was written.

    Args:
        checkpoint: The checkpoint that was read.
        written: The tasks that were written.
        left_out: Why each other task was not.
    """

    checkpoint: Path
    written: list[ExportedTask]
    left_out: list[Problem]


def export_tasks(run: str | Path, folder: str | Path, tasks: Sequence[str] = ()) -> ExportedTasks:
    """Writes tasks of a run as models of transformers, each with its tokenizer and a README.

    `AutoModelForTokenClassification` or `AutoModelForSequenceClassification` and `pipeline` load them. Before anything
    is written, the logits of each model are compared with those of the run.

    Args:
        run: Folder of a run, whose best checkpoint is read, or the last one if none was selected on dev; or a
            checkpoint in it.
        folder: The folder to write. It must not exist, or be empty. Several tasks get a subfolder each.
        tasks: Names of the tasks, which are all written or none of them; empty takes every task that a class can hold,
            in subfolders.

    Raises:
        InputError: There is no such run, task or undamaged checkpoint; a task cannot be held by a class of
            transformers; the folder has content or is not writable.
    """
    folder, tasks = Path(folder), list(dict.fromkeys(tasks))
    require_empty(folder)
    loaded = TrainedModel(run)
    _require(tasks, loaded)
    exports, problems = _exports(loaded, tasks or list(loaded.mixture.tasks))
    if problems and (tasks or not exports):
        raise InputError(problems)
    if len(tasks) != 1:
        make_folder(folder)
    written = []
    for export in exports:
        target = folder if len(tasks) == 1 else folder / export.task
        written.append(ExportedTask(export.task, target, _write(loaded, export, target)))
    return ExportedTasks(loaded.checkpoint, written, problems)


def _require(tasks: Sequence[str], loaded: TrainedModel) -> None:
    known = loaded.mixture.tasks
    unknown = [name for name in tasks if name not in known]
    if unknown:
        raise InputError([Problem("--task", f"There is no task '{n}'.", did_you_mean(n, known)) for n in unknown])


def _exports(loaded: TrainedModel, tasks: Sequence[str]) -> tuple[list[TaskExport], list[Problem]]:
    """The tasks that a class can hold, and the problems of the others."""
    found: list[TaskExport] = []
    problems: list[Problem] = []
    for task in tasks:
        try:
            export = _export(loaded, task)
            _model(loaded, export)  # it is made again to be written, so that one is in memory at a time
            found.append(export)
        except InputError as error:
            problems += error.problems
    return found, problems


def _export(loaded: TrainedModel, task: str) -> TaskExport:
    spec, tokenizer = loaded.mixture.tasks[task], loaded.tokenizer
    head = loaded.module.head(task)
    form = form_of(head, HeadPlace(task, spec.options, loaded.module.encoder.config))
    temperature = loaded.temperatures.get(task, 1.0)
    at_temperature = calibrated(form, head, temperature) if temperature != 1 else None
    form, temperature = (form, 1.0) if at_temperature is None else (at_temperature, temperature)
    max_length = loaded.mixture.max_length_of(task)
    room = max_length - tokenizer.num_special_tokens_to_add()
    stride = None if form.stride is None else min(form.stride, room // 2)
    return TaskExport(task, spec.head, form, max_length, _strategy(tokenizer, form), stride, temperature)


def _strategy(tokenizer: Any, form: TaskForm) -> str | None:
    """The `aggregation_strategy` with which `pipeline` is nearest to `mtl predict`.

    "first" takes the tag of a word's first token, on which the head is trained. Only with a prefix of continued words,
    such as ##, does `pipeline` know what a word is; otherwise it would take everything between two blanks for one.
    """
    if form.auto_class != TOKENS:
        return None
    return "first" if getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None) else "simple"


def _model(loaded: TrainedModel, export: TaskExport) -> Any:
    """The model of transformers.

    Raises:
        InputError: The family has no such class, or one with other layers or other logits.
    """
    import transformers

    form, config = export.form, load_config(loaded.mixture.encoder)
    auto: Any = getattr(transformers, form.auto_class)
    if type(config) not in auto._model_mapping:
        raise _unsuitable(export, f"The family {config.model_type} has no class for {form.auto_class}.")
    _describe(config, export)
    with separate_draws():
        model = auto.from_config(config, dtype=torch.float32).eval()
    own = loaded.module.encoder.model.state_dict()
    named = {f"{model.base_model_prefix}.{name}": value for name, value in own.items()}
    missing, unexpected = model.load_state_dict({**named, **form.weights}, strict=False)
    if missing or unexpected:
        name = type(model).__name__
        raise _unsuitable(export, f"{name} has other layers than the run: {', '.join([*missing, *unexpected][:4])}.")
    difference = _difference(loaded, form, model)
    if not difference <= TOLERANCE:
        name = type(model).__name__
        raise _unsuitable(export, f"The logits of {name} differ from those of the run by {difference:.1g}.")
    return model


def _unsuitable(export: TaskExport, message: str) -> InputError:
    return InputError(Problem(f"tasks.{export.task}", message, f"Choose another encoder, {PREDICT}."))


def _describe(config: Any, export: TaskExport) -> None:
    """Sets what a configuration says of the task."""
    form = export.form
    config.id2label = dict(enumerate(form.labels))
    # The tags of BIOUL share names as BIO; each name stands for the first of its outputs.
    config.label2id = {label: index for index, label in reversed(list(enumerate(form.labels)))}
    if form.problem_type is not None:
        config.problem_type = form.problem_type
    config.biomtl = export.settings()


def _difference(loaded: TrainedModel, form: TaskForm, model: Any) -> float:
    """The largest difference between the logits of the class and ours, on two sequences of random tokens.

    It is a share of the largest logit if that is above 1.
    """
    size, pad_id = model.get_input_embeddings().weight.shape[0], getattr(model.config, "pad_token_id", None)
    ids = torch.randint(size, (2, 7), generator=torch.Generator().manual_seed(0))
    ids = ids if pad_id is None else ids.where(ids != pad_id, size - 1)
    mask = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    encoder = loaded.module.encoder
    with torch.no_grad():
        states = encoder(ids[mask], Layout(mask.sum(1).tolist()))
        ours: Tensor = form.logits(states, mask)
        theirs: Tensor = model(input_ids=ids, attention_mask=mask.long()).logits
    if form.auto_class == TOKENS:
        ours, theirs = ours[mask], theirs[mask]
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def _write(loaded: TrainedModel, export: TaskExport, folder: Path) -> str:
    """Writes a folder, and gives the name of the class."""
    model = _model(loaded, export)
    with whole_folder(folder) as part:
        model.save_pretrained(part)
        _save_tokenizer(loaded.tokenizer, model.config, export.max_length, part)
        write_text(part / "README.md", task_card(loaded, export, type(model).__name__))
        for name, text in evaluation_results(loaded, export.task).items():
            make_folder((part / name).parent)
            write_text(part / name, text)
    return type(model).__name__


def _save_tokenizer(tokenizer: Any, config: Any, max_length: int, folder: Path) -> None:
    """Saves a tokenizer that cuts texts as the run does, and gives what the model takes."""
    names = list(tokenizer.model_input_names)
    has_types = getattr(config, "type_vocab_size", 0) > 1
    tokenizer.model_max_length = max_length
    tokenizer.model_input_names = [name for name in names if has_types or name != "token_type_ids"]
    tokenizer.save_pretrained(folder)
    tokenizer.model_input_names = names
