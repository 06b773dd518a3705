"""Whether a checkpoint belongs to a mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mtl.faults import Fault, InputError
from mtl.mixture import Mixture, parse_mixture
from mtl.module import CHECKPOINT_KEY


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, memory-mapped.

    Raises:
        InputError: It is no checkpoint of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise InputError(Fault(str(path), f"The file is no checkpoint: {type(error).__name__}.")) from error
    if CHECKPOINT_KEY not in content:
        raise InputError(Fault(str(path), "The checkpoint was not written by this framework."))
    return dict(content)


def checkpoint_mixture(path: Path) -> Mixture:
    """The mixture that a checkpoint was trained on."""
    return parse_mixture(read_checkpoint(path)[CHECKPOINT_KEY]["mixture"])


def check_checkpoint(path: Path, mixture: Mixture) -> None:
    """Holds a checkpoint's mixture against the one at hand.

    Raises:
        InputError: Tasks, heads, labels or the encoder differ. It lists every difference.
    """
    trained = checkpoint_mixture(path)
    faults = []
    if trained.encoder.name != mixture.encoder.name:
        message = f"The checkpoint's encoder is '{trained.encoder.name}'; found '{mixture.encoder.name}'."
        faults.append(Fault("encoder.name", message))
    for name in sorted({*trained.tasks, *mixture.tasks}):
        if name not in trained.tasks or name not in mixture.tasks:
            where = "mixture" if name in mixture.tasks else "checkpoint"
            faults.append(Fault(f"tasks.{name}", f"Only the {where} has this task."))
            continue
        for field in ("head", "labels", "options"):
            theirs, ours = getattr(trained.tasks[name], field), getattr(mixture.tasks[name], field)
            if theirs != ours:
                faults.append(Fault(f"tasks.{name}.{field}", f"The checkpoint has {theirs!r}; found {ours!r}."))
    if faults:
        raise InputError([Fault(str(path), "The checkpoint is of another mixture."), *faults])
