"""Composes accents before a tokenizer reads a text, so that "é" is read alike as one character and as two.

Tokenizers of cased encoders take a decomposed accent for a token of its own or for an unknown word. Text from PDFs and
from macOS has such accents.
"""

from __future__ import annotations

import unicodedata
from typing import Any

SAMPLE = "é ü ñ å ç š Ö É"


def compose_accents(tokenizer: Any) -> None:
    """Makes a fast tokenizer compose accents (NFC) first, unless it reads both forms alike anyway.

    Offsets still count the characters of the text as it is. Text that is composed already is read as before.

    Args:
        tokenizer: The tokenizer, which is changed.
    """
    if not tokenizer.is_fast:
        return
    composed, decomposed = (
        tokenizer(unicodedata.normalize(form, SAMPLE), add_special_tokens=False)["input_ids"] for form in ("NFC", "NFD")
    )
    if composed == decomposed:
        return
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    before = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), *before])
