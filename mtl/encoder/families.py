"""What the engine does with the batches of a model family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heads._causal import is_causal
from mtl.config.encoder_entry import EncoderEntry
from mtl.encoder.pretrained import is_said_to_pack, supports_packing

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from mtl.config.mixture import EncoderSpec

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


def padding_reasons(spec: EncoderSpec, config: PretrainedConfig, *, packs: bool | None = None) -> dict[str, str]:
    """Why the batches of an encoder are padded, by key and for people; empty if they are packed.

    Args:
        spec: The encoder.
        config: Its configuration.
        packs: Whether the loaded encoder packs. None if it is not loaded: then it is taken to pack if its family does,
            although the self-check of `load_encoder` may still differ.
    """
    if packs:
        return {}
    if spec.attention != "auto":
        reason = "only auto packs them"
    elif not (is_said_to_pack(config) if packs is None else supports_packing(config)):
        reason = f"{config.model_type} takes no attention function from outside"
    elif packs is None:
        return {}
    else:
        reason = f"{config.model_type} failed the self-check, in which two sequences are packed and computed alone"
    return {"encoder.attention": f"{spec.attention} (batches are padded: {reason})"}
