"""Tables with one row per text or pair: comma-separated, tab-separated and parquet files."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from heads.rows import TextRow
from mtl.problems import InputError, Problem
from mtl.readers import Line, OnBadRow, Reader
from mtl.readers._columns import Columns, Decimal, LabelType, MalformedError
from mtl.readers._parquet import Parquet

Format = Literal["csv", "tsv", "parquet"]

_DELIMITERS = {"csv": ",", "tsv": "\t"}

_OTHER_DELIMITERS = ("\t", ";", "|", ",")
_WRITTEN = {"\t": "\\t"}
"""How YAML writes a delimiter between double quotes, if not as it is."""

_LONGEST_FIELD = 2**31 - 1
"""Maximum length of a field in characters. Some clinical notes exceed Python's default, 128 KiB."""


class Table(Reader):
    r"""`TextRow`s from the rows of a table.

    An empty label means not annotated, and an empty `text_pair` means no second text. No other value means "missing":
    `NA`, `null` and `nan` are text. Blank lines are ignored.

    ``index<TAB>sentence<TAB>label`` / ``0<TAB>Aspirin helps.<TAB>1`` with
    ``columns: {id: index, text: sentence}`` gives
    ``TextRow(id="0", document="0", text="Aspirin helps.", label="1")``.

    Args:
        path: See `Reader`.
        columns: Field of the row (`id`, `document`, `text`, `text_pair`, `label`) -> column. A field that is not
            listed is read from the column with its name, if there is one that is not read as another field. By
            default, `id` is `<split>-<line>` (`<split>-<row>` in parquet) and `document` is the id.
        meta: Columns copied to `meta`.
        format: Format of the files; by default, their suffix determines it.
        quoting: Whether fields may be in quotes, with inner quotes doubled, as in Excel's CSV; if false, quotes are
            text. The default is true for csv and false for tsv.
        header: Whether the first line has the names of the columns; if false, their names are "0", "1", …
        delimiter: Character between fields; the default is a comma for csv and a tab for tsv.
        label_type: Type of the labels: `text`, finite `number`, or `list` of names.
        label_separator: Separator of the names in a list. A cell that contains only the separator is an empty list.
        decimal: Character before the fraction of a label that is a number: a point or a comma.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes = (".tsv", ".csv", ".parquet")
    other_names = ("csv", "tsv", "parquet", "excel", "pandas", "dataframe")

    def __init__(
        self,
        path: str,
        *,
        columns: Mapping[str, str] | None = None,
        meta: Sequence[str] = (),
        format: Format | None = None,
        quoting: bool | None = None,
        header: bool = True,
        delimiter: str | None = None,
        label_type: LabelType = "text",
        label_separator: str = ",",
        decimal: Decimal = ".",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        if delimiter is not None and len(delimiter) != 1:
            raise InputError(Problem("delimiter", f"must be one character, got {delimiter!r}."))
        self.columns = Columns(columns or {}, meta, label_type, label_separator, decimal)
        self.format = format
        self.quoting = quoting
        self.header = header
        self.delimiter = delimiter

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        kind = self.format or _format_of(source)
        yield from self._parquet(source, split) if kind == "parquet" else self._delimited(source, split, kind)

    # --- parquet --------------------------------------------------------------------------------------------------

    def _parquet(self, source: Path, split: str) -> Iterator[TextRow]:
        with self.open(source) as file:
            table = Parquet(file, source)
            columns = self.columns.within(table.names, str(source), is_schema=True)
            for number, cells in enumerate(table.records(columns.used()), start=1):
                yield from self._row(columns, cells, source, split, number)

    # --- text -----------------------------------------------------------------------------------------------------

    def _delimited(self, source: Path, split: str, kind: Format) -> Iterator[TextRow]:
        records = self._records(source, kind)
        names, records = self._header(source, records)
        columns = self._columns(names, source)
        for number, values in records:
            if len(values) == len(names):
                yield from self._row(columns, dict(zip(names, values, strict=True)), source, split, number)
            else:
                quotes = self._may_need_quoting(kind, values)
                hint = " (if they are in quotes, set quoting: true)" if quotes else ""
                self.bad(source, number, f"a row must have {len(names)} fields{hint}", str(len(values)))

    def _may_need_quoting(self, kind: Format, values: Sequence[str]) -> bool:
        return not self._has_quotes(kind) and any(value.startswith('"') or value.endswith('"') for value in values)

    def _has_quotes(self, kind: Format) -> bool:
        return kind == "csv" if self.quoting is None else self.quoting

    def _columns(self, names: list[str], source: Path) -> Columns:
        """The columns of a header; if it is a single one that has none of them, a delimiter inside it is named."""
        try:
            return self.columns.within(names, str(source))
        except InputError:
            inside = [character for character in _OTHER_DELIMITERS if character in names[0]]
            if len(names) > 1 or not inside:
                raise
        message = f"'{source}' has a single column, whose name contains {inside[0]!r}."
        advice = f'If the columns are separated by it, set delimiter: "{_WRITTEN.get(inside[0], inside[0])}".'
        raise InputError(Problem("delimiter", message, advice))

    def _header(
        self, source: Path, records: Iterator[tuple[int, list[str]]]
    ) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
        """The names of the columns, and the records below them."""
        before = len(self.bad_rows)
        first = next(records, None)
        if first is None:
            raise InputError(Problem(str(source), "The file has no readable line.", "Check that it is the right file."))
        if not self.header:
            return [str(index) for index in range(len(first[1]))], itertools.chain([first], records)
        if len(self.bad_rows) > before:
            raise InputError(Problem(str(source), f"The header cannot be read: {self.bad_rows[before]}."))
        return first[1], records

    def _records(self, source: Path, kind: Format) -> Iterator[tuple[int, list[str]]]:
        """The fields of each record with the number of its first line."""
        delimiter = self.delimiter or _DELIMITERS[kind]
        if self._has_quotes(kind):
            return self._quoted(source, delimiter)
        return ((number, line.split(delimiter)) for number, line in self.lines(source) if line)

    def _quoted(self, source: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        consumed: list[Line] = []

        def lines() -> Iterator[str]:
            for line in self.all_lines(source):
                consumed.append(line)
                yield f"{line.text}\n"

        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        records = csv.reader(lines(), delimiter=delimiter, strict=True)
        while True:
            consumed.clear()
            try:
                values = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                if all(line.is_valid for line in consumed):
                    rule = "quotes must enclose a whole field, with inner quotes doubled (or set quoting: false)"
                    self.bad(source, consumed[0].number, rule, str(error))
                continue
            if values and all(line.is_valid for line in consumed):
                yield consumed[0].number, values

    def _row(
        self, columns: Columns, cells: Mapping[str, Any], source: Path, split: str, number: int
    ) -> Iterator[TextRow]:
        try:
            row = columns.row(cells, default_id=f"{split}-{number}")
        except MalformedError as error:
            self.bad(source, number, error.rule, error.found)
        except RecursionError:
            self.bad(source, number, "values of meta must not be nested deeply", "more levels than Python can write")
        else:
            yield row


def _format_of(source: Path) -> Format:
    formats: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
    if source.suffix not in formats:
        advice = "Set format: csv, tsv or parquet."
        if source.suffix.casefold() in (".xlsx", ".xls", ".ods"):
            advice = "Export the sheet as CSV in UTF-8; spreadsheets are not read."
        raise InputError(Problem("format", f"The suffix of '{source}' does not determine its format.", advice))
    return formats[source.suffix]
