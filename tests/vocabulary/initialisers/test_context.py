from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.config.mixture import EncoderSpec
from mtl.encoder.whole_model import load_whole_model
from mtl.problems import InputError
from mtl.vocabulary.exchange import exchange_of
from mtl.vocabulary.initialisers import Setting
from mtl.vocabulary.initialisers.context import Context
from mtl.vocabulary.new_tokenizers import extended
from mtl.vocabulary.occurrences import Occurrence, occurrences_of

SENTENCES = ["the metformin risk", "fever and metformin ."]


def setting_of(folder: Path, tokenizer: Any, texts: list[str]) -> Setting:
    model = load_whole_model(EncoderSpec(name=str(folder)))
    new = extended(tokenizer, ["metformin"])
    exchange = exchange_of(tokenizer, new, len(model.inputs))
    found = occurrences_of(exchange.ids, texts, new, most=20, length=64, seed=1)
    return Setting(model, tokenizer, new, exchange, found, 64, 1)


def states_of(model: Any, tokenizer: Any, text: str, layer: int) -> torch.Tensor:
    """The states of the nine pieces of `metformin` in a text, found by their ids."""
    encoded = tokenizer(text, return_tensors="pt")
    pieces = tokenizer("metformin", add_special_tokens=False)["input_ids"]
    ids = encoded["input_ids"][0].tolist()
    start = next(place for place in range(len(ids)) if ids[place : place + len(pieces)] == pieces)
    with torch.no_grad():
        return model(**encoded, output_hidden_states=True).hidden_states[layer][0, start : start + len(pieces)]


@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("pieces", ["mean", "first", "last"])
def test_a_row_is_the_mean_over_two_sentences(
    layer: int, pieces: Any, tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    setting = setting_of(tiny_encoder("bert"), tokenizer, SENTENCES)
    vectors = []
    for text in SENTENCES:
        states = states_of(setting.model.encoder, tokenizer, text, layer)
        vectors.append({"mean": states.mean(dim=0), "first": states[0], "last": states[-1]}[pieces])
    expected = (vectors[0] + vectors[1]) / 2
    rows = Context(layer=layer, pieces=pieces, rescale="none").rows(setting).inputs
    assert torch.allclose(rows, expected[None], atol=1e-6)
    scaled = Context(layer=layer, pieces=pieces).rows(setting).inputs
    norm = setting.model.inputs.norm(dim=1).mean()
    assert torch.allclose(scaled, (expected * norm / expected.norm())[None], atol=1e-6)


def test_the_median_ignores_one_occurrence_that_differs(tiny_encoder: Callable[[str], Path], tokenizer: Any) -> None:
    texts = ["the metformin", "the metformin", "fever and metformin ."]
    setting = setting_of(tiny_encoder("bert"), tokenizer, texts)
    rows = Context(occurrences="median", rescale="none").rows(setting).inputs
    expected = states_of(setting.model.encoder, tokenizer, texts[0], -1).mean(dim=0)
    assert torch.allclose(rows, expected[None], atol=1e-6)


def test_an_occurrence_beyond_the_maximum_length_is_not_read(
    tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    setting = setting_of(tiny_encoder("bert"), tokenizer, SENTENCES)
    text = f"{'fever ' * 70}metformin"
    late = {setting.exchange.ids[0]: [Occurrence(text, text.index("metformin"), len(text))]}
    found = Context().rows(setting._replace(occurrences=late))
    assert found.report == {"tokens_from_context": 0}
    assert torch.equal(found.inputs, Context().table_rows(setting.model.inputs, setting.exchange.tokens, 1))


def test_embeddings_of_another_size_than_the_states_are_refused(
    tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    with pytest.raises(InputError) as caught:
        Context().rows(setting_of(tiny_encoder("electra"), tokenizer, SENTENCES))
    assert [problem.key for problem in caught.value.problems] == ["init.method"]


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_lacks_is_refused(
    layer: int, tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    with pytest.raises(InputError) as caught:
        Context(layer=layer).rows(setting_of(tiny_encoder("bert"), tokenizer, SENTENCES))
    assert [problem.key for problem in caught.value.problems] == ["init.layer"]
