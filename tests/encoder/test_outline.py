from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.config.mixture import EncoderSpec
from mtl.encoder.location import encoder_folder
from mtl.encoder.outline import EncoderOutline
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.problems import InputError
from tests.masked_lm_models import masked_lm_folder

Tiny = Callable[[str], Path]


def test_an_outline_has_what_heads_read_of_the_encoder_but_no_values_of_the_table(
    tmp_path: Path, tiny_encoder: Tiny, tokenizer: Any
) -> None:
    _, folder = masked_lm_folder(tmp_path, tiny_encoder("bert"), tokenizer)
    spec = EncoderSpec(name=str(folder), max_length=48)
    outline, encoder = EncoderOutline(spec), load_encoder(spec, load_tokenizer(spec), 0)
    assert outline.shipped is None
    assert outline.config.hidden_size == encoder.config.hidden_size
    assert outline.token_embeddings.weight.shape == encoder.token_embeddings.weight.shape
    assert outline.token_embeddings.weight.is_meta
    ours, theirs = outline.masked_lm_weights(), encoder.masked_lm_weights()
    assert theirs is not None
    assert ours.keys() == theirs.keys() != set()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_of_a_head_that_the_checkpoint_lacks_are_left_out(tiny_encoder: Tiny) -> None:
    spec = EncoderSpec(name=str(tiny_encoder("roberta")), max_length=48)
    found = load_encoder(spec, load_tokenizer(spec), 0).masked_lm_weights()
    assert found is not None
    assert not [name for name in found if "dense" in name or "layer_norm" in name]
    assert load_encoder(spec, load_tokenizer(spec), 0, weights=False).masked_lm_weights() is None


def test_an_outline_downloads_nothing(tmp_path: Path, tiny_encoder: Tiny) -> None:
    spec = EncoderSpec(name=str(tiny_encoder("bert")), max_length=48)
    outline = EncoderOutline(spec)
    outline._spec = spec.model_copy(update={"name": "nobody/nothing"})
    assert encoder_folder("nobody/nothing") == "nobody/nothing"
    with pytest.raises(InputError):
        outline.masked_lm_weights()
