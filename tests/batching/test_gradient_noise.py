"""The gradient of our batches varies as little as that of random ones, also where a text's length tells its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from heads.classification import Classification
from mtl.batching.batch import ExampleGroup, collate
from mtl.batching.batcher import Batcher, by_length
from mtl.config.mixture import EncoderSpec
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.seeding import stream

NUM_EXAMPLES, BATCH = 320, 8

Indices = npt.NDArray[np.int64]
Variance = Callable[[Sequence[Indices]], float]


@pytest.fixture(scope="module")
def lengths() -> Indices:
    drawn = np.random.default_rng(0).lognormal(2.5, 0.6, NUM_EXAMPLES)
    return np.clip(drawn.astype(np.int64), 3, 60)


@pytest.fixture(scope="module")
def variance(tiny_encoder: Callable[[str], Path], lengths: Indices) -> Variance:
    """A function that returns the variance of the gradient over batches, summed over all weights."""
    spec = EncoderSpec(name=str(tiny_encoder("bert")), dropout=0.0)
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0)
    torch.manual_seed(0)
    head = Classification(["short", "long"], encoder.hidden_size, dropout=0.0)
    random = np.random.default_rng(1)
    examples: list[dict[str, Any]] = [
        {"input_ids": random.integers(5, 60, n).tolist(), "label": int(n > np.median(lengths)), "targets": 1}
        for n in lengths
    ]
    weights = [*encoder.parameters(), *head.parameters()]

    def gradient(indices: Indices) -> torch.Tensor:
        batch = collate([ExampleGroup({"length": [examples[i] for i in indices]})], {"length": head})
        states = encoder(batch.input_ids, batch.layout)
        loss, targets = head.loss(head(states, batch.mask, batch.parts[0].fields), batch.parts[0].fields)
        found = torch.autograd.grad(loss / targets, weights, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    def measure(batches: Sequence[Indices]) -> float:
        gradients = torch.stack([gradient(indices) for indices in batches])
        return float(gradients.var(0).sum())

    return measure


def independent(number: int) -> list[Indices]:
    """Batches of examples drawn without replacement, each batch for itself."""
    random = stream(0, "noise")
    return [random.choice(NUM_EXAMPLES, BATCH, replace=False) for _ in range(number)]


@pytest.mark.parametrize("budget", [None, 120])
def test_our_batches_have_the_gradient_noise_of_random_ones(
    variance: Variance, lengths: Indices, budget: int | None
) -> None:
    batcher = Batcher(lengths, BATCH, 0, "length", token_budget=budget)
    batches = [batcher[position] for position in range(4 * batcher.batches_per_pass)]
    sizes = np.array([len(batch) for batch in batches])
    expected = variance(independent(160)) * BATCH * np.mean(1 / sizes)  # the variance of a mean of so many
    assert variance(batches) <= 1.2 * expected


def test_batches_of_similar_length_are_several_times_as_noisy(variance: Variance, lengths: Indices) -> None:
    assert variance(by_length(np.arange(NUM_EXAMPLES), lengths, BATCH, 10_000)) > 3 * variance(independent(160))
