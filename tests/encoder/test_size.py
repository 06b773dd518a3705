from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel

from mtl.encoder.size import num_parameters


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert"])
def test_parameters_are_counted_without_weights(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    folder = tiny_encoder(family)
    counted = sum(parameter.numel() for parameter in AutoModel.from_pretrained(folder).parameters())
    assert num_parameters(AutoConfig.from_pretrained(folder)) == counted
