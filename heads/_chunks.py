"""Tokenised texts of any length, cut into chunks that an encoder can read, with the word of each token.

Shapes: T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from heads import Example
from heads._masking import NEVER, special_ids
from heads._tensors import input_names
from heads.rows import DOCUMENT_BREAK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Words = Literal["pretokens", "whitespace"]

_TEXTS = 64
"""Number of texts that are tokenised at once. A tokenizer's result takes more than 100 bytes per token."""


class WordedTokens(NamedTuple):
    """The tokens of a text without the special tokens around it.

    Args:
        fields: `input_ids` and, if the tokenizer makes them, `token_type_ids`, [T].
        words: The word of each token, or `NEVER` for special tokens, [T].
    """

    fields: dict[str, list[int]]
    words: list[int]

    def ids(self) -> npt.NDArray[np.int64]:
        """The ids, [T]."""
        return np.array(self.fields["input_ids"], dtype=np.int64)

    def drawable(self) -> npt.NDArray[np.int64]:
        """The ids of the tokens that may be masked."""
        found: npt.NDArray[np.int64] = self.ids()[np.array(self.words, dtype=np.int64) != NEVER]
        return found

    def chunks(self, room: int) -> list[range]:
        """The tokens as chunks of at most `room` tokens and similar length, cut between words.

        A word is cut only if it is longer than `room`.

        >>> WordedTokens({}, [0, 0, 1, 1, 2, 2]).chunks(3)
        [range(0, 2), range(2, 4), range(4, 6)]
        """
        found, start, end = [], 0, len(self.words)
        while end - start > room:
            share = -(-(end - start) // -(-(end - start) // room))  # tokens of each of the fewest possible chunks
            stop = self._word_end(start, share) or self._word_end(start, room) or start + room
            found.append(range(start, stop))
            start = stop
        return [*found, range(start, end)]

    def _word_end(self, start: int, most: int) -> int:
        """The last place after `start`, by at most `most` tokens, at which no word is divided; 0 if there is none."""
        stop = start + most
        while stop > start and self.words[stop] == self.words[stop - 1] != NEVER:
            stop -= 1
        return stop if stop > start else 0


class Surroundings(NamedTuple):
    """The special tokens that a tokenizer puts around a text, by field."""

    before: dict[str, list[int]]
    after: dict[str, list[int]]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Surroundings:
        """Those of a fast tokenizer."""
        encoded = tokenizer(["a"], return_attention_mask=False)
        places = [place for place, text in enumerate(encoded.sequence_ids(0)) if text == 0]
        fields = {name: encoded[name][0] for name in input_names(encoded)}
        first, last = places[0], places[-1] + 1
        return cls({n: v[:first] for n, v in fields.items()}, {n: v[last:] for n, v in fields.items()})

    @property
    def num_before(self) -> int:
        return len(self.before["input_ids"])

    @property
    def size(self) -> int:
        """Number of special tokens around a text."""
        return len(self.before["input_ids"]) + len(self.after["input_ids"])

    def around(self, fields: dict[str, list[int]], chunk: range) -> Example:
        """The fields of a chunk with special tokens around it."""
        return {
            name: [*self.before[name], *values[chunk.start : chunk.stop], *self.after[name]]
            for name, values in fields.items()
        }


def worded_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, words: Words) -> Iterator[WordedTokens]:
    """The tokens of each text with their words.

    Where a row joins several documents, a separator stands between their tokens, if the tokenizer has one.

    Args:
        texts: The texts.
        tokenizer: A fast tokenizer.
        words: "pretokens" for the words of the tokenizer's pre-tokenizer, for which punctuation is a word of its own;
            "whitespace" for everything between two blanks, such as ``(aspirin),``.
    """
    special = frozenset(special_ids(tokenizer).tolist())
    remaining = iter(texts)
    while batch := list(islice(remaining, _TEXTS)):
        documents = [text.split(DOCUMENT_BREAK) for text in batch]
        parts = [part for of_text in documents for part in of_text]
        encoded = tokenizer(
            parts, add_special_tokens=False, truncation=False, return_attention_mask=False, verbose=False
        )
        found = iter([_part(encoded, place, part, words) for place, part in enumerate(parts)])
        for of_text in documents:
            yield _joined(list(islice(found, len(of_text))), tokenizer.sep_token_id, special)


def _part(encoded: Any, place: int, text: str, words: Words) -> WordedTokens:
    encoding = encoded.encodings[place]
    of_tokens = encoding.word_ids if words == "pretokens" else _whitespace_words(text, encoding.offsets)
    fields = {name: encoded[name][place] for name in input_names(encoded)}
    return WordedTokens(fields, [NEVER if word is None else word for word in of_tokens])


def _joined(parts: Sequence[WordedTokens], separator: int | None, special: frozenset[int]) -> WordedTokens:
    fields: dict[str, list[int]] = {name: [] for name in parts[0].fields}
    words: list[int] = []
    first_word = 0
    for part in parts:
        if words and part.words and separator is not None:
            for name, values in fields.items():
                values.append(separator if name == "input_ids" else values[-1])
            words.append(NEVER)
        for name, values in fields.items():
            values.extend(part.fields[name])
        words += [NEVER if word == NEVER else first_word + word for word in part.words]
        first_word += max(part.words, default=NEVER) + 1
    ids = fields["input_ids"]
    if not special.isdisjoint(ids):
        words = [NEVER if token in special else word for token, word in zip(ids, words, strict=True)]
    return WordedTokens(fields, words)


def _whitespace_words(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The number of the whitespace-separated word of each token; a token of blanks belongs to the word after it.

    >>> _whitespace_words("(aspirin), 75 mg", [(0, 1), (1, 8), (8, 9), (9, 10), (11, 13), (14, 16)])
    [0, 0, 0, 0, 1, 2]
    """
    blank = np.array([*map(str.isspace, text), True])
    starts = ~blank & np.concatenate([[True], blank[:-1]])
    word = np.cumsum(starts) - 1 + blank  # at a blank, the word after it
    first = np.array([start for start, _ in offsets], dtype=np.int64)
    numbers: list[int] = word[np.minimum(first, len(text))].tolist()
    return numbers
