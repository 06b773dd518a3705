"""Overlapping windows of a tokenised text, so that no word is lost to the maximum length."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from heads import Example
from heads._tensors import input_names
from heads.rows import Span


class TokenizedText(NamedTuple):
    """A tokenised text.

    Args:
        fields: `input_ids` and, if the tokenizer makes them, `token_type_ids`, with special tokens.
        offsets: The characters of each token of the text, without special tokens.
        num_before: Number of special tokens before the text.
    """

    fields: dict[str, list[int]]
    offsets: list[Span]
    num_before: int

    @classmethod
    def of(cls, encoded: Any, index: int) -> TokenizedText:
        """One text from the result of a fast tokenizer that was called with offsets and without truncation."""
        of_text = [i for i, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 0]
        fields = {name: encoded[name][index] for name in input_names(encoded)}
        num_before = of_text[0] if of_text else len(fields["input_ids"])
        return cls(fields, [tuple(encoded["offset_mapping"][index][i]) for i in of_text], num_before)

    def window(self, tokens: range) -> Example:
        """The fields with only these tokens of the text, and all special tokens.

        >>> TokenizedText({"input_ids": [101, 7, 8, 9, 102]}, [(0, 1), (1, 2), (2, 3)], 1).window(range(1, 3))
        {'input_ids': [101, 8, 9, 102]}
        """
        after = self.num_before + len(self.offsets)
        inner = slice(self.num_before + tokens.start, self.num_before + tokens.stop)
        return {name: [*ids[: self.num_before], *ids[inner], *ids[after:]] for name, ids in self.fields.items()}


def windows(num_tokens: int, size: int, stride: int) -> list[range]:
    """Windows of at most `size` tokens that overlap by at least `stride` tokens, or half of `size` if that is less.

    The last window is full too, so it may overlap more.

    >>> windows(10, 6, 2)
    [range(0, 6), range(4, 10)]
    >>> windows(9, 4, 1)
    [range(0, 4), range(3, 7), range(5, 9)]
    >>> windows(0, 4, 1)
    [range(0, 0)]
    """
    starts = [*range(0, num_tokens - size, size - min(stride, size // 2)), max(0, num_tokens - size)]
    return [range(start, min(start + size, num_tokens)) for start in starts]


def owner(word: range, among: Sequence[range]) -> int:
    """The index of the window that a word belongs to.

    Of the windows that contain the first token of the word, it is the one with the most context: the most tokens
    between the word and the nearest edge at which the text is cut. Only a word longer than the overlap can be cut
    itself; it is still represented by its first token. A later word never belongs to an earlier window.

    Args:
        word: The tokens of the word.
        among: The windows, in order.

    >>> owner(range(4, 5), [range(0, 6), range(3, 9)]), owner(range(5, 6), [range(0, 6), range(3, 9)])
    (0, 1)
    """
    num_tokens = among[-1].stop

    def context(index: int) -> float:
        window = among[index]
        before = word.start - window.start if window.start > 0 else float("inf")
        after = window.stop - word.stop if window.stop < num_tokens else float("inf")
        return min(before, after)

    # Starts and stops of windows increase, so those that contain the token follow each other. A long document has
    # thousands of windows and tens of thousands of words.
    end = bisect_right(among, word.start, key=attrgetter("start"))
    begin = end
    while begin > 0 and word.start in among[begin - 1]:
        begin -= 1
    return max(range(begin, end), key=context)
