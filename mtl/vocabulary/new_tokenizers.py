"""A tokenizer with new words, or a new one of the same kind.

Words are added as whole words after the tokenizer's own normaliser. `add_tokens` alone would match a word inside of
longer ones, and before lower-casing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mtl.problems import InputError, Problem

_BATCH = 256
"""Number of texts that are handed to a trainer at once."""


def problem_of_kind(tokenizer: Any) -> str | None:
    """Why words cannot be added to a tokenizer; None if they can be.

    SentencePiece tokenizers (Unigram) and those of characters cut a text beside an added word otherwise than before.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = state["model"]["type"] or "an unknown kind"
    if kind == "WordPiece":
        return None
    if kind == "BPE":
        return None if "ByteLevel" in json.dumps(state["pre_tokenizer"]) else "BPE that is not of bytes"
    return str(kind)


def require_extendable(tokenizer: Any, name: str) -> None:
    """Checks that words can be added to a tokenizer.

    Raises:
        InputError: Its kind cannot be extended.
    """
    found = problem_of_kind(tokenizer)
    if found is not None:
        message = f"The tokenizer of '{name}' must be WordPiece or byte-level BPE to get new words, got {found}."
        raise InputError(Problem("encoder.name", message, "Use `mtl vocabulary train`, or another encoder."))


def extended(tokenizer: Any, words: Sequence[str]) -> Any:
    """A copy of a tokenizer in which each word is one token where it stands alone.

    With the word `metformin`, "metformin," becomes ``metformin`` and ``,``, and "metformins" keeps its old tokens.
    """
    from transformers import AddedToken

    found = copy.deepcopy(tokenizer)
    # In byte-level BPE the blank before a word belongs to it; otherwise it would become a token of its own.
    takes_blank = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    found.add_tokens([AddedToken(word, single_word=True, normalized=True, lstrip=takes_blank) for word in words])
    return found


def trained(tokenizer: Any, texts: Iterable[str], size: int) -> Any:
    """A tokenizer of the same kind (normaliser, words, algorithm, special tokens) trained on texts.

    Args:
        tokenizer: The tokenizer whose kind it is.
        texts: The texts.
        size: Number of entries, of special tokens too. Characters of the corpus are always entries, and short
            corpora may give fewer.

    Raises:
        InputError: The kind cannot be trained.
    """
    try:
        return tokenizer.train_new_from_iterator(_batches(texts), size, show_progress=False)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        message = f"A tokenizer of the kind {type(tokenizer).__name__} cannot be trained: {type(error).__name__}."
        raise InputError(Problem("encoder.name", message, "Use `mtl vocabulary extend`, or another encoder.")) from None


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
