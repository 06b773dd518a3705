"""`mtl fit --profile`: where the time of a training step goes.

Lightning's profiler times the phases of the whole run; PyTorch's profiles some steps operator by operator. Both reports
are written to the run's folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.profilers import SimpleProfiler
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from mtl.distributed import is_rank_zero
from mtl.markdown import table
from mtl.tracking.run_folder import RunFolder

FIRST, STEPS = 10, 20
"""Number of steps that are skipped, while memory is still being allocated, and number of steps that are profiled."""

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::", "aten::_scaled_dot"),
    "dropout": ("_ByteDropout", "aten::bernoulli_", "aten::native_dropout", "aten::dropout"),
    "optimiser": ("aten::_fused_adamw", "aten::_foreach", "Optimizer.step", "aten::linalg_vector_norm"),
    "activation, softmax, norms": ("aten::gelu", "aten::_softmax", "aten::native_layer_norm", "aten::_log_softmax"),
    "embedding": ("aten::embedding", "aten::index_select"),
    "copies": ("aten::copy_", "aten::_to_copy", "aten::clone", "aten::cat", "aten::contiguous"),
    "elementwise": ("aten::add", "aten::mul", "aten::div", "aten::sum", "aten::fill_", "aten::zero_"),
}
"""Prefixes of operator names by kind of operator; the first kind with a matching prefix counts."""


class Operator(NamedTuple):
    """Time of an operator in milliseconds per step, without the operators that it calls."""

    name: str
    milliseconds: float


class StepProfile(Callback):
    """Profiles some steps of the training and writes `profile.md`.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._profile: profile | None = None
        self._started = 0.0
        self._steps = 0
        self._seen = 0
        """Steps profiled so far."""
        self._written = 0
        """Steps of the longest profile that was written."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._steps += 1
        if self._steps > FIRST and self._written < STEPS and self._profile is None and trainer.is_global_zero:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities)
            self._profile.start()
            self._seen, self._started = 0, time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self._seen += 1
        if self._seen == STEPS:
            self._finish()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._finish()  # an evaluation is not part of a step; a longer profile may follow it

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._finish()
        if self._steps <= FIRST and trainer.is_global_zero:
            text = f"Nothing was profiled: the training had {self._steps} steps, and the first {FIRST} are skipped.\n"
            self._folder.write_text("profile.md", text)

    def _finish(self) -> None:
        if self._profile is None:
            return
        steps = self._seen
        wall = 1000 * (time.perf_counter() - self._started) / max(1, steps)
        self._profile.stop()
        if steps <= self._written:
            self._profile = None
            return
        self._written = steps
        spent = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"  # microseconds
        # A kernel is an event of its own, whose time the operator that started it has, too.
        events = [event for event in self._profile.key_averages() if event.device_type == DeviceType.CPU]
        operators = [Operator(event.key, getattr(event, spent) / 1000 / steps) for event in events]
        self._profile = None
        self._folder.write_text("profile.md", as_markdown(operators, wall, steps))


def phases(folder: RunFolder) -> SimpleProfiler:
    """Lightning's profiler of phases, which writes `fit-phases.txt` in the first process only."""
    return _FirstProfiler(dirpath=folder.path, filename="phases")


class _FirstProfiler(SimpleProfiler):
    """Lightning's simple profiler without the rank in the file name, which it adds when there are several."""

    _is_first = True

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self._is_first = is_rank_zero() and not local_rank
        super().setup(stage, None, log_dir)

    def describe(self) -> None:
        if self._is_first:
            super().describe()


def as_markdown(operators: Iterable[Operator], wall: float, steps: int) -> str:
    """Where the time of a step goes, by kind of operator and by operator.

    Args:
        operators: Operators with their time per step.
        wall: Milliseconds per step.
        steps: Number of steps that were profiled.
    """
    operators = sorted(operators, key=lambda operator: -operator.milliseconds)
    totals = dict.fromkeys((*KINDS, "other operators"), 0.0)
    for operator in operators:
        totals[kind_of(operator.name)] += operator.milliseconds
    totals["between operators (Python, waiting)"] = max(0.0, wall - sum(totals.values()))
    lines = [
        f"Mean of {steps} steps after the first {FIRST}, {torch.get_num_threads()} threads; profiling takes time too.",
        "",
        *table(
            ["what", "ms per step", f"of {wall:.1f} ms"],
            ((kind, f"{value:.1f}", f"{value / wall:.1%}") for kind, value in totals.items()),
        ),
        *table(["operator", "ms per step"], ((one.name, f"{one.milliseconds:.2f}") for one in operators[:25])),
    ]
    return "\n".join(lines)


def kind_of(operator: str) -> str:
    """The kind of an operator.

    >>> kind_of("aten::addmm"), kind_of("_ByteDropoutFunctionBackward"), kind_of("aten::topk")
    ('matrix products', 'dropout', 'other operators')
    """
    return next((kind for kind, prefixes in KINDS.items() if operator.startswith(prefixes)), "other operators")
