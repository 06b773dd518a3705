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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from heads import Row, SpanRow, TextRow, row_to_dict
from mtl.config.mixture import TaskSpec
from mtl.prediction.input_encoding import UTF_8, find_encoding
from mtl.prediction.input_options import InputOptions, in_options, words_of_options
from mtl.prediction.table_layout import DELIMITERS, find_layout, table_format
from mtl.problems import InputError, Problem
from mtl.readers import BadRow, Reader, checked_encoding
from mtl.readers._columns import FIELDS, Columns, MalformedError
from mtl.readers._limits import read_limit
from mtl.readers._storage import Disk, Memory, Storage
from mtl.readers.bioc import BioC
from mtl.readers.jsonl import Jsonl
from mtl.readers.pubtator import Pubtator
from mtl.readers.table import Table
from mtl.redaction import quoted

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
_OPTIONAL = ("id", "document")
_RESERVED = "predictions"

Given = str | Mapping[str, Any] | Row
"""A text from Python: a string, an object as in JSON lines, or a row."""


@dataclass(frozen=True)
class OwnRows:
    """Rows of a run's own data, which are predicted as the evaluation reads them: nothing is added to them.

    Args:
        rows: The rows.
    """

    rows: Iterable[Row]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


class InputRow(NamedTuple):
    """One text of the input.

    Args:
        row: The row, whose id is unique.
        carried: Keys or columns that are copied to the output.
        title_end: Length of its title; None if the format has no titles.
        has_number: Whether a number was added to its id, because an earlier row has the same.
    """

    row: Row
    carried: dict[str, Any]
    title_end: int | None
    has_number: bool = False


@dataclass(frozen=True)
class Input:
    """An input that can be read several times.

    Args:
        name: Name of the file in errors.
        format: `jsonl`, `table`, `text`, `pubtator` or `bioc`.
        storage: Where it is read.
        columns: Names that tasks of the mixture use for the fields of a row, in the order in which they are tried.
        options: Options of the reader.
        notes: What was found out about how it is written, for the user.
        is_own: Whether it is the run's own data.
        carries_texts: Whether the texts are carried to the output too.
    """

    name: str
    format: str
    storage: Storage
    columns: tuple[Mapping[str, str], ...]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    is_own: bool = False
    carries_texts: bool = False

    def read(self) -> tuple[Iterator[InputRow], list[BadRow]]:
        """The rows, and the list of bad rows, which is complete once all rows are read.

        Raises:
            InputError: The file cannot be read, or a table lacks a column.
        """
        reader = self._reader()
        reader.storage = self.storage
        bad_rows: list[BadRow] = []
        return self._rows(reader, bad_rows), bad_rows

    def digest(self) -> str:
        """A hash of the content."""
        digest = hashlib.sha256()
        with self.storage.open(Path(self.name)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _rows(self, reader: Reader, bad_rows: list[BadRow]) -> Iterator[InputRow]:
        titles = self._titles() if self.format == "pubtator" else {}
        carries = self.format not in ("pubtator", "bioc")  # whose meta describes relations, which are not read
        taken = _Ids()
        try:
            # Not `read`, which refuses a repeated id: what is learned or scored needs unique ones, a text does not.
            for row in reader.rows(Path(self.name), SPLIT):
                carried = (_texts(row) if self.carries_texts else {}) | (_carried(row) if carries else {})
                title = next((one for one in titles.get(row.id, ()) if row.text.startswith(f"{one} ")), None)
                new = replace(row, id=taken.unique(row.id), meta={})
                yield InputRow(new, carried, None if title is None else len(title), new.id != row.id)
        except InputError as error:
            raise InputError([in_options(problem) for problem in error.problems]) from None
        bad_rows += [bad._replace(rule=words_of_options(bad.rule)) for bad in reader.bad_rows]

    def _reader(self) -> Reader:
        options: dict[str, Any] = {"on_bad_row": "skip", **self.options}
        if self.format == "table":
            table = Table(self.name, **options)
            table.columns = _CarryingColumns({}, choices=self.columns)
            return table
        if self.format == "pubtator":
            return Pubtator(self.name, **options)
        if self.format == "bioc":
            return BioC(self.name, **options)
        if self.format == "text":
            return _TextLines(self.name, **options)
        return _CarryingJsonl(self.name, choices=self.columns, **options)

    def _titles(self) -> dict[str, list[str]]:
        """The titles of the documents with each id."""
        encoding = self.options.get("encoding", UTF_8)
        titles: dict[str, list[str]] = {}
        with self.storage.open(Path(self.name)) as file:
            for line in file:
                text = line.decode(encoding, errors="replace").rstrip("\r\n").removeprefix("\ufeff")
                if match := re.fullmatch(r"([^|\t]+)\|t\|(.*)", text, re.DOTALL):
                    titles.setdefault(match[1], []).append(match[2])
        return titles


def open_input(
    source: str | Path | Iterable[Given],
    tasks: Iterable[TaskSpec],
    options: InputOptions = InputOptions(),  # noqa: B008  # immutable
) -> Input:
    """An input from a path, from standard input (`-`), or from texts in Python.

    Args:
        source: A path, `-`, or texts.
        tasks: Tasks to predict, whose own names of columns are understood, and whose tables show how others may be
            written.
        options: What the user says about how it is written.

    Raises:
        InputError: The file does not exist, its suffix names no format, or an option is invalid.
    """
    specs = list(tasks)
    columns = ({}, *(dict(c) for c in (spec.data.options.get("columns") for spec in specs) if isinstance(c, Mapping)))
    if not isinstance(source, str | Path):
        given = options.checked("texts", "texts")
        content = "".join(json.dumps(_as_object(one), ensure_ascii=False) + "\n" for one in source)
        texts = Memory({"texts": content.encode("utf-8", "surrogatepass")})
        return Input("texts", "jsonl", texts, columns, given, is_own=isinstance(source, OwnRows))
    if str(source) == STDIN:
        raw = sys.stdin.buffer.read()
        kind = options.format or ("jsonl" if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "text")
        found = Input("stdin", kind, Memory({"stdin": raw}), columns, {})
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(Problem("--input", f"The file '{path}' does not exist."))
        found = Input(str(path.absolute()), options.format or _format_of(path), Disk(), columns, {})
    return _as_written(found, options, specs)


def _as_written(source: Input, options: InputOptions, specs: Sequence[TaskSpec]) -> Input:
    """A file with the options to read it: what the user says, and else what the file itself shows."""
    shown, kind = Path(source.name).name, source.format
    table = table_format(source.name) if kind == "table" else ""
    given = options.checked("parquet" if table == "parquet" else kind, shown)
    if table == "parquet":
        return replace(source, options={"format": table})
    notes = []
    if "encoding" not in given:
        named = [checked_encoding(one) for one in (spec.data.options.get("encoding") for spec in specs) if one]
        given["encoding"] = find_encoding(source.storage, Path(source.name), named)
        if given["encoding"] != UTF_8:
            notes.append(f"'{shown}' is not UTF-8, and is read in {given['encoding']}.")
    if table:
        said: dict[str, Any] = {name: given[name] for name in ("delimiter", "quoting") if name in given}
        texts = {names.get("text", "text") for names in source.columns}
        line = _first_line(source, given["encoding"])
        layout = find_layout(line, table, texts, said, [spec.data for spec in specs])
        if layout.separator(table) != DELIMITERS[table] and "delimiter" not in said:
            notes.append(f"'{shown}' is read with the delimiter {layout.delimiter!r}.")
        if not layout.header:
            notes.append(f"'{shown}' is read without a header, like tables of the run.")
        given |= {"format": table, **layout._asdict()}
    return replace(source, options=given, notes=tuple(notes))


def _first_line(source: Input, encoding: str) -> str:
    """The first line of a table that is not empty."""
    try:
        with source.storage.open(Path(source.name)) as file:
            while raw := file.readline(read_limit()):
                line = raw.decode(encoding, errors="replace").removeprefix("\ufeff").rstrip("\r\n")
                if line:
                    return line
    except OSError:  # which the reader reports
        pass
    return ""


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


class _Ids:
    """Makes ids unique: the second row with the id 7 is 7-2, the third is 7-3."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._times: dict[str, int] = {}

    def unique(self, row_id: str) -> str:
        """The id, with a number if it is taken."""
        name = row_id
        while name in self._taken:
            self._times[row_id] = self._times.get(row_id, 1) + 1
            name = f"{row_id}-{self._times[row_id]}"
        self._taken.add(name)
        return name


def _texts(row: Row) -> dict[str, Any]:
    return {"text": row.text} | ({} if row.text_pair is None else {"text_pair": row.text_pair})


def _carried(row: Row) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in row.meta.items()}


def _chosen(choices: Sequence[Mapping[str, str]], present: Iterable[str]) -> Mapping[str, str]:
    """The first names of columns whose text is present; the last resort are the names of the fields themselves."""
    present = set(present)
    return next((names for names in choices if names.get("text", "text") in present), {})


def _label_columns(choices: Sequence[Mapping[str, str]]) -> set[str]:
    """The columns that hold labels, by the names of the fields or by those of the mixture."""
    return {names.get(label, label) for names in (*choices, {}) for label in _LABELS}


# Carried values pass through `meta` of the row as JSON, because no head reads it.


class _CarryingJsonl(Jsonl):
    """JSON lines with the names of the mixture's columns, and with any further keys."""

    def __init__(
        self, path: str, *, choices: Sequence[Mapping[str, str]], encoding: str = UTF_8, **options: Any
    ) -> None:
        super().__init__(path, encoding=encoding, **options)
        self._choices = choices

    def _row(self, record: Mapping[str, Any], default_id: str) -> Row:
        names = _chosen(self._choices, record)
        fields = {name: names.get(name, name) for name in (*FIELDS, *_GOLD)}
        known = {name: record[key] for name, key in fields.items() if name not in _LABELS and key in record}
        left_out = {*fields.values(), *_label_columns(self._choices)}
        carried = {key: value for key, value in record.items() if key not in left_out}
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
        left_out = {*names.values(), *_label_columns(self.choices)}
        carried = Counter(column for column in header if column not in left_out)
        problems = [
            Problem(source, f"The header has {quoted(column, 'a column')} more than once.", "Rename one of them.")
            for column, number in carried.items()
            if number > 1 and column
        ]
        if problems:
            raise InputError(problems)
        return replace(self, names=names, meta=list(carried))

    def row(self, cells: Mapping[str, Any], default_id: str) -> TextRow:
        # An empty cell is the only way in which a table can lack an id.
        given = {f: column for f, column in self.names.items() if f not in _OPTIONAL or cells[column] not in (None, "")}
        row = Columns(given).row(cells, default_id)
        return replace(row, meta={column: json.dumps(cells[column], default=str) for column in self.meta})


class _TextLines(Reader):
    """One text per line; blank lines are left out."""

    suffixes = (".txt",)

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        for number, line in self.lines(source):
            if line.strip():
                yield TextRow(f"{split}-{number}", f"{split}-{number}", line)
