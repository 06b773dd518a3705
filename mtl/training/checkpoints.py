"""Whether a checkpoint belongs to a mixture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mtl.batching.data_module import MixtureData
from mtl.config.loading import parse_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError, Problem
from mtl.training.module import CHECKPOINT_KEY
from mtl.training.optimisation import Optimisation


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, memory-mapped.

    Raises:
        InputError: It is no checkpoint of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise InputError(Problem(str(path), f"The file is no checkpoint: {type(error).__name__}.")) from error
    if CHECKPOINT_KEY not in content:
        raise InputError(Problem(str(path), "The checkpoint was not written by this framework."))
    return dict(content)


def checkpoint_mixture(path: Path) -> Mixture:
    """The mixture that a checkpoint was trained on."""
    return parse_mixture(read_checkpoint(path)[CHECKPOINT_KEY]["mixture"])


def located(mixture: Mixture, checkpoint: Path) -> Mixture:
    """The mixture with the encoder's configuration and tokenizer from the run's folder, where they are.

    So a checkpoint needs neither the hub nor the folder that the encoder came from.
    """
    folder = checkpoint.absolute().parent.parent / "encoder"
    if not (folder / "config.json").is_file():
        return mixture
    update = {"name": str(folder), "num_layers": None, "revision": None}
    return mixture.model_copy(update={"encoder": mixture.encoder.model_copy(update=update)})


def checkpoint_precision(path: Path) -> str:
    """The precision in which a checkpoint was trained and selected."""
    return str(read_checkpoint(path)[CHECKPOINT_KEY]["precision"])


def row_types(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """The kind of rows that each task was trained on, where the data module told."""
    found: dict[str, str] = checkpoint.get(MixtureData.__qualname__, {}).get("row_types", {})
    return found


def check_checkpoint(path: Path, mixture: Mixture, *, resumes: Optimisation | None = None) -> None:
    """Holds a checkpoint's mixture against the one at hand.

    Args:
        path: Of the checkpoint.
        mixture: At hand.
        resumes: Where training goes on from the checkpoint, which needs more than weights: the options of `model` at
            hand, as plain values, resolved. A schedule may be made longer, by more epochs.

    Raises:
        InputError: Tasks, heads, labels or the encoder differ (it lists every difference), or the checkpoint can't be
            resumed.
    """
    if resumes is not None and "optimizer_states" not in read_checkpoint(path):
        raise InputError(
            Problem(str(path), "It holds weights alone, and training can't go on from it.", "Use --ckpt_path last.")
        )
    trained = checkpoint_mixture(path)
    problems = []
    for field in ("name", "num_layers"):
        theirs, ours = getattr(trained.encoder, field), getattr(mixture.encoder, field)
        if theirs != ours:
            problems.append(Problem(f"encoder.{field}", f"The checkpoint has {theirs!r}; found {ours!r}."))
    for name in sorted({*trained.tasks, *mixture.tasks}):
        if name not in trained.tasks or name not in mixture.tasks:
            where = "mixture" if name in mixture.tasks else "checkpoint"
            problems.append(Problem(f"tasks.{name}", f"Only the {where} has this task."))
            continue
        for field in ("head", "labels", "options"):
            theirs, ours = getattr(trained.tasks[name], field), getattr(mixture.tasks[name], field)
            if theirs != ours:
                problems.append(Problem(f"tasks.{name}.{field}", f"The checkpoint has {theirs!r}; found {ours!r}."))
    if resumes is not None and not problems:
        before = read_checkpoint(path)[CHECKPOINT_KEY]["model"]
        problems = [*_resume_problems(trained, mixture), *_option_problems(before, asdict(resumes.resolved()))]
    if problems:
        raise InputError([Problem(str(path), "The checkpoint is of another mixture."), *problems])


_FREE = re.compile(r"evaluation\b.*|privacy\b.*|name|tasks\.\w+\.data\.path\b.*")
"""What may differ when training goes on: nothing that decides a batch, a loss or a weight."""


def _resume_problems(trained: Mixture, mixture: Mixture) -> list[Problem]:
    theirs, ours = dict(_leaves(trained.to_dict())), dict(_leaves(mixture.to_dict()))
    return [
        Problem(key, f"The checkpoint has {theirs.get(key)!r}; found {ours.get(key)!r}.", "Train a new run instead.")
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key) and not _FREE.fullmatch(key)
    ]


def _option_problems(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """The optimiser's state brings its own rates, so that others would be taken down and not trained with."""
    advice = "Leave it as it was, or train a new run."
    return [
        Problem(f"model.{name}", f"The checkpoint has {before[name]!r}; found {value!r}.", advice)
        for name, value in now.items()
        if before.get(name, value) != value
    ]


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
