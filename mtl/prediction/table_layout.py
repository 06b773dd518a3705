"""How a table is written, decided by its first line, because tables of the run may be written in another way."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from mtl.config.mixture import DataSpec

DELIMITERS = {"csv": ",", "tsv": "\t"}
"""The usual delimiter of each format of text."""

OTHER_DELIMITERS = ("\t", ";", "|", ",")

_SEVERAL_WORDS = 2
"""Fewest words of a text, as opposed to the name of a column."""


class TableLayout(NamedTuple):
    """How the lines of a table are divided.

    Args:
        delimiter: Character between fields; None for the usual one of the format.
        quoting: Whether fields may be in quotes; None for what is usual in the format.
        header: Whether the first line has the names of the columns.
    """

    delimiter: str | None = None
    quoting: bool | None = None
    header: bool = True

    def separator(self, kind: str) -> str:
        """The character between fields."""
        return self.delimiter or DELIMITERS[kind]

    def fields(self, line: str, kind: str) -> list[str]:
        """The fields of a line.

        >>> TableLayout(";").fields('id;"text"', "csv"), TableLayout(";").fields('id;"text"', "tsv")
        (['id', 'text'], ['id', '"text"'])
        """
        if not (kind == "csv" if self.quoting is None else self.quoting):
            return line.split(self.separator(kind))
        try:
            return next(csv.reader([line], delimiter=self.separator(kind)), [])
        except csv.Error:
            return []


def table_format(name: str) -> Literal["csv", "tsv", "parquet"]:
    """The format of a table by the suffix of its name; `csv` if the suffix is none of a table.

    >>> table_format("NOTES.TSV"), table_format("notes.txt")
    ('tsv', 'csv')
    """
    formats: dict[str, Literal["tsv", "parquet"]] = {".tsv": "tsv", ".parquet": "parquet"}
    return formats.get(PurePath(name).suffix.lower(), "csv")


def find_layout(
    line: str, kind: str, texts: Collection[str], given: Mapping[str, Any], trained: Sequence[DataSpec]
) -> TableLayout:
    """The first layout in which the first line names a column of texts.

    Those of the run's own tables are tried first, then the usual one of the format, then other delimiters. A layout
    without a header fits only if the field of the texts has several words, as a name has not. If none fits, it is that
    which gives the most columns.

    Args:
        line: The first line of the table.
        kind: `csv` or `tsv`.
        texts: Names that a column of texts may have.
        given: `delimiter` and `quoting`, where the user says them.
        trained: Where the rows of the run's tasks come from.

    >>> find_layout("id;note", "csv", ["text", "note"], {}, [])
    TableLayout(delimiter=';', quoting=None, header=True)
    """
    own = [(layout, options) for layout, options in _own_layouts(kind, trained) if _agrees(layout, given, kind)]
    usual = [TableLayout(), *map(TableLayout, OTHER_DELIMITERS)]
    tried = [layout for layout, _ in own if layout.header] + [one for one in usual if _agrees(one, given, kind)]
    tried = [layout._replace(**given) for layout in tried] or [TableLayout(**given)]
    for layout in tried:
        fields = layout.fields(line, kind)
        is_divided = len(fields) > 1 or layout.separator(kind) == DELIMITERS[kind] or "delimiter" in given
        if is_divided and not set(texts).isdisjoint(fields):
            return layout
    for layout, options in own:
        found = layout._replace(**given)
        if not layout.header and _has_texts(found.fields(line, kind), options):
            return found
    return max(tried, key=lambda layout: len(layout.fields(line, kind)))


def _own_layouts(kind: str, trained: Sequence[DataSpec]) -> Iterator[tuple[TableLayout, Mapping[str, Any]]]:
    """The layouts of the run's tables of a format, or of no known one, each with the options of its reader."""
    for data in trained:
        options = data.reader_arguments
        files = [options["path"], *(options.get("files") or {}).values()]
        formats = {options.get("format") or PurePath(file).suffix.lower()[1:] for file in files} & {*DELIMITERS}
        if data.reader == "table" and (not formats or kind in formats):
            values = {name: options[name] for name in TableLayout._fields if name in options}
            yield TableLayout(**values), options


def _agrees(layout: TableLayout, given: Mapping[str, Any], kind: str) -> bool:
    return given.get("delimiter") in (None, layout.separator(kind))


def _has_texts(fields: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether a first line can be a row of a table without a header, whose columns are numbers."""
    text = str((options.get("columns") or {}).get("text", "text"))
    if not text.isdecimal() or int(text) >= len(fields):
        return False
    return len(fields[int(text)].split()) >= _SEVERAL_WORDS
