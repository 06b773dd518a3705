"""Whether an encoder is a causal language model, in which a token sees only itself and the tokens before it."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

_NOT_CAUSAL = frozenset({"bert-generation", "cpmant", "git", "xlnet"})
"""Families that generate text and let tokens see later ones."""


def is_causal(config: Any) -> bool:
    """Whether an encoder is a causal language model.

    It is one if its family can generate text and has no class for masked language modelling. That is read from the
    source of the family, which takes seconds to import.

    Args:
        config: Configuration of the Hugging Face model.

    >>> from transformers import BertConfig, GPT2Config, LlamaConfig
    >>> [is_causal(config) for config in (BertConfig(), GPT2Config(), LlamaConfig())]
    [False, True, True]
    """
    if getattr(config, "is_encoder_decoder", False) or config.model_type in _NOT_CAUSAL:
        return False
    return _generates_only(type(config).__module__)


@functools.cache
def _generates_only(module: str) -> bool:
    name = module.replace(".configuration_", ".modeling_")
    found = None if name == module else importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return False
    source = Path(found.origin).read_text(encoding="utf-8")
    classes = re.findall(r"^class (\w+)\(([^)]*)\)", source, re.MULTILINE)
    generates = any("GenerationMixin" in parents for _, parents in classes)
    return generates and not any(own.endswith("ForMaskedLM") for own, _ in classes)
