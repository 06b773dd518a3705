"""The comparison of packed attention with transformers' own on a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.config.mixture import EncoderSpec
from mtl.encoder import packed_attention
from mtl.encoder.model import Encoder
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.encoder.self_check import check_on_device
from mtl.problems import InputError
from tests import emulated
from tests.tiny_sizes import PACKED

Tiny = Callable[[str], Path]


@pytest.fixture
def device() -> torch.device:
    emulated.register()
    return torch.device("emulated", 0)


def load(folder: Path, **options: Any) -> Encoder:
    spec = EncoderSpec(name=str(folder), **options)
    return load_encoder(spec, load_tokenizer(spec), seed=0)


@pytest.mark.parametrize("family", PACKED)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_packed_family_passes(
    tiny_encoder: Tiny, device: torch.device, family: str, precision: torch.dtype
) -> None:
    encoder = load(tiny_encoder(family)).to(device)
    with torch.autocast("emulated", precision, enabled=precision != torch.float32):
        check_on_device(encoder, device)
    assert encoder.model.training


def test_no_code_is_compiled_for_the_comparison(tiny_encoder: Tiny, device: torch.device) -> None:
    encoder = load(tiny_encoder("bert")).to(device)
    compiled = []

    def backend(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    encoder.model.compile(backend=backend)
    check_on_device(encoder, device)
    assert compiled == []


def test_attention_across_sequences_is_refused(
    tiny_encoder: Tiny, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(tiny_encoder("bert")).to(device)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            weight.mul_(20 if "attention" in name else 1)  # random weights are so small that attention hardly counts
    check_on_device(encoder, device)

    def across(query: Any, key: Any, value: Any, *_: Any, scale: float, **__: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            *(states.transpose(0, 1)[None] for states in (query, key, value)), scale=scale
        )[0].transpose(0, 1)

    monkeypatch.setattr(packed_attention, "_has_kernel", lambda *_: True)
    monkeypatch.setattr(packed_attention, "_varlen", across)
    with pytest.raises(InputError, match=r"encoder\.attention: .*eager"):
        check_on_device(encoder, device)


def test_states_that_are_not_numbers_are_refused(
    tiny_encoder: Tiny, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(tiny_encoder("bert")).to(device)
    monkeypatch.setattr(packed_attention, "_has_kernel", lambda *_: True)
    monkeypatch.setattr(packed_attention, "_varlen", lambda q, k, v, *_, **__: v * float("nan"))
    with pytest.raises(InputError):
        check_on_device(encoder, device)


@pytest.mark.parametrize(("where", "options"), [("cpu", {}), ("emulated", {"attention": "eager"})])
def test_nothing_is_compared_on_a_cpu_or_without_packing(
    tiny_encoder: Tiny, device: torch.device, where: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(tiny_encoder("bert"), **options)
    monkeypatch.setattr("mtl.encoder.self_check._sample", lambda _: pytest.fail("it was compared"))
    check_on_device(encoder, torch.device(where))
