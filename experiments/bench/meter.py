"""What all contestants share: what an encoder reads in a window of updates, and how long it takes.

Shapes: B examples, T tokens.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture

LEARNING_RATE = 5e-5
"""Learning rate of every contestant: the default of all three frameworks."""

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Arguments of a Lightning trainer that leaves nothing behind."""


class Meter:
    """Counts at the input of the encoder, the same for every contestant, and times the updates after a warm-up.

    A window runs from the end of the warm-up's last update to the end of its own last one, so that loading batches is
    in it. There may be several windows, one after the other; counts and times add up.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.updates = 0
        self.examples = self.padded_tokens = 0
        self.to_first_step: float | None = None
        self.rss_anon_mib = 0.0
        self._lengths: list[Tensor] = []
        self._left = (0, 0)
        self._started: float | None = None

    def watch(self, encoder: nn.Module) -> None:
        """Counts what an encoder is given: a transformer, with its mask or layout by name, or our `Encoder`.

        Where CUDA graphs replace calls of the transformer, only `Encoder` is called for every batch.
        """
        # A compiled module has its hooks compiled with it, and a clock cannot be compiled.
        compiled = encoder._compiled_call_impl is not None
        count = torch.compiler.disable(self.count) if compiled else self.count
        encoder.register_forward_pre_hook(count, with_kwargs=True)

    def begin(self, warmup: int, updates: int) -> None:
        """Announces a window of updates after at least one of warm-up."""
        assert warmup >= 1
        assert updates >= 1
        self._left = (warmup, updates)

    def update_done(self) -> None:
        """To be called at the end of every update; what comes after the window counts nothing."""
        warmup, updates = self._left
        if warmup:
            self._left = (warmup - 1, updates)
            if warmup == 1:
                self._started = now()
        elif self._started is not None:
            self.updates += 1
            self._left = (0, updates - 1)
            if updates == 1:
                self.seconds += now() - self._started
                self._started = None
                self.rss_anon_mib = max(self.rss_anon_mib, rss_anon_mib())

    def figures(self) -> dict[str, Any]:
        """Sums over the windows."""
        assert self._started is None
        assert self.updates
        lengths = torch.cat(self._lengths)
        return {
            "seconds": self.seconds,
            "updates": self.updates,
            "examples": self.examples,
            "real_tokens": int(lengths.sum()),
            "padded_tokens": self.padded_tokens,
            "squared_lengths": int((lengths**2).sum()),
            "to_first_step": self.to_first_step,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,  # in KiB on Linux
            "rss_anon_mib": self.rss_anon_mib,
        }

    def count(self, encoder: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        """Counts one call of an encoder; only for calls that `watch` cannot see, as of a graph.

        Args:
            encoder: The encoder, see `watch`.
            arguments: Positional arguments of the call.
            named: Named arguments of the call.
        """
        if self.to_first_step is None:
            self.to_first_step = time.time() - psutil.Process().create_time()
        if self._started is None:
            return
        lengths, padded = sizes(encoder, arguments, named)
        self._lengths.append(lengths)
        self.examples += len(lengths)
        self.padded_tokens += padded


def sizes(encoder: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Tensor, int]:
    """The real tokens of each sequence of a call [B], and the number of tokens that linear layers compute."""
    if "attention_mask" in named:
        mask = named["attention_mask"]  # [B, T]
        return mask.sum(1), mask.numel()
    layout = named["layout"] if "layout" in named else arguments[1]
    lengths = torch.from_numpy(layout.lengths)
    if not getattr(encoder, "has_graphs", False):
        return lengths, int(lengths.sum())
    from mtl.encoder.graphs import Room  # here, since the environments of other frameworks have no mtl

    return lengths, Room.of(layout).tokens


def now() -> float:
    """The time in seconds, once a GPU, if there is one, has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def rss_anon_mib() -> float:
    """Memory of this process that no file backs, so without what the cache maps; 0 where the system does not say."""
    path = Path("/proc/self/status")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("RssAnon:")), 0.0)


def seeded(options: argparse.Namespace) -> Mixture:
    """The mixture of a contestant with the seed of the round."""
    from mtl.config.loading import load_mixture

    return load_mixture(options.mixture, [f"seed={options.seed}"])
