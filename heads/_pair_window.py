"""The tokens of a marked text that fit into the maximum length, and the tokens of the head and tail among them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from heads._marking import Marked, Place
from heads._tensors import input_names
from heads.rows import Span

if TYPE_CHECKING:
    from transformers import BatchEncoding

Tokens = tuple[int, int]
"""A half-open range of token indices."""


class Window(NamedTuple):
    """The indices of the tokens that are kept, and whether any are dropped."""

    kept: list[int]
    truncated: bool


def read_tokens(encoded: BatchEncoding, index: int, marked: Marked, max_length: int, *, starts: bool) -> dict[str, Any]:
    """The tokens of one marked text as fields of an example.

    Args:
        encoded: Result of a fast tokenizer for several texts, with offsets and without truncation.
        index: Index of the text in `encoded`.
        marked: The text and the positions of head and tail.
        max_length: Maximum number of tokens, special tokens included.
        starts: Whether `head_tokens` and `tail_tokens` hold only the first token of each position, which is its
            marker if it has one.

    Returns:
        `input_ids`, `token_type_ids` if the tokenizer makes them, `truncated`, and `head_tokens` and `tail_tokens`:
        the indices of the tokens of head and tail, empty if none are left.
    """
    inner = [i for i, sequence in enumerate(encoded.sequence_ids(index)) if sequence is not None]
    length = len(encoded["input_ids"][index])
    first = inner[0] if inner else length
    offsets = [encoded["offset_mapping"][index][i] for i in inner]
    head, tail = (
        [token_span(place, offsets, opening=True) for place in places] for places in (marked.head, marked.tail)
    )
    kept, truncated = fit(head, tail, len(inner), max(1, max_length - (length - len(inner))))
    taken = [*range(first), *(first + i for i in kept), *range(first + len(inner), length)]
    position = {old - first: new for new, old in enumerate(taken)}

    def tokens(places: Sequence[Place]) -> list[int]:
        spans = [token_span(place, offsets, opening=starts) for place in places]
        wanted = {i for start, end in spans for i in range(start, min(end, start + 1) if starts else end)}
        return sorted(position[i] for i in wanted if i in position)

    names = input_names(encoded)
    return {
        **{name: [encoded[name][index][i] for i in taken] for name in names},
        "truncated": truncated,
        "head_tokens": tokens(marked.head),
        "tail_tokens": tokens(marked.tail),
    }


def token_span(place: Place, offsets: Sequence[Span], *, opening: bool = False) -> Tokens:
    """The tokens that overlap a position, with `opening` those of its marker too; an empty range if there are none.

    >>> token_span(Place(4, 4, 9), [(0, 3), (4, 6), (6, 9), (9, 10)])
    (1, 3)
    """
    first = bisect_right([end for _, end in offsets], place.opening if opening else place.start)
    last = bisect_left([start for start, _ in offsets], place.end)
    return first, max(first, last)


def fit(head: Sequence[Tokens], tail: Sequence[Tokens], length: int, size: int) -> Window:
    """A window of `size` out of `length` tokens that contains the head and the tail.

    It is centred on the head and the tail that are nearest to each other. If these are too far apart, each gets half of
    the window, and the text between the halves is dropped.

    >>> fit([(4, 5)], [(6, 7)], length=10, size=5)
    Window(kept=[3, 4, 5, 6, 7], truncated=True)
    >>> fit([(0, 1)], [(9, 10)], length=10, size=4)
    Window(kept=[0, 1, 8, 9], truncated=True)
    """
    if length <= size:
        return Window(list(range(length)), False)
    if not head or not tail:
        return Window(list(range(size)), True)
    pairs = [(min(a, b), max(a, b)) for a in head for b in tail]
    first, second = min(pairs, key=lambda pair: (_extent(*pair), pair))
    if _extent(first, second) <= size:
        return Window(_around((first[0], max(first[1], second[1])), length, size), True)
    half = size // 2
    return Window(sorted({*_around(first, length, size - half), *_around(second, length, half)}), True)


def _extent(first: Tokens, second: Tokens) -> int:
    return max(first[1], second[1]) - first[0]


def _around(span: Tokens, length: int, size: int) -> list[int]:
    """A window centred on a span. If the span is longer than the window, it begins at the start of the span."""
    start = span[0] - max(0, size - (span[1] - span[0])) // 2
    start = max(0, min(start, length - size))
    return list(range(start, start + size))
