"""Families of tiny random models, and their sizes by the names that most families share."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 130,
}

PACKED = ("bert", "roberta", "xlm-roberta", "electra", "albert", "distilbert", "modernbert", "eurobert")
"""Families of encoders that are packed."""

PADDED = ("deberta-v2", "mpnet")
"""Families of encoders that are not."""
