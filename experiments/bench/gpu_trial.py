"""What all steps of `gpu.py` share: the device, the sizes, the rows and an encoder with random weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from bench_data import EXPERIMENTS, Setting, prepare

SIZES = {"base": (768, 12, 12, 3072), "tiny": (32, 2, 2, 64)}
"""Hidden size, layers, attention heads and intermediate size."""


@dataclass(frozen=True)
class Trial:
    """What all steps share.

    Args:
        device: cuda or cpu.
        work: Folder for the encoder, the rows and the cache.
        encoder: Folder of the encoder.
        size: Its size, a key of `SIZES`.
        updates: Timed updates.
        warmup: Updates before them.
    """

    device: str
    work: Path
    encoder: Path
    size: str
    updates: int
    warmup: int

    def mixture(self, batch_size: int) -> Path:
        """The mixture file of the five tasks of the synthetic corpus, with this batch size."""
        return _prepared(self.work, self.encoder, batch_size)


def write_encoder(folder: Path, size: str, family: str = "bert") -> Path:
    """An encoder with random weights, and a tokenizer of letters and the frequent words of the synthetic corpus."""
    from transformers import AutoConfig, AutoModel, BertTokenizer

    if (folder / "config.json").exists():
        return folder
    texts = "".join(
        file.read_text(encoding="utf-8") for file in sorted((EXPERIMENTS / "demo" / "data").rglob("train*"))
    )
    words = Counter(word for word in texts.lower().split() if word.isalpha())
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:()-'\"?!/%+"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word, _ in words.most_common(2000)]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(dict.fromkeys(pieces))})
    hidden, layers, heads, intermediate = SIZES[size]
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def _prepared(work: Path, encoder: Path, batch_size: int) -> Path:
    setting = Setting("synthetic", 300, batch_size=batch_size, encoder=str(encoder))
    return prepare(setting, work / f"batch_{batch_size}")
