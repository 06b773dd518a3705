"""Fertility: tokens per word."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

_BATCH = 256
"""Number of texts that are tokenised at once."""


class Fertility(NamedTuple):
    """Tokens and words of a corpus.

    Words are what stands between blanks, so that they are the same for every tokenizer.

    Args:
        tokens: Number of tokens, without those around a text.
        words: Number of words.
        unknown: Number of tokens that stand for what the vocabulary cannot write.
    """

    tokens: int
    words: int
    unknown: int

    @property
    def ratio(self) -> float:
        """Tokens per word; 0 without words."""
        return self.tokens / self.words if self.words else 0.0


def fertility(texts: Iterable[str], tokenizer: Any) -> Fertility:
    """The fertility of a tokenizer on texts."""
    tokens = words = unknown = 0
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            tokens += len(ids)
            unknown += ids.count(tokenizer.unk_token_id)
        words += sum(len(text.split()) for text in batch)
    return Fertility(tokens, words, unknown)
