"""The same texts in two tokenisations, with the positions that both have.

Shapes: B texts, T tokens, S shared positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Aligned(NamedTuple):
    """Texts in both tokenisations.

    Args:
        pairs: Text, place in the new tokens and place in the old tokens of each shared position [S, 3].
        old: The texts with old tokens.
        new: The texts with new tokens.
    """

    pairs: Tensor
    old: Any
    new: Any


def aligned(texts: Sequence[str], old_tokenizer: Any, new_tokenizer: Any, max_length: int) -> Aligned:
    """Texts in both tokenisations, with the positions that end at the same character.

    These are the tokens of both, the last old token of each new one, and the special tokens around a text. Tokens of
    one character, as in byte-level tokenizers, all end there, and are paired from the last one.

    Args:
        texts: The texts [B].
        old_tokenizer: Tokenizer of the old vocabulary.
        new_tokenizer: Tokenizer of the new one.
        max_length: Maximum length in tokens; longer texts are cut.
    """
    old, new = (padded(texts, tokenizer, max_length) for tokenizer in (old_tokenizer, new_tokenizer))
    pairs = []
    for index in range(len(texts)):
        of_old, of_new = _places_by_end(old, index), _places_by_end(new, index)
        for end, places in of_new.items():
            # The tokens of one character share its end in byte-level tokenizers: their last ones belong together.
            old_places = of_old.get(end, [])
            last_first = zip(reversed(places), reversed(old_places), strict=False)
            pairs += [(index, *pair) for pair in reversed(list(last_first))]
    for encoded in (old, new):
        encoded.pop("offset_mapping")
    return Aligned(torch.tensor(pairs, dtype=torch.long).view(-1, 3), old, new)


def padded(texts: Sequence[str], tokenizer: Any, max_length: int) -> Any:
    """Texts as tensors of the same length, with the offsets of their tokens."""
    return tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_tensors="pt",
    )


def _places_by_end(encoded: Any, index: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, end in _ends(encoded, index):
        found.setdefault(end, []).append(place)
    return found


def _ends(encoded: Any, index: int) -> Iterator[tuple[int, int]]:
    """Place and end of each token of a text; special tokens have negative ends, in their order from each side."""
    sequence = encoded.sequence_ids(index)
    spans, mask = encoded["offset_mapping"][index].tolist(), encoded["attention_mask"][index].tolist()
    inside = [place for place, part in enumerate(sequence) if part is not None]
    after = inside[-1] if inside else 0
    for place, (start, end) in enumerate(spans):
        if sequence[place] is not None and end > start:
            yield place, end
        elif sequence[place] is None and mask[place]:
            yield place, -1 - place if place < after else -(10**6) - (place - after)
