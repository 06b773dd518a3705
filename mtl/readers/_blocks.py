"""Blocks of lines separated by blank lines, shared by the readers of CoNLL and PubTator files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl.readers import Line, Reader

Block = list[Line]
"""The lines of a block, none of them blank."""

_SHOWN = 5
"""Maximum number of lines that an error names: a wrong option can make every line of a document invalid."""


class BadLine(NamedTuple):
    """The problem of one line of a block (without text of the row)."""

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
    """Whether all lines are valid UTF-8; a block without its invalid lines would give a wrong row."""
    return all(line.is_valid for line in block)


def refuse(reader: Reader, source: Path, bad_lines: Sequence[BadLine]) -> None:
    """Reports a row once, with its first problem and the lines of the others, so that the counts of rows add up."""
    first, *others = bad_lines
    lines = [str(bad.line) for bad in others[:_SHOWN]] + ["…"] * (len(others) > _SHOWN)
    more = f" (more problems in the same row: line {', '.join(lines)})" if others else ""
    reader.bad(source, first.line, first.rule, first.found + more)
