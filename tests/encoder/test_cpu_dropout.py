"""Dropout by bytes: exactly the stated probability, independent draws, seeded, right gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from mtl.encoder.cpu_dropout import SMALLEST, ByteDropout, byte_dropout, draw_kept, replace_dropout

NUM = 2_000_000


@pytest.mark.parametrize("p", [0.1, 0.003, 0.5, 1 / 256, 0.25, 0.999])
def test_each_element_is_dropped_with_exactly_the_stated_probability(p: float) -> None:
    torch.manual_seed(1)
    dropped = NUM - int(draw_kept(NUM, p).sum())
    assert stats.binomtest(dropped, NUM, p).pvalue > 1e-3


def test_a_probability_between_two_bytes_differs_from_both() -> None:
    torch.manual_seed(2)
    dropped = 8 * NUM - int(draw_kept(8 * NUM, 0.1).sum())
    assert stats.binomtest(dropped, 8 * NUM, 25 / 256).pvalue < 1e-6
    assert stats.binomtest(dropped, 8 * NUM, 26 / 256).pvalue < 1e-6


@pytest.mark.parametrize("lag", [1, 2, 7, 8, 64, 384])
def test_draws_of_neighbouring_elements_are_independent(lag: int) -> None:
    torch.manual_seed(3)
    kept = draw_kept(NUM, 0.1)
    pairs = np.bincount(2 * kept[:-lag] + kept[lag:], minlength=4)
    shares = np.array([0.01, 0.09, 0.09, 0.81])
    assert stats.chisquare(pairs, shares * pairs.sum()).pvalue > 1e-3


def test_draws_of_two_calls_are_independent() -> None:
    torch.manual_seed(4)
    first, second = draw_kept(NUM, 0.1), draw_kept(NUM, 0.1)
    pairs = np.bincount(2 * first + second, minlength=4)
    assert stats.chisquare(pairs, np.array([0.01, 0.09, 0.09, 0.81]) * NUM).pvalue > 1e-3


def test_the_same_seed_draws_the_same_and_another_seed_draws_others() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return byte_dropout(torch.ones(SMALLEST), 0.3)

    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kept_elements_are_scaled_and_the_gradient_has_the_same_mask(dtype: torch.dtype) -> None:
    values = torch.randn(64, 128, dtype=dtype).requires_grad_()
    dropped = byte_dropout(values, 0.25)
    dropped.backward(torch.ones_like(dropped))
    kept = dropped.detach() != 0
    assert values.grad is not None
    assert torch.equal(values.grad, kept * torch.tensor(1 / 0.75, dtype=dtype))
    torch.testing.assert_close(dropped.detach(), values.detach() * kept / 0.75)


def test_a_tensor_that_is_not_contiguous_is_dropped_in_its_own_order() -> None:
    values = torch.arange(1.0, 128 * 64 + 1).reshape(128, 64).T
    dropped = byte_dropout(values, 0.5)
    assert torch.equal(dropped[dropped != 0], (values * 2)[dropped != 0])


def test_an_infinite_value_that_is_dropped_becomes_zero() -> None:
    dropped = byte_dropout(torch.full((SMALLEST,), torch.inf), 0.5)
    assert set(dropped.tolist()) == {0.0, torch.inf}


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_probabilities_0_and_1_behave_like_torch(p: float) -> None:
    values = torch.ones(SMALLEST)
    assert torch.equal(byte_dropout(values, p), torch.dropout(values, p, train=True))


def test_evaluation_drops_nothing() -> None:
    values = torch.ones(SMALLEST)
    assert ByteDropout(0.5).eval()(values) is values


def test_every_plain_dropout_inside_a_module_is_replaced() -> None:
    model = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)), nn.Dropout1d(0.4))
    replace_dropout(model)
    kinds = {type(m): m.p for m in model.modules() if hasattr(m, "p")}
    assert kinds == {ByteDropout: 0.3, nn.Dropout1d: 0.4}
