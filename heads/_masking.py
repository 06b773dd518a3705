"""Which tokens a masked language model has to predict, and what it reads in their place.

Shapes: T tokens, M masked tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from heads._text import choice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Unit = Literal["token", "word"]
Selection = Literal["bernoulli", "exact"]
Replacement = Literal["mask", "random", "keep"]

Ids = npt.NDArray[np.int64]

NEVER = -1
"""Word of the tokens that are never masked."""


class Vocabulary(NamedTuple):
    """What masking needs to know of a tokenizer.

    Args:
        mask_id: Id of the mask token.
        special: Ids of the special tokens and of those that heads have added, which are never masked.
        ordinary: All other ids, from which random replacements are drawn.
    """

    mask_id: int
    special: Ids
    ordinary: Ids

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Vocabulary | None:
        """The vocabulary of a tokenizer; None if it has no mask token."""
        if tokenizer.mask_token_id is None:
            return None
        special = special_ids(tokenizer)
        return cls(tokenizer.mask_token_id, special, np.setdiff1d(np.arange(len(tokenizer)), special))


class Masking(NamedTuple):
    """How tokens are masked.

    Args:
        rate: Share of the tokens, or of the words, that are masked.
        unit: Whether single tokens or all tokens of a word are masked together.
        selection: "bernoulli" draws each unit on its own with the probability `rate`. "exact" masks
            max(1, round(rate * tokens)) tokens; whole words are then taken in random order as long as they fit, as in
            BERT's own code, and the first one if none fits.
        replace: Shares of the masked tokens that are replaced by the mask token, replaced by a random token, and kept.
            Each token is drawn on its own, also within a word.
    """

    rate: float
    unit: Unit = "token"
    selection: Selection = "bernoulli"
    replace: Mapping[Replacement, float] = {"mask": 1.0}  # never changed

    def positions(self, words: Sequence[int], generator: np.random.Generator) -> Ids:
        """The positions of the masked tokens in rising order, [M].

        Args:
            words: The word of each token, or `NEVER`, [T].
            generator: Random numbers.

        >>> Masking(0.5, "word", "exact").positions([-1, 0, 0, 1, 1, -1], np.random.default_rng(0)).tolist()
        [1, 2]
        """
        of_tokens = np.asarray(words, dtype=np.int64)
        drawable: Ids = np.flatnonzero(of_tokens != NEVER)
        if not len(drawable):
            return drawable
        if self.unit == "token":
            sizes, unit_of = np.ones(len(drawable), dtype=np.int64), np.arange(len(drawable))
        else:
            _, unit_of, sizes = np.unique(of_tokens[drawable], return_inverse=True, return_counts=True)
        is_taken = self._taken(sizes, generator)
        taken: Ids = drawable[is_taken[unit_of]]
        return taken

    def replaced(
        self, ids: Sequence[int], positions: Ids, vocabulary: Vocabulary, generator: np.random.Generator
    ) -> list[int]:
        """The ids that the encoder reads, with replacements at the masked positions [T]."""
        read = np.array(ids, dtype=np.int64)
        draws = generator.random(len(positions))
        others = vocabulary.ordinary[generator.integers(len(vocabulary.ordinary), size=len(positions))]
        mask = self.replace.get("mask", 0.0)
        is_random = (draws >= mask) & (draws < mask + self.replace.get("random", 0.0))
        read[positions[draws < mask]] = vocabulary.mask_id
        read[positions[is_random]] = others[is_random]
        found: list[int] = read.tolist()
        return found

    def _taken(self, sizes: Ids, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Whether each unit is masked, from the number of its tokens."""
        if self.selection == "bernoulli":
            drawn: npt.NDArray[np.bool_] = generator.random(len(sizes)) < self.rate
            return drawn
        left = max(1, round(float(sizes.sum()) * self.rate))
        order = generator.permutation(len(sizes)).tolist()
        is_taken = np.zeros(len(sizes), dtype=bool)
        for unit in order:
            if sizes[unit] <= left:
                is_taken[unit] = True
                left -= int(sizes[unit])
        is_taken[order[0]] |= not is_taken.any()
        return is_taken


def special_ids(tokenizer: Any) -> Ids:
    """Ids of a tokenizer's special tokens, including those that heads have added, in rising order.

    Words that were added to a vocabulary are not special.
    """
    added = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return np.array(sorted({*tokenizer.all_special_ids, *added}), dtype=np.int64)


def checked_shares(replace: Mapping[Replacement, float]) -> dict[Replacement, float]:
    """The shares of the replacements, if they are valid.

    Raises:
        ValueError: A name is unknown, a share is below 0, or they do not add up to 1.
    """
    for name, share in replace.items():
        choice("replace", name, get_args(Replacement))
        if not 0 <= share <= 1:
            raise ValueError(f"replace.{name} must be from 0 to 1, got {share}")
    total = sum(replace.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise ValueError(f"replace must have shares that add up to 1, got {total:g}")
    return dict(replace)
