"""A tokenizer with new words, or a new one of the same kind.

Words are added as whole words after the tokenizer's own normaliser. `add_tokens` alone would match a word inside of
longer ones, and before lower-casing.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mtl.problems import InputError, Problem
from mtl.vocabulary.word_choice import words_in

_BATCH = 256
"""Number of texts that are handed to a trainer at once."""

_LARGEST_ALPHABET = 1000
"""Number of different characters of a WordPiece vocabulary, as in the library; rarer ones are unknown."""


def problem_of_kind(tokenizer: Any) -> str | None:
    """Why words cannot be added to a tokenizer; None if they can be.

    SentencePiece tokenizers (Unigram) and those of characters split a text differently next to an added word.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = state["model"]["type"] or "an unknown kind"
    if kind == "WordPiece":
        return None
    if kind == "BPE":
        cut = json.dumps(state["pre_tokenizer"])
        if "ByteLevel" not in cut:
            return "BPE that is not of bytes"
        # It would put a blank before what follows an added word.
        starts_with_blank = '"add_prefix_space": true' in cut
        return "BPE that starts every text with a blank (add_prefix_space)" if starts_with_blank else None
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


def trained(tokenizer: Any, texts: Callable[[], Iterable[str]], size: int) -> Any:
    """A tokenizer of the same kind (normaliser, words, algorithm, special tokens) trained on texts.

    WordPiece and byte-level BPE are the same in every training. SentencePiece (Unigram) is not: the library adds up
    its scores in the order of a hash table.

    Args:
        tokenizer: The tokenizer whose kind it is.
        texts: Gives the texts, each time that it is called.
        size: Number of entries, of special tokens too. Characters of the corpus are always entries, and short
            corpora may give fewer.

    Raises:
        InputError: The kind cannot be trained.
    """
    try:
        if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
            return _trained_wordpiece(tokenizer, texts, size)
        return tokenizer.train_new_from_iterator(_batches(texts()), size, show_progress=False)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        message = f"A tokenizer of the kind {type(tokenizer).__name__} cannot be trained: {type(error).__name__}."
        raise InputError(Problem("encoder.name", message, "Use `mtl vocabulary extend`, or another encoder.")) from None


def _trained_wordpiece(tokenizer: Any, texts: Callable[[], Iterable[str]], size: int) -> Any:
    """A WordPiece tokenizer that is the same in every training.

    The trainer of the library numbers characters inside of words in the order of a hash table, which is another one
    each time, and breaks ties by these numbers. As special tokens of the training, they have fixed numbers.
    """
    first: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for text in texts():
        for word in words_in(text, tokenizer):
            first[word[0]] += 1
            inside.update(word[1:])
    letters = sorted(first | inside, key=lambda c: (-first[c] - inside[c], c))[:_LARGEST_ALPHABET]
    model = tokenizer.backend_tokenizer.model
    prefix = model.continuing_subword_prefix
    special = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    trainer = model.get_trainer()
    trainer.vocab_size, trainer.continuing_subword_prefix, trainer.show_progress = size, prefix, False
    trainer.special_tokens = [*special, *(f"{prefix}{c}" for c in sorted(letters) if inside[c])]
    trainer.initial_alphabet, trainer.limit_alphabet = letters, len(letters)
    # Without a corpus: the pipeline and the special tokens, which come first here too.
    found = tokenizer.train_new_from_iterator([], len(special), show_progress=False)
    state = json.loads(found.backend_tokenizer.to_str())
    read = type(tokenizer.backend_tokenizer).from_str
    plain = read(json.dumps({**state, "added_tokens": [], "post_processor": None}))
    plain.train_from_iterator(_batches(texts()), trainer)
    state["model"]["vocab"] = plain.get_vocab()
    found._tokenizer = read(json.dumps(state))
    return found


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
