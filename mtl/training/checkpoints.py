"""Reads checkpoints and checks whether they fit a mixture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.batching.data_module import MixtureData
from mtl.batching.gated_data import GatedData
from mtl.batching.schedule import UpdateGrid, make_schedule
from mtl.config import components
from mtl.config.loading import parse_mixture
from mtl.config.mixture import Mixture
from mtl.messages import counted
from mtl.problems import InputError, Problem
from mtl.redaction import quoted_code, shown_key
from mtl.tracking.checkpoint_file import load_checkpoint
from mtl.training.hyperparameters import Optimisation
from mtl.training.module import CHECKPOINT_KEY

if TYPE_CHECKING:
    from mtl.data.examples import TaskData


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped.

    Raises:
        InputError: The file is not a checkpoint of this framework.
    """
    content = load_checkpoint(path)
    if CHECKPOINT_KEY not in content:
        raise InputError(Problem(str(path), "The checkpoint was not written by this framework."))
    return content


def checkpoint_mixture(path: Path) -> Mixture:
    """The mixture that a checkpoint was trained on.

    A checkpoint is data: classes that it names by import path are used only if the user has imported their modules,
    with a mixture that names them, with `--import`, or in Python.

    Raises:
        InputError: It names a class whose module is not imported, or its mixture is invalid.
    """
    own = read_checkpoint(path)[CHECKPOINT_KEY]
    fields = own.get("mixture") if isinstance(own, Mapping) else None
    if not isinstance(fields, Mapping):
        raise InputError(Problem(str(path), "The checkpoint has no mixture.", "Use another checkpoint."))
    classes = components.classes_not_imported(fields)
    if classes:
        modules = sorted({name.rpartition(".")[0] for name in classes})
        message = f"The checkpoint names classes that are not imported: {', '.join(map(quoted_code, classes))}."
        advice = f"If you trust this code, add {' '.join(f'--import {shown_key(module)}' for module in modules)}."
        raise InputError(Problem(str(path), message, advice))
    return parse_mixture(fields)


def located(mixture: Mixture, checkpoint: Path) -> Mixture:
    """The mixture with the encoder's configuration and tokenizer taken from the run's folder, if they are there.

    A checkpoint then needs neither the hub nor the folder that the encoder came from.
    """
    folder = checkpoint.absolute().parent.parent / "encoder"
    if not (folder / "config.json").is_file():
        return mixture
    update = {"name": str(folder), "num_layers": None, "revision": None, "weights": None, "tokenizer": None}
    return mixture.model_copy(update={"encoder": mixture.encoder.model_copy(update=update), "init": None})


def checkpoint_precision(path: Path) -> str:
    """The precision in which a checkpoint was trained and selected."""
    return str(read_checkpoint(path)[CHECKPOINT_KEY]["precision"])


class TrainedRows(NamedTuple):
    """The kind of rows on which each task was trained; empty where a checkpoint does not say.

    Args:
        row_types: Name of the type of the rows.
        num_texts: Number of texts of each row: 1, 2 for pairs, or None for both kinds.
        in_sentences: Whether the rows had sentences or were single ones; of tasks that pair or read mentions within a
            sentence.
    """

    row_types: Mapping[str, str]
    num_texts: Mapping[str, int | None]
    in_sentences: Mapping[str, bool] = {}  # never changed, so that all can share it


def trained_rows(checkpoint: Mapping[str, Any]) -> TrainedRows:
    """The kind of rows on which the tasks of a checkpoint were trained."""
    states = (checkpoint.get(name) for name in (GatedData.__qualname__, MixtureData.__qualname__))
    state: Mapping[str, Any] = next(filter(None, states), {})
    return TrainedRows(*(state.get(name, {}) for name in TrainedRows._fields))


def check_checkpoint(path: Path, mixture: Mixture, *, resumes: Optimisation | None = None) -> None:
    """Checks that a checkpoint fits a mixture.

    Args:
        path: The checkpoint.
        mixture: The mixture to evaluate or to train.
        resumes: Optimisation of the training that resumes from the checkpoint, which must then hold more than weights;
            None checks for an evaluation. More epochs are allowed and stretch the learning-rate schedule.

    Raises:
        InputError: Tasks, heads, labels or the encoder differ (every difference is listed), or training cannot resume
            from the checkpoint.
    """
    if resumes is not None and "optimizer_states" not in read_checkpoint(path):
        raise InputError(
            Problem(
                str(path),
                "The checkpoint holds weights only, so training cannot resume from it.",
                "Use --ckpt_path last.",
            )
        )
    trained = checkpoint_mixture(path)
    problems = []
    for field in ("name", "num_layers"):
        theirs, ours = getattr(trained.encoder, field), getattr(mixture.encoder, field)
        if theirs != ours:
            problems.append(Problem(f"encoder.{field}", f"must be {theirs!r} as in the checkpoint, got {ours!r}."))
    for name in sorted({*trained.tasks, *mixture.tasks}):
        if name not in trained.tasks or name not in mixture.tasks:
            where = "mixture" if name in mixture.tasks else "checkpoint"
            problems.append(Problem(f"tasks.{name}", f"Only the {where} has this task."))
            continue
        for field in ("head", "labels", "options"):
            theirs, ours = (_shaping(getattr(one.tasks[name], field)) for one in (trained, mixture))
            if theirs != ours:
                problems.append(
                    Problem(f"tasks.{name}.{field}", f"must be {theirs!r} as in the checkpoint, got {ours!r}.")
                )
    if resumes is not None and not problems:
        before = read_checkpoint(path)[CHECKPOINT_KEY]["model"]
        problems = [*_resume_problems(trained, mixture), *_option_problems(before, asdict(resumes.resolved()))]
    if problems:
        raise InputError([Problem(str(path), "The checkpoint was trained on a different mixture."), *problems])


def changed_data(path: Path, fingerprints: Mapping[str, Mapping[str, str]]) -> dict[str, list[Problem]]:
    """The problem of each task whose rows are not those that the training of a checkpoint read, by split.

    A training that resumed on other rows of train would draw other batches. Other rows of dev or test only make scores
    before and after it differ.

    Args:
        path: The checkpoint.
        fingerprints: Hash of the rows that are read now, by task and split.
    """
    before = read_checkpoint(path).get(GatedData.__qualname__, {}).get("fingerprints", {})
    changed: dict[str, list[Problem]] = {}
    for task, splits in fingerprints.items():
        for split, now in splits.items():
            if before.get(task, {}).get(split, now) != now:
                message = f"The rows of {split} are not those with which the checkpoint was trained."
                problem = Problem(f"tasks.{task}.data", message, "Restore them, or train a new run.")
                changed.setdefault(split, []).append(problem)
    return changed


def changed_updates(
    path: Path, mixture: Mixture, tasks: Mapping[str, TaskData], updates: UpdateGrid, total: int
) -> list[Problem]:
    """Why the updates of a resumed run would be in another order than before its checkpoint.

    The optimiser's schedule and the streams of examples count updates, so both would resume at a different position.

    Args:
        path: The checkpoint.
        mixture: The mixture, which is that of the checkpoint.
        tasks: Prepared data of each task.
        updates: How the updates follow each other now.
        total: Their number now; a longer training is allowed if it keeps the order of the finished epochs.
    """
    checkpoint = read_checkpoint(path)
    before = checkpoint.get(GatedData.__qualname__, {}).get("updates")
    if not before:
        return []
    advice = "Keep the value, or train a new run."
    if before["accumulate"] != updates.accumulate:
        found = f"must be {before['accumulate']} as in the checkpoint, got {updates.accumulate}."
        return [Problem("trainer.accumulate_grad_batches", found, advice)]
    if before["per_epoch"] != updates.per_epoch:
        found = f"must leave {before['per_epoch']} updates per epoch as in the checkpoint, got {updates.per_epoch}."
        return [Problem("trainer.limit_train_batches", found, advice)]
    if before["total"] == total:
        return []
    then, now = (make_schedule(mixture, tasks, n / updates.per_epoch, updates) for n in (before["total"], total))
    if all(then.epoch(epoch) == now.epoch(epoch) for epoch in range(checkpoint["epoch"] + 1)):
        return []
    found = f"must keep the {before['total']} updates of the checkpoint with this sampler, got {total}."
    return [Problem("trainer.max_epochs", f"The order of its steps depends on their number, so it {found}", advice)]


def _shaping(value: Any) -> Any:
    """The value of a field of a task without what changes no weight: the metrics that are computed on request."""
    return {key: option for key, option in value.items() if key != "metrics"} if isinstance(value, dict) else value


_FREE = re.compile(
    r"evaluation\b.*|privacy\b.*|name|tasks\.\w+\.data\.(path|licence|private)\b.*|tasks\.\w+\.options\.metrics\b.*"
)
"""Keys that may differ when a run resumes, because they affect no batch, loss or weight."""


def _resume_problems(trained: Mixture, mixture: Mixture) -> list[Problem]:
    theirs, ours = dict(_leaves(trained.to_dict())), dict(_leaves(mixture.to_dict()))
    return [
        Problem(
            key,
            f"must be {_shown_value(key, theirs)} as in the checkpoint, got {_shown_value(key, ours)}.",
            "Train a new run instead.",
        )
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key) and not _FREE.fullmatch(key)
        if not key.startswith("leakage.") or "exclude" in (theirs.get(key), ours.get(key))  # others change no row
    ]


def _shown_value(key: str, leaves: Mapping[str, Any]) -> str:
    """A value for an error; of documents, which ids name, the number."""
    value = leaves.get(key)
    if key.endswith(".data.exclude"):
        return counted(len(value or ()), "document")
    return repr(value)


def _option_problems(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """Options that differ. The state of the optimiser keeps its own rates, so new ones would have no effect."""
    advice = "Keep the value, or train a new run."
    return [
        Problem(f"model.{name}", f"must be {before[name]!r} as in the checkpoint, got {value!r}.", advice)
        for name, value in now.items()
        if before.get(name, value) != value
    ]


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
