"""The words whose addition to a vocabulary saves the most tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl.problems import InputError, Problem
from mtl.vocabulary.exchange import spaced

_LONGEST = 100
"""Longest word in characters, as in BERT's WordPiece."""


class WordCounts(NamedTuple):
    """The words of a corpus.

    Args:
        occurrences: How often each word occurs.
        documents: In how many documents.
    """

    occurrences: Counter[str]
    documents: Counter[str]


def words_in(text: str, tokenizer: Any) -> Iterator[str]:
    """The words of a text for a tokenizer: after its normaliser, cut by its pre-tokenizer, without blanks."""
    text = _normalised(text, tokenizer)
    return (text[start:end] for start, end in _places(text, tokenizer))


def words_alone_in(text: str, tokenizer: Any) -> Iterator[str]:
    """The words of a text that no letter, digit or "_" touches: only there does an added word become a token.

    A pre-tokenizer of bytes cuts "IL6" into "IL" and "6", neither of which stands alone.
    """
    text = _normalised(text, tokenizer)
    for start, end in _places(text, tokenizer):
        before, after = text[start - 1 : start], text[end : end + 1]
        if not (_in_word(before) and _in_word(text[start])) and not (_in_word(after) and _in_word(text[end - 1])):
            yield text[start:end]


def _normalised(text: str, tokenizer: Any) -> str:
    normalizer = tokenizer.backend_tokenizer.normalizer
    return text if normalizer is None else str(normalizer.normalize_str(text))


def _places(text: str, tokenizer: Any) -> Iterator[tuple[int, int]]:
    """Where the words of a normalised text are, without the blanks around them."""
    cut = tokenizer.backend_tokenizer.pre_tokenizer
    if cut is None:
        places = [one.span() for one in re.finditer(r"\S+", text)]
    else:
        places = [place for _, place in cut.pre_tokenize_str(text)]
    for start, end in places:
        word = text[start:end].strip()
        if word:
            first = start + text[start:end].index(word)
            yield first, first + len(word)


def _in_word(character: str) -> bool:
    return re.fullmatch(r"\w", character) is not None


def counted(texts: Iterable[tuple[str, str]], tokenizer: Any) -> WordCounts:
    """The words of a corpus that stand alone, with their numbers.

    Args:
        texts: Document and text of each row; the rows of a document follow each other.
        tokenizer: The tokenizer that says what a word is.
    """
    occurrences: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    seen: set[str] = set()
    current: str | None = None
    for document, text in texts:
        words = Counter(words_alone_in(text, tokenizer))
        if document != current:
            documents.update(seen)
            seen, current = set(), document
        seen |= words.keys()
        occurrences.update(words)
    documents.update(seen)
    return WordCounts(occurrences, documents)


def chosen(counts: WordCounts, tokenizer: Any, most: int, *, min_pieces: int, min_documents: int) -> list[str]:
    """The words that save the most tokens: occurrences times the tokens beyond one; ties by alphabet.

    Only words with a letter count, and none that the tokenizer cannot write.

    Args:
        counts: The words of the corpus.
        tokenizer: The tokenizer that they are added to.
        most: Maximum number of words.
        min_pieces: Minimum number of tokens of a word.
        min_documents: Minimum number of documents with the word.
    """
    frequent = [
        word
        for word, number in counts.documents.items()
        if number >= min_documents and len(word) <= _LONGEST and any(c.isalpha() for c in word)
    ]
    saved, known = {}, tokenizer.get_vocab()  # in byte-level BPE, a known word may have two tokens after a blank
    for word, pieces in zip(frequent, _tokens(frequent, tokenizer), strict=True):
        if len(pieces) >= min_pieces and tokenizer.unk_token_id not in pieces and word not in known:
            saved[word] = counts.occurrences[word] * (len(pieces) - 1)
    return sorted(saved, key=lambda word: (-saved[word], word))[:most]


class ListedWords(NamedTuple):
    """The words of a list.

    Args:
        added: Words to add, in their order.
        known: Words that are already one token.
        unwritable: Words that the tokenizer cannot write, or that are not one word for it.
    """

    added: list[str]
    known: list[str]
    unwritable: list[str]


def listed(path: Path, tokenizer: Any, most: int) -> ListedWords:
    """The words of a file, one per line, in the tokenizer's own spelling; blank lines are left out.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or has no word.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        message = f"'{path}' cannot be read as UTF-8: {type(error).__name__}."
        raise InputError(Problem("add.words", message, "Write one word per line.")) from None
    words = list(dict.fromkeys(line for line in lines if line))
    if not words:
        raise InputError(Problem("add.words", f"'{path}' must have at least one word, got none."))
    found = ListedWords([], [], [])
    for word, pieces in zip(words, _tokens(words, tokenizer), strict=True):
        parts = list(words_in(word, tokenizer))
        if len(parts) != 1 or not pieces or tokenizer.unk_token_id in pieces:
            found.unwritable.append(word)
        elif len(pieces) == 1:
            found.known.append(word)
        elif parts[0] not in found.added and len(found.added) < most:
            found.added.append(parts[0])
    return found


def _tokens(words: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """The tokens of each word inside a text."""
    texts = [spaced(word, tokenizer) for word in words]
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return found
