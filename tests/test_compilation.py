from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.compilation import compile_encoder
from mtl.encoder import Encoder, load_encoder, load_tokenizer
from mtl.faults import InputError
from mtl.mixture import EncoderSpec


@pytest.fixture
def encoder(tiny_encoder: Callable[[str], Path]) -> Encoder:
    spec = EncoderSpec(name=str(tiny_encoder("bert")), dropout=0.0, num_layers=1)
    return load_encoder(spec, load_tokenizer(spec), seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # of torch's own import
def test_a_compiled_encoder_gives_the_same_states_for_any_shape_and_keeps_its_weights_names(encoder: Encoder) -> None:
    batches = [torch.randint(5, 20, shape) for shape in ((3, 7), (5, 12))]
    plain = [encoder(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in batches]
    names = list(encoder.state_dict())
    compile_encoder(encoder)
    assert all(parameter.grad is None for parameter in encoder.parameters())
    for ids, states in zip(batches, plain, strict=True):
        torch.testing.assert_close(encoder(ids, torch.ones_like(ids, dtype=torch.bool)), states, rtol=1e-4, atol=1e-5)
    assert list(encoder.state_dict()) == names


def test_what_cannot_be_compiled_is_refused_with_the_reason(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: Any) -> Any:
        raise RuntimeError("no compiler found\nand more")

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compile_module(self, backend=backend))
    with pytest.raises(
        InputError, match=r"model\.compile: The encoder can't be compiled on this machine: .*no compiler found"
    ):
        compile_encoder(encoder)


def test_an_encoder_that_is_all_frozen_is_compiled_without_a_way_back(
    tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EncoderSpec(name=str(tiny_encoder("bert")), num_layers=1, freeze_layers=1)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    compile_encoder(load_encoder(spec, load_tokenizer(spec), seed=0))
