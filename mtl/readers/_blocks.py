"""Lines in blocks with blank lines between: what the readers of sentences and of documents share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl.readers import Line, Reader

Block = list[Line]
"""The lines of a block, none of them blank."""


# A wrong option can make every line of a long document wrong.
_SHOWN = 5


class BadLine(NamedTuple):
    """What is wrong with one line of a block (no text of the row)."""

    line: int
    rule: str
    found: str


def blocks(lines: Iterable[Line]) -> Iterator[Block]:
    """The blocks of some lines.

    >>> [[line.text for line in block] for block in blocks([Line(1, "a"), Line(2, "b"), Line(3, ""), Line(4, "c")])]
    [['a', 'b'], ['c']]
    """
    block: Block = []
    for line in lines:
        if line.text.strip():
            block.append(line)
            continue
        if block:
            yield block
        block = []
    if block:
        yield block


def is_whole(block: Block) -> bool:
    """Whether every line could be read: without the one that was reported, the others would make a wrong row."""
    return all(line.is_valid for line in block)


def refuse(reader: Reader, source: Path, bad_lines: Sequence[BadLine]) -> None:
    """Reports a row with its first mismatch and the lines of the others.

    That is once, so that the counts of read, used and refused rows add up.
    """
    first, *others = bad_lines
    lines = [str(mismatch.line) for mismatch in others[:_SHOWN]] + ["…"] * (len(others) > _SHOWN)
    more = f"; more in the same row at line {', '.join(lines)}" if others else ""
    reader.bad(source, first.line, first.rule, first.found + more)
