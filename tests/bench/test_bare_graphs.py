"""The loop of whole updates: the update that a graph would replay is that of a plain loop with AdamW."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bare_graphs
import pytest
import torch
from contestants import batch_loss, groups_of, our_batches
from meter import LEARNING_RATE, Meter

from mtl.config.loading import load_mixture
from mtl.training.assembly import build_module
from mtl.training.optimisation import schedule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a module that only collects batches

NO_DROPOUT = ["encoder.dropout=0", *(f"tasks.{task}.options.dropout=0" for task in ("cause", "drugs", "risk", "bleed"))]


def test_two_passes_end_with_the_weights_of_a_plain_loop_and_the_second_is_measured(
    toy_mixture: Callable[..., Path],
) -> None:
    mixture = load_mixture(toy_mixture(), NO_DROPOUT)
    batches = our_batches(mixture, 6)
    assert len({tuple(part.task for part in batch.parts) for batch in batches}) > 1  # a head is met later, or never
    found, expected = (build_module(mixture).train() for _ in range(2))
    meter = Meter()
    losses = bare_graphs.train(found, batches, meter, precision="32-true")
    optimizer = torch.optim.AdamW(groups_of(expected))
    factor = schedule("linear", warmup=1, total=12)
    seen = []
    for number, batch in enumerate([*batches, *batches]):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * factor(number)
        optimizer.zero_grad()
        loss = batch_loss(expected, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.detach())
    torch.testing.assert_close(losses, torch.stack(seen[6:]), rtol=1e-5, atol=1e-6)
    for (name, weight), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        if not name.endswith("key.bias"):  # whose true gradient is zero
            torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-6, msg=name)
    figures = meter.figures()
    assert figures["updates"] == 6
    assert figures["real_tokens"] == figures["padded_tokens"] == sum(len(batch.input_ids) for batch in batches)


def test_losses_that_are_not_finite_are_an_error(
    toy_mixture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def train(module: Any, batches: Any, meter: Meter, *, precision: str) -> torch.Tensor:
        seen.extend(batches)
        return torch.tensor([1.0, float("nan")])

    monkeypatch.setattr(bare_graphs, "train", train)
    words = {"mixture": toy_mixture(), "seed": 0, "warmup": 1, "updates": 2, "precision": "32-true", "device": "cpu"}
    with pytest.raises(ValueError, match="1 of 2 losses"):
        bare_graphs.bare_with_graphs(SimpleNamespace(**words), Meter())  # type: ignore[arg-type]
    assert len(seen) == 2
