from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn
from transformers import AutoModel

from mtl.encoder.layers import depths, transformer_layers
from mtl.problems import InputError

FAMILIES = {
    "bert": ["embeddings.", "encoder.layer.0.", "encoder.layer.1.", "pooler."],
    "electra": ["embeddings", "encoder.layer.0.", "encoder.layer.1.", "nothing"],
    "modernbert": ["embeddings.", "layers.0.", "layers.1.", "final_norm."],
    "albert": ["embeddings.", "encoder.albert_layer_groups.0.", "pooler."],
    "eurobert": ["embed_tokens.", "layers.0.", "layers.1.", "norm."],
}
"""By depth, how the names of the parameters begin."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_the_depth_of_its_place(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    model = AutoModel.from_pretrained(tiny_encoder(family))
    found, num_layers = depths(model)
    starts = FAMILIES[family]
    assert num_layers == len(starts) - 2
    for name, parameter in model.named_parameters():
        if "embedding_hidden_mapping_in" in name:  # ALBERT projects its embeddings inside the encoder
            assert found[id(parameter)] == 0
        else:
            assert name.startswith(starts[found[id(parameter)]]), name


def test_tables_of_relative_positions_are_embeddings(tiny_encoder: Callable[[str], Path]) -> None:
    model = AutoModel.from_pretrained(tiny_encoder("mpnet"))
    found, _ = depths(model)
    assert found[id(model.encoder.relative_attention_bias.weight)] == 0


def test_a_model_without_layers_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        transformer_layers(nn.Linear(2, 2))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
