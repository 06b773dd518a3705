"""Metrics of rankings, against scikit-learn and torchmetrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from heads._ranking_metrics import auprc, auroc

Metric = Callable[[Tensor, Tensor, Tensor], Tensor]
ORACLES: list[tuple[Metric, Any, Any]] = [
    (auroc, roc_auc_score, binary_auroc),
    (auprc, average_precision_score, binary_average_precision),
]
IDS = ["auroc", "auprc"]

rows = st.lists(st.tuples(st.integers(0, 10).map(lambda n: n / 10) | st.floats(0, 1), st.booleans()), max_size=30)


def tensors(pairs: list[tuple[float, bool]]) -> tuple[Tensor, Tensor]:
    probabilities = torch.tensor([p for p, _ in pairs], dtype=torch.double)
    return probabilities, torch.tensor([g for _, g in pairs], dtype=torch.bool)


@pytest.mark.parametrize(("metric", "oracle"), [pair[:2] for pair in ORACLES], ids=IDS)
@given(rows)
def test_a_metric_equals_scikit_learn(metric: Metric, oracle: Any, pairs: list[tuple[float, bool]]) -> None:
    probabilities, gold = tensors(pairs)
    expected = oracle(gold.numpy(), probabilities.numpy()) if len(gold.unique()) == 2 else 0.0
    assert float(metric(probabilities, gold, torch.ones(len(pairs)))) == pytest.approx(expected)


@pytest.mark.parametrize(("metric", "oracle"), [(m, t) for m, _, t in ORACLES], ids=IDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_metric_equals_torchmetrics(metric: Metric, oracle: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities, gold = torch.rand(50, generator=generator), torch.rand(50, generator=generator) < 0.3
    expected = float(oracle(probabilities, gold.long()))
    assert float(metric(probabilities, gold, torch.ones(50))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("metric", "oracle"), [pair[:2] for pair in ORACLES], ids=IDS)
def test_resampled_corpora_equal_scikit_learn_with_weights(metric: Metric, oracle: Any) -> None:
    rng = np.random.default_rng(0)
    probabilities, gold = rng.integers(0, 8, 25) / 8, rng.random(25) < 0.5
    times = rng.multinomial(25, np.full(25, 1 / 25), size=(3, 4))
    found = metric(torch.from_numpy(probabilities), torch.from_numpy(gold), torch.from_numpy(times))
    expected = [oracle(gold, probabilities, sample_weight=line) for line in times.reshape(12, 25)]
    assert found.shape == (3, 4)
    assert found.flatten().tolist() == pytest.approx(expected)
    alone = metric(torch.from_numpy(probabilities), torch.from_numpy(gold), torch.from_numpy(times[1, 2]))
    assert torch.equal(alone, found[1, 2])


@pytest.mark.parametrize("metric", [auroc, auprc], ids=IDS)
def test_a_corpus_without_rows_or_without_both_classes_scores_0(metric: Metric) -> None:
    probabilities, gold = torch.tensor([0.2, 0.8]), torch.tensor([False, True])
    times = torch.tensor([[0, 0], [2, 0], [0, 2], [1, 1]])
    assert metric(probabilities, gold, times).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert float(metric(torch.zeros(0), torch.zeros(0).bool(), torch.zeros(0))) == 0.0
