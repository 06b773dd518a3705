"""Starts the heads of tasks from those of the same name in another run (`init.heads`: `matching` or `keep`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from heads import Head
from mtl.config.mixture import Mixture
from mtl.encoder.trained_run import trained_encoder
from mtl.problems import InputError, Problem
from mtl.training.checkpoints import checkpoint_mixture, read_checkpoint

DECIDES_RESULTS = False  # studies have no such heads

_ADVICE = "Rename the task, or write init: {heads: none}."


def matching_tasks(mixture: Mixture) -> list[str]:
    """The tasks whose heads start from those of the run in `init`.

    Raises:
        InputError: The run has no task of the same name, or one with another head or other labels.
    """
    if mixture.init is None or mixture.init.heads == "none":
        return []
    trained = checkpoint_mixture(_checkpoint(mixture)).tasks
    names = [name for name in mixture.tasks if name in trained]
    if not names:
        message = f"must be none, because the run has no task of the same name, only {', '.join(trained)}."
        raise InputError(Problem("init.heads", message, "Rename a task, or write init: {heads: none}."))
    problems = [
        Problem(f"tasks.{name}.rate", "must be above 0, because the run has no task of this name.", "Rename the task.")
        for name, spec in mixture.tasks.items()
        if spec.rate == 0 and name not in trained
    ]
    for name in names:
        for field in ("head", "labels"):
            theirs, ours = getattr(trained[name], field), getattr(mixture.tasks[name], field)
            if theirs != ours:
                message = f"must be {theirs!r} as in the run, got {ours!r}."
                problems.append(Problem(f"tasks.{name}.{field}", message, _ADVICE))
    if problems:
        raise InputError(problems)
    return names


@torch.no_grad()
def load_matching(heads: Mapping[str, Head], mixture: Mixture, tasks: Sequence[str]) -> None:
    """Loads the weights of heads that are attached to an encoder.

    Rows that a head has for tokens of this mixture alone keep their own values.

    Args:
        heads: The head of each task.
        mixture: The mixture, with `init`.
        tasks: Result of `matching_tasks`.

    Raises:
        InputError: A head of the run has other weights, for example because of other options.
    """
    checkpoint = _checkpoint(mixture)
    state = read_checkpoint(checkpoint)["state_dict"]
    problems = []
    for name in tasks:
        prefix = f"heads.{name}."
        theirs = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        own = heads[name].state_dict()
        wrong = sorted(own.keys() ^ theirs.keys()) or [key for key in own if not _fits(theirs[key], own[key])]
        if wrong:
            message = f"The head of the run has other weights: {', '.join(wrong)}."
            problems.append(Problem(f"tasks.{name}.options", message, f"Use the options of the run. {_ADVICE}"))
            continue
        for key, value in theirs.items():
            (own[key][: len(value)] if value.dim() else own[key]).copy_(value)
        heads[name].first_weights = f"run: task {name}"
    if problems:
        raise InputError(problems)


def _fits(theirs: Tensor, own: Tensor) -> bool:
    """Whether a weight can be taken over; it may lack the last rows."""
    return theirs.shape == own.shape or (own.dim() > 0 and theirs.shape[1:] == own.shape[1:] and len(theirs) < len(own))


def _checkpoint(mixture: Mixture) -> Path:
    assert mixture.init is not None
    return trained_encoder(Path(mixture.init.run)).checkpoint
