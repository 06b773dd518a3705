"""Metrics of agreement, against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef
from torch import Tensor

from heads import _confusion_metrics
from heads._metrics import functions_of

C = 3
answers = st.lists(st.tuples(st.integers(0, C - 1), st.integers(0, C - 1)), min_size=1, max_size=40)
METRICS = functions_of(_confusion_metrics)


def confusion_of(pairs: list[tuple[int, int]]) -> Tensor:
    confusion = torch.zeros(C, C, dtype=torch.long)
    for gold, predicted in pairs:
        confusion[gold, predicted] += 1
    return confusion


@given(answers)
def test_mcc_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    # Scikit-learn warns if there is only one class.
    expected = matthews_corrcoef(gold, predicted) if len({*gold, *predicted}) > 1 else 0.0
    assert float(METRICS["mcc"](confusion_of(pairs))) == pytest.approx(expected, abs=1e-12)


@given(answers)
def test_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    # Without a second class, scikit-learn divides by 0.
    is_defined = len({*gold, *predicted}) > 1
    expected = cohen_kappa_score(gold, predicted, labels=range(C)) if is_defined else 0.0
    assert float(METRICS["kappa"](confusion_of(pairs))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
@given(st.lists(answers, min_size=1, max_size=4))
def test_many_matrices_have_bit_identical_scores_to_each_alone(
    metric: Callable[[Tensor], Tensor], many: list[list[tuple[int, int]]]
) -> None:
    matrices = [confusion_of(pairs) for pairs in many]
    assert metric(torch.stack(matrices)).tolist() == [float(metric(one)) for one in matrices]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_an_empty_matrix_scores_0(metric: Callable[[Tensor], Tensor]) -> None:
    assert float(metric(torch.zeros(C, C))) == 0.0
