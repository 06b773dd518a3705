"""Tables and names in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

DECIDES_RESULTS = False

MISSING = "–"
"""Stands for a number that there is not."""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    r"""The lines of a table, and a blank one.

    >>> list(table(["a"], [["b|c "]]))
    ['| a |', '| --- |', '| b\\|c |', '']
    """
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(str(cell).strip().replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def code(name: str) -> str:
    """A name as code.

    >>> code("f1")
    '`f1`'
    """
    return f"`{name}`"
