"""Tiny random causal language models, saved with a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.tiny_sizes import SIZES

OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1},
    "biogpt": {"layerdrop": 0.0},
}


def causal_tokenizer(texts: Iterable[str] = ()) -> Any:
    """A tokenizer of bytes and of the words of some texts, with a token that starts a text and one that ends it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lines = [line for text in texts for line in (text, f" {text} {text.lower()}")]
    words = {word for line in lines for word, _ in byte_level.pre_tokenize_str(line)}
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(words):
        for end in range(2, len(word) + 1):
            merges[word[: end - 1], word[end - 1]] = None
    pieces = ["<pad>", "<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.BPE(vocabulary, list(merges)))
    backend.pre_tokenizer = byte_level
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def causal_folder(folder: Path, family: str = "llama", tokenizer: Any = None, **changes: Any) -> Path:
    """The folder of a random model of a family, with its language-model head.

    Args:
        folder: Where to save it.
        family: A `model_type` of transformers.
        tokenizer: The tokenizer; None takes one of bytes.
        changes: Fields of the configuration.
    """
    tokenizer = causal_tokenizer() if tokenizer is None else tokenizer
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {**SIZES, **ids, "vocab_size": len(tokenizer), **OWN.get(family, {}), **changes}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
