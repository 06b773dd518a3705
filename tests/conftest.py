"""Shared fixtures: a tiny tokenizer and tiny random encoders of six families, made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

REPOSITORY = Path(__file__).parent.parent
FAMILIES = ("bert", "roberta", "deberta-v2", "electra", "distilbert", "modernbert")

_WORDS = [
    "the",
    "a",
    "of",
    "in",
    "and",
    "is",
    "was",
    "with",
    "by",
    "not",
    "no",
    "to",
    "for",
    "patient",
    "patients",
    "aspirin",
    "ibuprofen",
    "warfarin",
    "increases",
    "reduces",
    "inhibits",
    "induces",
    "risk",
    "bleeding",
    "fever",
    "headache",
    "nausea",
    "cancer",
    "gene",
    "protein",
    "cell",
    "drug",
    "disease",
    "treatment",
    "caused",
    "after",
    "cox",
    "2",
    "1",
    "3",
    "-",
    ",",
    ".",
    ";",
    ":",
    "(",
    ")",
    "@",
    "$",
    "#",
    "%",
    '"',
    "'",
    "?",
    "!",
    "/",
    "<",
    ">",
    "[",
    "]",
]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data sets that `MTL_DATA` names."""
    folder = os.environ.get("MTL_DATA", str(REPOSITORY.parent / "shared" / "data"))
    if not Path(folder).is_dir():
        pytest.skip("MTL_DATA names no folder: the public data sets aren't here")
    return Path(folder)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A WordPiece tokenizer (BERT's layout, lower case) that knows some words, all letters and digits."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *_WORDS,
        *letters,
        *(f"##{c}" for c in letters),
        "##s",
        "##ed",
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[str], Path]:
    """Gives the folder of a tiny random encoder of a family, tokenizer included."""
    import torch
    from transformers import AutoConfig, AutoModel

    made: dict[str, Path] = {}

    def make(family: str = "bert") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            sizes: dict[str, Any] = {
                "vocab_size": len(tokenizer),
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "max_position_embeddings": 130,
                "pad_token_id": tokenizer.pad_token_id,
            }
            if family == "distilbert":
                sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
            if family == "electra":
                sizes |= {"embedding_size": 16}
            if family == "modernbert":
                sizes |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
            with torch.random.fork_rng():
                torch.manual_seed(0)
                AutoModel.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make
