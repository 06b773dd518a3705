"""Which reader fits a file or a folder, guessed from its name and its first lines."""

from __future__ import annotations

import csv
import inspect
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mtl.config.components import choices, find
from mtl.drafting import documents, tags
from mtl.drafting.columns import Roles, filled, is_header, is_text, label_type, roles
from mtl.drafting.encodings import UTF8, encoding_of, lines_of
from mtl.problems import InputError, Problem
from mtl.readers import SPLIT_NAMES
from mtl.readers._parquet import Parquet
from mtl.redaction import is_name

LOOKED_AT = 500
"""Maximum number of rows that are looked at."""

_ROW_KEYS = ("id", "document", "text", "text_pair", "label", "entities", "relations", "words", "sentences")
_SPAN_KEYS = ("id", "document", "text", "entities", "relations", "words", "sentences", "annotated")
_LABEL_DEFAULTS = {"label_type": "text", "label_separator": ",", "decimal": "."}
_PUBMEDQA = {"ori_pqal.json", "splits.json"}
_OFFICE = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "Save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf"), "Save the texts as a CSV file with one text per row"),
}
"""What to do with office files, by suffix."""


class Guess(NamedTuple):
    """How to read a file.

    Args:
        reader: Name of the reader.
        options: Options of the reader other than the path.
        notes: What was assumed, for a comment.
        other_labels: Further columns of labels, each with the options that differ when it is read as the label.
        unused: Columns that are not read; empty strings if their names must not be shown.
    """

    reader: str
    options: dict[str, Any]
    notes: tuple[str, ...] = ()
    other_labels: Mapping[str, dict[str, Any]] = {}  # never changed
    unused: tuple[str, ...] = ()


def guess(path: Path) -> Guess:
    """How to read a file, or a folder of one file per split.

    Raises:
        InputError: Nothing fits.
    """
    if "\0" in str(path) or not (path.is_dir() or path.is_file()):  # a pipe would wait for ever
        raise InputError(Problem(str(path), "There is no such file or folder.", "Check the path."))
    return _of_folder(path) if path.is_dir() else _of_files([path])


def _of_folder(path: Path) -> Guess:
    inside = sorted(path.iterdir())
    if any(file.suffix == ".ann" for file in inside):
        return _of_documents(path, {"files": {"train": "."}})
    if {file.name for file in inside} >= _PUBMEDQA:
        return Guess("pubmedqa", {})
    splits = _splits(inside)
    if not splits:
        return _of_documents(path, {"files": {"train": "."}})
    first = next(iter(splits.values()))
    if first.is_dir():
        return _of_documents(first, {}, path)
    found = _of_files([file for file in splits.values() if file.is_file()])
    known = find("reader", found.reader, "reader").suffixes
    if any(file.name.removeprefix(_stem(file)) not in known for file in splits.values()):
        found.options["files"] = {split: file.name for split, file in splits.items()}
    return found


def _splits(inside: Iterable[Path]) -> dict[str, Path]:
    """The file or folder of each split, by name."""
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        own = [path for path in inside if _stem(path) in names]
        if own:
            found[split] = own[0]
    return found


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _of_documents(source: Path, options: dict[str, Any], folder: Path | None = None) -> Guess:
    """How to read a folder or an archive whose files are documents.

    Args:
        source: The folder or archive.
        options: Options of the reader.
        folder: Folder of all splits, if the source is one of several.
    """
    reader = documents.reader_of_documents(source)
    if reader is None:
        message = "There are no train, dev or test, no .ann files, and no documents that a reader knows."
        raise InputError(Problem(str(source), message, f"Give the files. {_by_hand()}"))
    if reader == "brat" and source.is_dir():
        files = (file for file in (folder or source).rglob("*") if file.is_file())
        return _encoded(Guess(reader, options), encoding_of(file for file in files if file.suffix in (".txt", ".ann")))
    return Guess(reader, options)


def _of_files(files: Sequence[Path]) -> Guess:
    """How to read the files of the splits, the first of which decides on the format."""
    first = files[0]
    if advice := _OFFICE.get(first.suffix.lower()):
        message = f"Office files ({first.suffix}) are not supported."
        raise InputError(Problem(str(first), message, f"{advice} and give that file."))
    if documents.archive_suffix(first) is not None:
        return _of_documents(first, {})
    if first.suffix.lower() == ".parquet":
        with first.open("rb") as file:
            table = Parquet(file, first)
            records = list(islice(table.records(table.names), LOOKED_AT))
        return _of_columns(first, {name: [record[name] for record in records] for name in table.names}, {})
    encoding = encoding_of(files)
    lines = list(islice(lines_of(first, encoding), LOOKED_AT))
    if not any(line.strip() for line in lines):
        raise InputError(Problem(str(first), "The file is empty.", "Check the path."))
    return _encoded(_of_lines(files, lines, encoding), encoding)


def _encoded(found: Guess, encoding: str) -> Guess:
    """The guess with the encoding, if it is not UTF-8 and the reader reads others."""
    if encoding == UTF8 or "encoding" not in inspect.signature(find("reader", found.reader, "reader")).parameters:
        return found
    note = f"The files are not UTF-8. They are read as {encoding}, the encoding of Windows in Western languages."
    return found._replace(options={**found.options, "encoding": encoding}, notes=(*found.notes, note))


def _of_lines(files: Sequence[Path], lines: Sequence[str], encoding: str) -> Guess:
    first, suffix = files[0], files[0].suffix.lower()
    text = "\n".join(lines)[: documents.BEGINNING].lstrip()
    if suffix == ".xml" or text.startswith("<?xml"):
        return _of_xml(first, text)
    if suffix in (".json", ".jsonl", ".ndjson") or text.startswith("{"):
        reader = documents.reader_of_json(text)
        return _of_json(first, lines) if reader is None else Guess(reader, {})
    if any(re.match(r"\S+\|[ta]\|", line) for line in lines[:3]):
        return Guess("pubtator", {})
    separator = tags.separator_of(lines)
    if separator is None:
        return _of_table(first, lines, suffix)
    every_line = [line for file in files for line in (*lines_of(file, encoding), "")]
    return Guess("conll", *tags.options_of(every_line, separator))


def _of_xml(path: Path, text: str) -> Guess:
    reader = documents.reader_of_xml(text)
    if reader is None:
        raise InputError(Problem(str(path), "No reader recognises this XML.", _by_hand()))
    suffixes = find("reader", reader, "reader").suffixes
    if ".xml" not in suffixes:
        needed = ", ".join(suffix or "a folder" for suffix in suffixes)
        message = f"It is a document of a corpus that the reader {reader} reads as a whole."
        raise InputError(Problem(str(path), message, f"Give the corpus ({needed})."))
    return Guess(reader, {})


def _of_json(path: Path, lines: Sequence[str]) -> Guess:
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):  # the latter from deep nesting
            record = ()
        if record is not None and not isinstance(record, dict):
            advice = "A file of JSON lines has one object on each line."
            raise InputError(Problem(f"{path}:{number}", "The line is not a JSON object.", advice))
        records += [record] if record else []
    keys = list(dict.fromkeys(key for record in records for key in record))
    if "entities" in keys and "text" in keys:
        return Guess("jsonl", _ignoring(keys, _SPAN_KEYS))
    columns = {key: [record.get(key) for record in records] for key in keys}
    found = roles({key: cells for key, cells in columns.items() if _is_flat(cells)})
    if found.text is None:
        raise _no_text(path, keys)
    options = _column_options(found)
    names = options.get("columns", {})
    others = {
        name: {"columns": {"label": name}, **_ignoring(keys, _read_keys({**names, "label": name}))}
        for name in found.other_labels
    }
    return Guess("jsonl", options | _ignoring(keys, _read_keys(names)), other_labels=others)


def _read_keys(columns: Mapping[str, str]) -> list[str]:
    """The keys that are read, as columns or by their own names."""
    return [*columns.values(), *(key for key in _ROW_KEYS if key not in columns)]


def _ignoring(keys: Iterable[str], used: Collection[str]) -> dict[str, Any]:
    """The option `ignore` for the keys that are not used, if there are any; `meta` is a field of every row."""
    ignored = [key for key in keys if key not in used and key != "meta"]
    return {"ignore": ignored} if ignored else {}


def _of_table(path: Path, lines: Sequence[str], suffix: str) -> Guess:
    delimiter = _delimiter(lines)
    if delimiter is None:
        raise InputError(Problem(str(path), "The format is not known.", _by_hand()))
    records = _records(lines, delimiter)
    size = len(records[0])
    rows = [record for record in records[1:] if len(record) == size]
    options: dict[str, Any] = {}
    standard = {".csv": ",", ".tsv": "\t"}
    if suffix not in standard:
        options["format"] = "tsv" if delimiter == "\t" else "csv"
    if delimiter != standard.get(suffix, "\t" if delimiter == "\t" else ","):
        options["delimiter"] = delimiter
    if delimiter == "\t" and _has_quotes(lines, records):
        options["quoting"] = True  # which the reader does not expect in files with tabs
    names = records[0]
    looks_like_row = is_text(names) or any(len(name.split()) > 4 for name in names) or not _may_be_header(names, rows)
    if rows and len(set(names)) < size and is_header(names):
        twice = ", ".join(str(index) for index, name in enumerate(names, start=1) if names.count(name) > 1)
        raise InputError(Problem(str(path), f"The header gives columns {twice} the same name.", "Rename all but one."))
    if not rows or len(set(names)) < size or looks_like_row:
        options["header"] = False
        names, rows = [str(index) for index in range(size)], [records[0], *rows]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    return _of_columns(path, columns, options)


def _has_quotes(lines: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Whether fields between tabs are in quotes: most lines have one, or lines fit together only with quotes."""
    plain = [line.rstrip("\r\n").split("\t") for line in lines if line.strip()]
    quoted = sum(any(len(field) > 1 and field[0] == field[-1] == '"' for field in fields) for fields in plain)
    fitting = sum(len(fields) == len(plain[0]) for fields in plain) / len(plain)
    return 2 * quoted > len(plain) or fitting < sum(len(one) == len(records[0]) for one in records) / len(records)


def _may_be_header(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first row may be a header: it has a usual name, or names alone, none of which is a value below it."""
    words = [word for name in names if len(name.split()) <= 3 for word in name.split()]  # such as "Patient ID"
    below = zip(*rows, strict=True)
    recurs = any(name in values for name, values in zip(names, below, strict=False))  # of no rows, none
    return is_header(words) or (all(map(is_name, names)) and not recurs)


def _delimiter(lines: Sequence[str]) -> str | None:
    """The delimiter that gives the most lines the same number of fields, above one."""
    best: tuple[float, str | None] = (0.5, None)
    for delimiter in ("\t", ",", ";", "|"):
        sizes = [len(record) for record in _records(lines, delimiter)]
        share = sum(size == sizes[0] for size in sizes) / len(sizes) if sizes and sizes[0] > 1 else 0.0
        best = max(best, (share, delimiter), key=lambda pair: pair[0])
    return best[1]


def _records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return [record for record in csv.reader(lines, delimiter=delimiter) if record]
    except csv.Error:  # such as a null character
        return []


def _of_columns(path: Path, columns: Mapping[str, Sequence[Any]], options: dict[str, Any]) -> Guess:
    found = roles(columns)
    if found.text is None:
        raise _no_text(path, columns)
    options |= _column_options(found)
    kind = _label_options(found.label_type, found.separator)
    others: dict[str, dict[str, Any]] = {}
    for name in found.other_labels:
        own = _label_options(*label_type(filled(columns[name])))
        others[name] = {"columns": {"label": name}, **_differing(own, _LABEL_DEFAULTS | kind)}
    used = {found.id, found.document, found.text, found.text_pair, found.label, *found.other_labels}
    unused = [name for name in columns if name not in used]
    if options.get("header", True) and not is_header(columns):
        unused = [""] * len(unused)  # the header may be a row, whose texts are not shown
    return Guess("table", options | _differing(kind, _LABEL_DEFAULTS), other_labels=others, unused=tuple(unused))


def _label_options(kind: str, separator: str) -> dict[str, Any]:
    """The options of the reader `table` for a column of labels."""
    if kind == "decimal":
        return {"label_type": "number", "decimal": ","}
    return {"label_type": kind, "label_separator": separator} if kind == "list" else {"label_type": kind}


def _differing(options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value != others[key]}


def _column_options(found: Roles) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in ("id", "document", "text", "text_pair", "label")}
    columns = {name: column for name, column in fields.items() if column is not None and column != name}
    return {"columns": columns} if columns else {}


def _no_text(path: Path, names: Iterable[str]) -> InputError:
    message = f"None of the {len(list(names))} columns looks like a text of several words."
    return InputError(Problem(str(path), message, "Write the task by hand and name the column under `columns`."))


def _is_flat(cells: Sequence[Any]) -> bool:
    return not any(isinstance(cell, dict) for cell in cells)


def _by_hand() -> str:
    """What to do with a format that is not recognised; an installed package has no documentation to refer to."""
    return f"Write the task by hand with one of the readers: {', '.join(choices('reader'))}."
