"""Our attention against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl.config.mixture import EncoderSpec
from mtl.encoder.cpu_attention import attention
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.problems import InputError


def _inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, 5, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.zeros(3, 1, 5, 5)
    mask[1, :, :, 3:] = torch.finfo(torch.float32).min
    return query, key, value, mask


def test_values_and_gradients_equal_those_of_torch() -> None:
    query, key, value, mask = _inputs()
    ours, _ = attention(nn.Identity(), query, key, value, mask)
    theirs = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * weights).sum(), (query, key, value)),
        torch.autograd.grad((theirs * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("num_shared", [1, 2])
def test_adjacent_query_heads_share_a_key_head_if_there_are_fewer_keys(num_shared: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(3, 4, 5, 8, requires_grad=True)
    key, value = (torch.randn(3, num_shared, 5, 8, requires_grad=True) for _ in range(2))
    ours, _ = attention(nn.Identity(), query, key, value, None)
    theirs = nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours.square().sum(), (query, key, value)),
        torch.autograd.grad(theirs.square().sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_an_unsupported_argument_that_would_change_the_result_is_an_error() -> None:
    query, key, value, mask = _inputs()
    plain, _ = attention(nn.Identity(), query, key, value, mask)
    known, _ = attention(nn.Identity(), query, key, value, mask, sliding_window=4, is_causal=False, softcap=None)
    assert torch.equal(known, plain)
    with pytest.raises(InputError, match=r"encoder\.attention: .* s_aux, softcap, .*eager"):
        attention(nn.Identity(), query, key, value, mask, softcap=30.0, s_aux=torch.zeros(2), sliding_window=4)


def test_autocast_keeps_the_precision_of_the_queries() -> None:
    query, key, value, mask = _inputs(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = attention(nn.Identity(), query, key, value, mask)
    exact = nn.functional.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), exact.transpose(1, 2), rtol=0.05, atol=0.05)


def test_dropout_is_applied_only_in_training() -> None:
    query = torch.zeros(4, 4, 32, 8)
    value = torch.ones(4, 4, 32, 8)
    module = nn.Identity()
    trained, _ = attention(module.train(), query, query, value, None, dropout=0.5)
    evaluated, _ = attention(module.eval(), query, query, value, None, dropout=0.5)
    assert trained.std() > 0.05
    torch.testing.assert_close(evaluated, torch.ones_like(evaluated))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "modernbert", "eurobert"])
def test_an_encoder_has_the_same_states_with_our_attention_and_with_transformers(
    tiny_encoder: Any, family: str
) -> None:
    states = {}
    for implementation in ("auto", "eager"):
        spec = EncoderSpec(name=str(tiny_encoder(family)), attention=implementation, max_length=64)
        tokenizer = load_tokenizer(spec)
        encoder = load_encoder(spec, tokenizer, 0).eval()
        inputs = tokenizer(["aspirin reduces fever", "warfarin"], padding=True, return_tensors="pt")
        states[implementation] = encoder(inputs["input_ids"], inputs["attention_mask"].bool())
        assert encoder.config._attn_implementation != "auto"
    torch.testing.assert_close(states["auto"], states["eager"], rtol=1e-4, atol=1e-5)
