"""What the engine does with the batches of a model family."""

from __future__ import annotations

from typing import Literal

from heads._causal import is_causal
from mtl.config.encoder_entry import EncoderEntry
from mtl.encoder.pretrained import supports_packing

DECIDES_RESULTS = False

Batching = Literal["packed", "padded", "not loadable"]


def batching(entry: EncoderEntry) -> Batching:
    """Whether the installed version of transformers has the family, and whether its batches are packed or padded.

    A family is packed if its class takes an attention function from outside.
    """
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    if entry.family not in CONFIG_MAPPING or CONFIG_MAPPING[entry.family] not in MODEL_MAPPING:
        return "not loadable"
    config = CONFIG_MAPPING[entry.family]()
    is_as_stated = is_causal(config) == (entry.architecture == "decoder")
    return "packed" if is_as_stated and supports_packing(config) else "padded"
