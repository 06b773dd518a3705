"""Corpora of BioCreative: a table of titles and abstracts, and tables of annotations whose first column is the id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from mtl.hashed_ids import quoted_id
from mtl.readers import OFFSET, Line, Reader
from mtl.readers._columns import MalformedError

_Parsed = TypeVar("_Parsed")


class Abstract(NamedTuple):
    """One document: its id, title and abstract."""

    id: str
    title: str
    abstract: str

    @property
    def text(self) -> str:
        """Title, one space and abstract."""
        return f"{self.title} {self.abstract}"


class Cells(NamedTuple):
    """A line of a table of annotations: its place, and its columns without the id."""

    place: Path
    line: int
    cells: list[str]


class Abstracts:
    """The documents of a split, and the lines of other tables by document.

    A bad line of any table makes its document a bad row, because a document without one of its annotations would teach
    that there is none; the document is reported once.

    Args:
        reader: The reader, which records bad rows.
        place: The table of the documents, for errors.
        lines: Its lines: id, title and abstract, separated by tabs.
    """

    def __init__(self, reader: Reader, place: Path, lines: Iterable[Line]) -> None:
        self._reader = reader
        self._known: dict[str, Abstract] = {}
        self._refused: set[str] = set()
        for line in lines:
            if line.text.strip():
                self._add(line, place)

    def __iter__(self) -> Iterator[Abstract]:
        return (document for name, document in self._known.items() if name not in self._refused)

    def by_document(self, place: Path, lines: Iterable[Line], num_columns: int) -> Mapping[str, list[Cells]]:
        """The lines of a table by document.

        Args:
            place: The table, for errors.
            lines: Its lines, whose first column is the id of a document.
            num_columns: Number of columns, with the id.
        """
        found: dict[str, list[Cells]] = {}
        for line in lines:
            name, *cells = line.text.split("\t")
            if not line.text.strip() or name in self._refused:
                continue
            if not line.is_valid:
                self._refused.add(name)
            elif name not in self._known:
                self._reader.bad(place, line.number, "a line must start with the id of a document", quoted_id(name))
            elif len(cells) + 1 != num_columns:
                self.refuse(name, place, line.number, f"a line must have {num_columns} columns", str(len(cells) + 1))
            else:
                found.setdefault(name, []).append(Cells(place, line.number, cells))
        return found

    def parsed(self, name: str, lines: Sequence[Cells], parse: Callable[[Sequence[str]], _Parsed]) -> list[_Parsed]:
        """The parsed lines of a document, which is refused at the first line that cannot be parsed.

        Args:
            name: Id of the document.
            lines: Its lines.
            parse: From the columns of a line to its value; a `MalformedError` refuses the document.
        """
        found = []
        for place, number, cells in lines:
            try:
                found.append(parse(cells))
            except MalformedError as error:
                self.refuse(name, place, number, error.rule, error.found)
                break
        return found

    def is_refused(self, name: str) -> bool:
        """Whether a document is a bad row."""
        return name in self._refused

    def refuse(self, name: str, place: Path, line: int, rule: str, found: str) -> None:
        """Makes a document a bad row, unless it is one already."""
        if name not in self._refused:
            self._reader.bad(place, line, rule, found)
        self._refused.add(name)

    def _add(self, line: Line, place: Path) -> None:
        name, *cells = line.text.split("\t")
        if not line.is_valid:
            self._refused.add(name)
        elif not name or len(cells) != 2:
            self.refuse(name, place, line.number, "a document must have an id, a title and an abstract", "another form")
        elif name in self._known:
            self._reader.bad(place, line.number, "ids must be unique within a split", f"{quoted_id(name)} again")
        else:
            self._known[name] = Abstract(name, *cells)


def span_of(start: str, end: str) -> tuple[int, int]:
    """Two columns as a span.

    Raises:
        MalformedError: They are not two offsets.
    """
    if not (re.fullmatch(OFFSET, start) and re.fullmatch(OFFSET, end)):
        raise MalformedError("start and end must be integers", f"{len(start)} and {len(end)} characters")
    return int(start), int(end)
