"""Texts to predict: files of several formats, standard input, or strings from Python.

Formats by suffix: `.jsonl` and `.ndjson`, `.csv` and `.tsv` and `.parquet`, `.txt` (one text per line), `.PubTator`,
`.xml` (BioC).
Keys and columns that are no field of a row are carried to the output. Labels of the input are not read.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from heads import Row, SpanRow, TextRow, row_to_dict
from mtl.config.mixture import TaskSpec
from mtl.problems import InputError, Problem
from mtl.readers import BadRow, Reader
from mtl.readers._columns import FIELDS, Columns, MalformedError
from mtl.readers._storage import Disk, Memory, Storage
from mtl.readers.bioc import BioC
from mtl.readers.jsonl import Jsonl
from mtl.readers.pubtator import Pubtator
from mtl.readers.table import Table

DECIDES_RESULTS = False

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".txt": "text",
    ".pubtator": "pubtator",
    ".pubtator.txt": "pubtator",
    ".xml": "bioc",
}
"""Input format by suffix in lower case."""

STDIN = "-"
SPLIT = "row"
"""Name of the only split, with which default ids begin."""

_GOLD = ("label", "entities", "relations", "words", "sentences", "annotated", "probabilities")
_LABELS = ("label", "probabilities")
_RESERVED = "predictions"
_TABLE_OPTIONS = ("delimiter", "quoting", "header", "encoding")

Given = str | Mapping[str, Any] | Row
"""A text from Python: a string, an object as in JSON lines, or a row."""


class InputRow(NamedTuple):
    """One text of the input.

    Args:
        row: The row.
        carried: Keys or columns that are copied to the output.
        title_end: Length of its title; None if the format has no titles.
    """

    row: Row
    carried: dict[str, Any]
    title_end: int | None


@dataclass(frozen=True)
class Input:
    """An input that can be read several times.

    Args:
        name: Name of the file in errors.
        format: `jsonl`, `table`, `text`, `pubtator` or `bioc`.
        storage: Where it is read.
        columns: Names that tasks of the mixture use for the fields of a row, in the order in which they are tried.
        table_options: Options of the reader `table` that the mixture sets.
        carries_texts: Whether the texts are carried to the output too.
    """

    name: str
    format: str
    storage: Storage
    columns: tuple[Mapping[str, str], ...]
    table_options: Mapping[str, Any]
    carries_texts: bool = False

    def read(self) -> tuple[Iterator[InputRow], list[BadRow]]:
        """The rows, and the list of bad rows, which is complete once all rows are read.

        Raises:
            InputError: The file cannot be read, or a table lacks a column.
        """
        reader = self._reader()
        reader.storage = self.storage
        titles = self._titles() if self.format == "pubtator" else {}
        carries = self.format not in ("pubtator", "bioc")  # whose meta describes relations, which are not read
        rows = (
            InputRow(
                replace(row, meta={}),
                (_texts(row) if self.carries_texts else {}) | (_carried(row) if carries else {}),
                titles.get(row.id),
            )
            for row in reader.read(SPLIT)
        )
        return rows, reader.bad_rows

    def digest(self) -> str:
        """A hash of the content."""
        digest = hashlib.sha256()
        with self.storage.open(Path(self.name)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _reader(self) -> Reader:
        files = {SPLIT: self.name}
        if self.format == "table":
            table = Table("", files=files, on_bad_row="skip", **self.table_options)
            table.columns = _CarryingColumns({}, choices=self.columns)
            return table
        if self.format == "pubtator":
            return Pubtator("", files=files, on_bad_row="skip")
        if self.format == "bioc":
            return BioC("", files=files, on_bad_row="skip")
        if self.format == "text":
            return _TextLines("", files=files, on_bad_row="skip")
        return _CarryingJsonl("", files=files, on_bad_row="skip", choices=self.columns)

    def _titles(self) -> dict[str, int]:
        """The length of each title by document."""
        with self.storage.open(Path(self.name)) as file:
            lines = (line.decode(errors="replace").rstrip("\r\n") for line in file)
            found = (re.fullmatch(r"([^|\t]+)\|t\|(.*)", line, re.DOTALL) for line in lines)
            return {match[1].removeprefix("\ufeff"): len(match[2]) for match in found if match}


def open_input(source: str | Path | Iterable[Given], tasks: Iterable[TaskSpec], format: str | None = None) -> Input:
    """An input from a path, from standard input (`-`), or from texts in Python.

    Args:
        source: A path, `-`, or texts.
        tasks: Tasks to predict, whose own names of columns are understood.
        format: `jsonl`, `table`, `text`, `pubtator` or `bioc`; None decides by the suffix.

    Raises:
        InputError: The file does not exist, or its suffix names no format.
    """
    specs = list(tasks)
    columns = ({}, *(dict(c) for c in (spec.data.options.get("columns") for spec in specs) if isinstance(c, Mapping)))
    read_as_table = [spec.data.options for spec in specs if spec.data.reader == "table"]
    options = {name: value for name, value in (read_as_table or [{}])[0].items() if name in _TABLE_OPTIONS}
    if not isinstance(source, str | Path):
        content = "".join(json.dumps(_as_object(one), ensure_ascii=False) + "\n" for one in source)
        return Input("texts", "jsonl", Memory({"texts": content.encode("utf-8", "surrogatepass")}), columns, {})
    if str(source) == STDIN:
        raw = sys.stdin.buffer.read()
        kind = format or ("jsonl" if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "text")
        name = "stdin.csv" if kind == "table" else "stdin"
        return Input(name, kind, Memory({name: raw}), columns, options)
    path = Path(source)
    if not path.is_file():
        raise InputError(Problem("--input", f"The file '{path}' does not exist."))
    return Input(str(path.absolute()), format or _format_of(path), Disk(), columns, options)


def _format_of(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(suffix):
            return FORMATS[suffix]
    message = f"The suffix of '{path.name}' names no input format."
    raise InputError(Problem("--input", message, f"Use one of: {', '.join(FORMATS)}; or set --input-format."))


def _as_object(one: Given) -> Mapping[str, Any]:
    if isinstance(one, str):
        return {"text": one}
    return row_to_dict(one) if isinstance(one, TextRow | SpanRow) else one


def _texts(row: Row) -> dict[str, Any]:
    return {"text": row.text} | ({} if row.text_pair is None else {"text_pair": row.text_pair})


def _carried(row: Row) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in row.meta.items()}


def _chosen(choices: Sequence[Mapping[str, str]], present: Iterable[str]) -> Mapping[str, str]:
    """The first names of columns whose text is present; the last resort are the names of the fields themselves."""
    present = set(present)
    return next((names for names in choices if names.get("text", "text") in present), {})


# Carried values pass through `meta` of the row as JSON, because no head reads it.


class _CarryingJsonl(Jsonl):
    """JSON lines with the names of the mixture's columns, and with any further keys."""

    def __init__(self, path: str, *, choices: Sequence[Mapping[str, str]], **options: Any) -> None:
        super().__init__(path, **options)
        self._choices = choices

    def _row(self, record: Mapping[str, Any], default_id: str) -> Row:
        names = _chosen(self._choices, record)
        fields = {name: names.get(name, name) for name in (*FIELDS, *_GOLD)}
        known = {name: record[key] for name, key in fields.items() if name not in _LABELS and key in record}
        carried = {key: value for key, value in record.items() if key not in fields.values()}
        if _RESERVED in carried:
            raise MalformedError("keys must not have the name of a key of the output", f"'{_RESERVED}'")
        row = super()._row(known, default_id)
        return replace(row, meta={key: json.dumps(value) for key, value in carried.items()})


@dataclass(frozen=True)
class _CarryingColumns(Columns):
    """Columns of a table with the names of the mixture; all others are carried."""

    choices: Sequence[Mapping[str, str]] = ()

    def within(self, header: Sequence[str], source: str, *, is_schema: bool = False) -> Columns:
        texts = list(dict.fromkeys(names.get("text", "text") for names in self.choices))
        if not set(texts) & set(header):
            message = f"A column must hold the text and be called {' or '.join(texts)}; the header has none of them."
            raise InputError(Problem(source, message, "Rename the column, and check that the first line is a header."))
        if _RESERVED in header:
            message = f"A column must not have the name of a key of the output, got '{_RESERVED}'."
            raise InputError(Problem(source, message, "Rename it."))
        chosen = {name: column for name, column in _chosen(self.choices, header).items() if column in header}
        found = Columns(chosen).within(header, source, is_schema=is_schema)
        names = {field: column for field, column in found.names.items() if field != "label"}
        return replace(self, names=names, meta=[column for column in header if column not in names.values()])

    def row(self, cells: Mapping[str, Any], default_id: str) -> TextRow:
        row = Columns(self.names).row(cells, default_id)
        return replace(row, meta={column: json.dumps(cells[column], default=str) for column in self.meta})


class _TextLines(Reader):
    """One text per line; blank lines are left out."""

    suffixes = (".txt",)

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        for number, line in self.lines(source):
            if line.strip():
                yield TextRow(f"{split}-{number}", f"{split}-{number}", line)
