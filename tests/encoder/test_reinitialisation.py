from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from mtl.config.mixture import EncoderSpec
from mtl.encoder.pretrained import load_config, load_encoder, load_tokenizer
from mtl.encoder.reinitialisation import reinitialise
from mtl.problems import InputError


def states(folder: Path, num_layers: int, seed: int) -> dict[str, Tensor]:
    model = AutoModel.from_pretrained(folder)
    reinitialise(model, num_layers, seed)
    return dict(model.state_dict())


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("family", ["bert", "modernbert", "eurobert"])
def test_only_the_top_layers_change(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    folder = tiny_encoder(family)
    before = dict(AutoModel.from_pretrained(folder).state_dict())
    changed = differing(before, states(folder, 1, seed=0))
    matrices = {name for name in before if ".1." in name.replace("layer.", "") and before[name].ndim > 1}
    assert matrices <= changed
    assert all("layer.1." in name or "layers.1." in name for name in changed)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_encoder: Callable[[str], Path]) -> None:
    folder = tiny_encoder("bert")
    assert not differing(states(folder, 1, seed=3), states(folder, 1, seed=3))
    assert differing(states(folder, 1, seed=3), states(folder, 1, seed=4))


def test_more_layers_do_not_change_the_draws_of_the_others(tiny_encoder: Callable[[str], Path]) -> None:
    folder = tiny_encoder("bert")
    changed = differing(states(folder, 1, seed=0), states(folder, 2, seed=0))
    assert changed
    assert all("layer.0." in name for name in changed)


def test_weights_are_drawn_as_the_model_does_it(tiny_encoder: Callable[[str], Path]) -> None:
    model = AutoModel.from_pretrained(tiny_encoder("bert"))
    model.config.initializer_range = 0.5
    reinitialise(model, 2, seed=0)
    layer = model.encoder.layer[1]
    assert float(layer.intermediate.dense.weight.detach().std()) == pytest.approx(0.5, rel=0.1)
    assert torch.equal(layer.output.LayerNorm.weight, torch.ones(16))
    assert not layer.output.dense.bias.any()
    assert not layer.output.LayerNorm.bias.any()


def spec(folder: Path, **fields: Any) -> EncoderSpec:
    return EncoderSpec(name=str(folder), **{"max_length": 48, **fields})


def test_the_key_of_the_mixture_reinitialises_the_encoder(tiny_encoder: Callable[[str], Path]) -> None:
    plain, fresh = spec(tiny_encoder("bert")), spec(tiny_encoder("bert"), reinit_layers=1)
    one, other = (load_encoder(kind, load_tokenizer(kind), seed=1).state_dict() for kind in (plain, fresh))
    assert differing(one, other)
    assert all("layer.1." in name for name in differing(one, other))


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("bert", {"reinit_layers": 3}),
        ("bert", {"reinit_layers": 2, "num_layers": 1}),
        ("bert", {"reinit_layers": 2, "freeze_layers": 1}),
        ("albert", {"reinit_layers": 1}),
    ],
    ids=str,
)
def test_layers_that_cannot_be_reinitialised_are_errors(
    family: str, fields: dict[str, Any], tiny_encoder: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(spec(tiny_encoder(family), **fields))
    assert [problem.key for problem in caught.value.problems] == ["encoder.reinit_layers"]
