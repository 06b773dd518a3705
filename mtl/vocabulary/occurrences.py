"""Where new tokens occur in a corpus, each with the text around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from heads.rows import DOCUMENT_BREAK
from mtl.seeding import stream

_BATCH = 64
"""Number of texts that are tokenised at once."""


class Occurrence(NamedTuple):
    """One occurrence of a token.

    Args:
        text: The text around it, cut between words.
        start: First character of the token in `text`.
        end: The character after its last.
    """

    text: str
    start: int
    end: int


Occurrences = Mapping[int, list[Occurrence]]
"""Occurrences of each new token, by its id; tokens that do not occur are left out."""


def occurrences_of(
    ids: Collection[int], texts: Iterable[str], tokenizer: Any, *, most: int, length: int, seed: int
) -> Occurrences:
    """Occurrences of tokens, drawn at random from all of the corpus.

    Every occurrence has the same chance (reservoir sampling, Vitter 1985, algorithm R), and a token's draws do not
    depend on the other tokens.

    Args:
        ids: Ids of the tokens.
        texts: The corpus.
        tokenizer: The tokenizer that has the tokens.
        most: Maximum number of occurrences of a token.
        length: Number of tokens of the text around an occurrence, of the token too; less at the ends of a text.
        seed: Seed of the draws.
    """
    wanted = frozenset(ids)
    found: dict[int, list[Occurrence]] = {}
    numbers: Counter[int] = Counter()
    draws: dict[int, np.random.Generator] = {}
    parts = (part for text in texts for part in text.split(DOCUMENT_BREAK))
    while batch := list(islice(parts, _BATCH)):
        encoded = tokenizer(batch, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for index, text in enumerate(batch):
            for place, token in enumerate(encoded["input_ids"][index]):
                if token not in wanted:
                    continue
                numbers[token] += 1
                taken = found.setdefault(token, [])
                if len(taken) < most:
                    taken.append(_around(text, encoded, index, place, length))
                    continue
                if token not in draws:
                    draws[token] = stream(seed, "occurrences", token)
                slot = int(draws[token].integers(numbers[token]))
                if slot < most:
                    taken[slot] = _around(text, encoded, index, place, length)
    return found


def _around(text: str, encoded: Any, index: int, place: int, length: int) -> Occurrence:
    """The occurrence at a place in the tokens of a text."""
    offsets, words = encoded["offset_mapping"][index], encoded.word_ids(index)
    first = max(0, place - (length - 1) // 2)
    last = min(len(offsets) - 1, first + length - 1)
    while first > 0 and words[first] == words[first - 1]:
        first -= 1
    while last < len(offsets) - 1 and words[last] == words[last + 1]:
        last += 1
    begin, (start, end) = offsets[first][0], offsets[place]
    return Occurrence(text[begin : offsets[last][1]], start - begin, end - begin)
