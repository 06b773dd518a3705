"""Tables and names in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, and a blank one.

    >>> list(table(["a"], [["b "]]))
    ['| a |', '| --- |', '| b |', '']
    """
    for cells in (header, ["---"] * len(header), *lines):
        yield f"| {' | '.join(cell.strip().replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def code(name: str) -> str:
    """A name as code.

    >>> code("f1")
    '`f1`'
    """
    return f"`{name}`"
