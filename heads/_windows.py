"""A tokenised text cut into overlapping windows, so that no word is lost to the maximum length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from heads import Example
from heads.rows import Span


class Pieces(NamedTuple):
    """A tokenised text: its fields with special tokens, and the offsets of the pieces between them."""

    fields: dict[str, list[int]]
    offsets: list[Span]
    num_before: int

    @classmethod
    def of(cls, encoded: Any, index: int) -> Pieces:
        """The pieces of one text of a tokenizer's result with offsets, made without truncation."""
        of_text = [i for i, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 0]
        fields = {name: encoded[name][index] for name in ("input_ids", "token_type_ids") if name in encoded}
        num_before = of_text[0] if of_text else len(fields["input_ids"])
        return cls(fields, [tuple(encoded["offset_mapping"][index][i]) for i in of_text], num_before)

    def window(self, pieces: range) -> Example:
        """The fields with some of the pieces between the special tokens.

        >>> Pieces({"input_ids": [101, 7, 8, 9, 102]}, [(0, 1), (1, 2), (2, 3)], 1).window(range(1, 3))
        {'input_ids': [101, 8, 9, 102]}
        """
        after = self.num_before + len(self.offsets)
        inner = slice(self.num_before + pieces.start, self.num_before + pieces.stop)
        return {name: [*ids[: self.num_before], *ids[inner], *ids[after:]] for name, ids in self.fields.items()}


def windows(num_pieces: int, room: int, stride: int) -> list[range]:
    """Ranges of at most `room` pieces that share at least `stride`, or half of `room`; the last one is full too.

    >>> windows(10, 6, 2)
    [range(0, 6), range(4, 10)]
    >>> windows(9, 4, 1)
    [range(0, 4), range(3, 7), range(5, 9)]
    >>> windows(0, 4, 1)
    [range(0, 0)]
    """
    starts = [*range(0, num_pieces - room, room - min(stride, room // 2)), max(0, num_pieces - room)]
    return [range(start, min(start + room, num_pieces)) for start in starts]


def owner(pieces: range, among: Sequence[range]) -> int:
    """The window that holds the word's first piece and shows most pieces between the word and where the text is cut.

    Only a word longer than the overlap can have its end cut off; its first piece still stands for it.
    A later word never belongs to an earlier window.

    >>> owner(range(4, 5), [range(0, 6), range(3, 9)]), owner(range(5, 6), [range(0, 6), range(3, 9)])
    (0, 1)
    """
    num_pieces = among[-1].stop

    def context(index: int) -> float:
        window = among[index]
        before = pieces.start - window.start if window.start > 0 else float("inf")
        after = window.stop - pieces.stop if window.stop < num_pieces else float("inf")
        return min(before, after)

    return max((i for i, window in enumerate(among) if pieces.start in window), key=context)
