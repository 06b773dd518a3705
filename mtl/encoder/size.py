"""The size of an encoder, from its configuration alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DECIDES_RESULTS = False


def num_parameters(config: PretrainedConfig) -> int:
    """The number of parameters of an encoder, without loading its weights.

    Args:
        config: Configuration of the encoder.
    """
    from transformers import AutoModel

    make: Any = AutoModel.from_config
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(config).parameters())
