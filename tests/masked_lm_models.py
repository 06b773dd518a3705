"""Tiny random models for masked language modelling, saved with their heads, and tasks of a mixture that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMaskedLM


def masked_lm_folder(folder: Path, encoder: Path, tokenizer: Any, **changes: Any) -> tuple[Any, Path]:
    """A random model of an encoder's family, and the folder that it is saved to.

    Args:
        folder: Where to save it.
        encoder: Folder of a tiny encoder (fixture `tiny_encoder`), whose configuration is used.
        tokenizer: Its tokenizer.
        changes: Fields of the configuration that differ.
    """
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(encoder, **changes))
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases start at 0, which would hide a missing one
                parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), folder


def mlm_and_risk(folder: Path) -> dict[str, Any]:
    """The tasks of a masked language model on the texts of `cause` and a regression, for `toy_mixture` in a folder."""
    return {
        "mlm": {"head": "masked_lm", "data": {"reader": "jsonl", "path": str(folder / "cause")}},
        "risk": {
            "head": "regression",
            "options": {"range": [0, 4]},
            "data": {"reader": "jsonl", "path": str(folder / "risk")},
        },
    }
