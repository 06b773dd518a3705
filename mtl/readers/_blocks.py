"""Lines in blocks with blank lines between: what the readers of sentences and of documents share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl.readers import Reader

Block = list[tuple[int, str]]
"""The lines of a block with their numbers."""


# A wrong option can make every line of a long document wrong.
_SHOWN = 5


class Mismatch(NamedTuple):
    """What is wrong with one line of a block (no text of the row)."""

    line: int
    rule: str
    found: str


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Block]:
    """The whole blocks of some numbered lines.

    A block in which a number is missing is left out: that line couldn't be read and was reported, and without it
    the others would make a wrong row.

    >>> list(blocks([(1, "a"), (2, "b"), (3, ""), (4, "c")]))
    [[(1, 'a'), (2, 'b')], [(4, 'c')]]
    >>> list(blocks([(1, "a"), (3, "b"), (4, ""), (5, "c")]))
    [[(5, 'c')]]
    """
    block: Block = []
    whole = True
    previous = 0
    for number, line in lines:
        whole = whole and number == previous + 1
        previous = number
        if line.strip():
            block.append((number, line))
            continue
        if block and whole:
            yield block
        block, whole = [], True
    if block and whole:
        yield block


def refuse(reader: Reader, source: Path, mismatches: Sequence[Mismatch]) -> None:
    """Reports a row with its first mismatch and the lines of the others.

    That is once, so that the counts of read, used and refused rows add up.
    """
    first, *others = mismatches
    lines = [str(mismatch.line) for mismatch in others[:_SHOWN]] + ["…"] * (len(others) > _SHOWN)
    more = f"; more in the same row at line {', '.join(lines)}" if others else ""
    reader.bad(source, first.line, first.rule, first.found + more)
