"""What to lower if the device runs out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.batching.batch import Batch

DECIDES_RESULTS = False

OF_LIBRARIES = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "Cuda failure 2 'out of memory'")
"""How the libraries of a GPU say that its memory is full, in errors of a more general class: cuBLAS, cuDNN and NCCL."""

Purpose = Literal["training", "evaluating", "predicting"]


class MemoryWatch:
    """Knows which batch a device computes, so that running out of memory is a problem that says what to lower."""

    def __init__(self) -> None:
        self._purpose: Purpose = "training"
        self._tasks: list[str] = []
        self._num_tokens = 0

    def begin(self, purpose: Purpose, batch: Batch) -> None:
        """Notes the batch that is computed from now on.

        Args:
            purpose: What it is computed for.
            batch: The batch.
        """
        self._purpose = purpose
        self._tasks, self._num_tokens = [part.task for part in batch.parts], len(batch.input_ids)

    @contextmanager
    def problems(self) -> Iterator[None]:
        """A context around the work of a trainer.

        Raises:
            InputError: The device ran out of memory.
        """
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise InputError(self._problem()) from error
        except RuntimeError as error:
            if not any(sign in str(error) for sign in OF_LIBRARIES):
                raise
            raise InputError(self._problem()) from error

    def _problem(self) -> Problem:
        batch = f"while {self._purpose} {', '.join(self._tasks)} with {self._num_tokens} tokens in a batch"
        message = f"The device ran out of memory {batch if self._tasks else 'before the first batch'}."
        if self._purpose == "predicting":
            return Problem("--trainer.accelerator", message, "Free its memory, or add --trainer.accelerator=cpu.")
        advice = "Lower batch_size, tokens_per_batch or max_length"
        if self._purpose == "training":
            other = "set encoder.gradient_checkpointing, or turn model.cuda_graphs off if it is on"
            return Problem("batch_size", message, f"{advice}, {other}.")
        return Problem("batch_size", message, f"{advice}; a finished run can be scored with --trainer.accelerator=cpu.")
