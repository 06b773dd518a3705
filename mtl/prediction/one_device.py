"""Lightning's trainer for predictions and for scores of finished runs, which use one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback

from mtl.problems import InputError, Problem
from mtl.training.precision import precision_problems


def one_device_trainer(given: Mapping[str, Any], callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """A trainer without checkpoints, loggers and Lightning's progress bar, which counts batches.

    Args:
        given: Options of Lightning's trainer.
        callbacks: Callbacks.

    Raises:
        InputError: An option is invalid, or asks for several devices.
    """
    options: dict[str, Any] = {"accelerator": "auto", "logger": False, "enable_checkpointing": False, "devices": 1}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, **given}
    if str(options["devices"]) != "1":
        advice = "To predict with several, start one process per device with --shard."
        raise InputError(Problem("--trainer.devices", f"must be 1, got {options['devices']}.", advice))
    try:
        return pl.Trainer(**{**options, "callbacks": [*callbacks]})
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(Problem("--trainer", " ".join(str(error).split()))) from error


def available_precision(trained: str, accelerator: str = "auto") -> str:
    """The precision of a training, or fp32 if the device of this machine does not have it.

    Args:
        trained: Lightning's name of the precision.
        accelerator: Lightning's name of the accelerator.

    >>> available_precision("16-mixed", "cpu"), available_precision("32-true", "cpu")
    ('32-true', '32-true')
    """
    is_cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "32-true" if precision_problems(trained, "cuda" if is_cuda else "cpu") else trained
