"""Which rows of the new table of token embeddings are rows of the old one, and which need values.

Shapes: N new tokens, V old rows, W new rows, E size of the token embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class NewToken(NamedTuple):
    """A token that the old vocabulary lacks.

    Args:
        id: Its id in the new vocabulary.
        token: Its entry in the new vocabulary.
        pieces: Ids of the old tokens that stand for it; empty if the old tokenizer drops it.
    """

    id: int
    token: str
    pieces: tuple[int, ...]


class Exchange(NamedTuple):
    """From an old table to a new one.

    Args:
        size: W.
        kept: Old row of each new row that is kept, by ids.
        tokens: The new tokens, which have no old row.
    """

    size: int
    kept: Mapping[int, int]
    tokens: tuple[NewToken, ...]

    @property
    def ids(self) -> list[int]:
        """Ids of the new tokens."""
        return [token.id for token in self.tokens]

    def table(self, old: Tensor, rows: Tensor) -> Tensor:
        """The new table (or bias), in which gradients reach only the new rows.

        Args:
            old: The old table [V, E], or bias [V].
            rows: The new rows [N, E], or [N], in the order of `tokens`.
        """
        fixed = torch.zeros(self.size, *old.shape[1:], dtype=old.dtype, device=old.device)
        fixed[list(self.kept)] = old.detach()[list(self.kept.values())]
        return fixed.index_copy(0, torch.tensor(self.ids, dtype=torch.long, device=old.device), rows.to(old))


def exchange_of(old: Any, new: Any, num_rows: int) -> Exchange:
    """What becomes of each row between two fast tokenizers.

    Args:
        old: Tokenizer of the table.
        new: Tokenizer of the new table.
        num_rows: V, which may be more than the entries of the old vocabulary.
    """
    before, after = old.get_vocab(), new.get_vocab()
    kept = {index: before[token] for token, index in after.items() if token in before}
    is_extension = all(index == place for index, place in kept.items()) and len(kept) == len(before)
    added = sorted((index, token) for token, index in after.items() if token not in before)
    if is_extension:  # rows that no token uses stay where they are
        kept = {row: row for row in range(num_rows)} | kept
        for index, _ in added:
            kept.pop(index, None)
    size = max(len(new), max(after.values()) + 1, num_rows if is_extension else 0)
    tokens = tuple(NewToken(index, token, _pieces(token, old, new)) for index, token in added)
    return Exchange(size, kept, tokens)


def _pieces(token: str, old: Any, new: Any) -> tuple[int, ...]:
    """The old tokens of a new token's text."""
    if token in new.get_added_vocab():
        text = spaced(token, old)
    else:
        prefix = getattr(new.backend_tokenizer.model, "continuing_subword_prefix", None) or ""
        text = new.convert_tokens_to_string([token.removeprefix(prefix) if token != prefix else token])
    return tuple(old(text, add_special_tokens=False)["input_ids"])


def spaced(word: str, tokenizer: Any) -> str:
    """A word as it stands inside a text: after a blank, for tokenizers whose tokens contain blanks."""
    return f" {word}" if type(tokenizer.backend_tokenizer.model).__name__ == "BPE" else word
