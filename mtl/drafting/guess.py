"""Which reader fits a file, guessed from its name and its first lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mtl.drafting.columns import Roles, is_text, roles
from mtl.problems import InputError, Problem
from mtl.readers import SPLIT_NAMES
from mtl.readers._parquet import Parquet

LOOKED_AT = 500
"""Maximum number of rows that are looked at."""

_TAG = re.compile(r"[BIESLUO]|[BIESLU]-\S+")
_ROW_KEYS = frozenset({"id", "document", "text", "text_pair", "label", "entities", "relations", "words", "sentences"})


class Guess(NamedTuple):
    """How to read a file.

    Args:
        reader: Name of the reader.
        options: Options of the reader other than the path.
        notes: What was assumed, for a comment.
    """

    reader: str
    options: dict[str, Any]
    notes: tuple[str, ...] = ()


def guess(path: Path) -> Guess:
    """How to read a file, or a folder of one file per split.

    Raises:
        InputError: Nothing fits.
    """
    if path.is_dir():
        return _of_folder(path)
    suffix = path.suffix.lower()
    if suffix in (".zip", ".gz"):
        return Guess("brat", {}, ("The archive is taken for brat files.",))
    if suffix == ".parquet":
        with path.open("rb") as file:
            table = Parquet(file, path)
            records = list(islice(table.records(table.names), LOOKED_AT))
        return _of_columns(path, {name: [record[name] for record in records] for name in table.names}, {})
    lines = list(_lines(path))
    if suffix in (".jsonl", ".ndjson") or lines[0].lstrip().startswith("{"):
        return _of_json(path, lines)
    if suffix == ".xml":
        return Guess("ddi2013", {}, ("XML is taken for the DDI corpus of 2013.",))
    if any(re.match(r"\S+\|[ta]\|", line) for line in lines[:3]):
        return Guess("pubtator", {})
    tagged = _of_tags(lines)
    return tagged or _of_table(path, lines, suffix)


def _of_folder(path: Path) -> Guess:
    names = [name for split in SPLIT_NAMES.values() for name in split]
    inside = sorted(path.iterdir())
    if any(file.suffix == ".ann" for file in inside):
        return Guess("brat", {"files": {"train": "."}})
    splits = [file for file in inside if file.name.split(".")[0] in names]
    if not splits:
        problem = Problem(str(path), "The folder has no train, dev or test, and no .ann files.", "Give the files.")
        raise InputError(problem)
    first = splits[0]
    if first.is_dir():
        if any(first.rglob("*.ann")):
            return Guess("brat", {})
        return Guess("ddi2013", {}, ("The folders are taken for the DDI corpus of 2013.",))
    return guess(first)


def _of_json(path: Path, lines: Sequence[str]) -> Guess:
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line.strip() else None
        except ValueError:
            record = ()
        if record is not None and not isinstance(record, dict):
            advice = "A file of JSON lines has one object on each line."
            raise InputError(Problem(f"{path}:{number}", "The line is not a JSON object.", advice))
        records += [record] if record else []
    keys = list(dict.fromkeys(key for record in records for key in record))
    options: dict[str, Any] = {}
    if "entities" in keys and "text" in keys:
        found = Roles("text")
    else:
        columns = {key: [record.get(key) for record in records] for key in keys}
        found = roles({key: cells for key, cells in columns.items() if _is_flat(cells)})
        if found.text is None:
            raise _no_text(path, keys)
        options = _column_options(found)
    used = set(options.get("columns", {}).values()) | (_ROW_KEYS & set(keys))
    ignored = [key for key in keys if key not in used and key != "meta"]
    if ignored:
        options["ignore"] = ignored
    return Guess("jsonl", options)


def _of_tags(lines: Sequence[str]) -> Guess | None:
    """CoNLL: the last column of every line is a tag."""
    words = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    for separator, name in (("\t", "tab"), (None, "space")):
        fields = [line.split(separator) for line in words]
        tags = [parts[-1] for parts in fields]
        if all(len(parts) > 1 and _TAG.fullmatch(parts[-1]) for parts in fields) and any(tag != "O" for tag in tags):
            options: dict[str, Any] = {} if name == "tab" else {"separator": name}
            prefixes = {tag[0] for tag in tags}
            if prefixes & {"S", "E"}:
                options["scheme"] = "BIOES"
            elif "B" not in prefixes:
                options["scheme"] = "IO"
            if any(line.startswith("-DOCSTART-") for line in lines):
                options["document_mark"] = "-DOCSTART-"
            if {"B", "I"} & set(tags):
                options["entity_type"] = "Entity"
            return Guess("conll", options)
    return None


def _of_table(path: Path, lines: Sequence[str], suffix: str) -> Guess:
    delimiter = _delimiter(lines)
    if delimiter is None:
        raise InputError(
            Problem(
                str(path), "The format is not known.", "Write the task by hand; experiments/README.md lists readers."
            )
        )
    records = _records(lines, delimiter)
    size = len(records[0])
    rows = [record for record in records[1:] if len(record) == size]
    options: dict[str, Any] = {}
    standard = {".csv": ",", ".tsv": "\t"}
    if suffix not in standard:
        options["format"] = "tsv" if delimiter == "\t" else "csv"
    if delimiter != standard.get(suffix, delimiter):
        options["delimiter"] = delimiter
    names = records[0]
    if not rows or len(set(names)) < size or is_text(names) or any(len(name.split()) > 4 for name in names):
        options["header"] = False
        names, rows = [str(index) for index in range(size)], [records[0], *rows]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    return _of_columns(path, columns, options)


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
    if found.label_type != "text":
        options["label_type"] = found.label_type
    if found.label_type == "list" and found.separator != ",":
        options["label_separator"] = found.separator
    return Guess("table", options)


def _column_options(found: Roles) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in ("id", "document", "text", "text_pair", "label")}
    columns = {name: column for name, column in fields.items() if column is not None and column != name}
    return {"columns": columns} if columns else {}


def _no_text(path: Path, names: Iterable[str]) -> InputError:
    message = f"None of the {len(list(names))} columns looks like a text of several words."
    return InputError(Problem(str(path), message, "Write the task by hand and name the column under `columns`."))


def _is_flat(cells: Sequence[Any]) -> bool:
    return not any(isinstance(cell, dict) for cell in cells)


def _lines(path: Path) -> Iterator[str]:
    """The first lines of a text file.

    Raises:
        InputError: It cannot be read as UTF-8, or is empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line.rstrip("\r\n") for line in islice(file, LOOKED_AT)]
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            "It is not UTF-8." if isinstance(error, UnicodeDecodeError) else f"It cannot be read: {error.strerror}."
        )
        raise InputError(Problem(str(path), reason, "Convert it to UTF-8, or check the path.")) from None
    if not any(line.strip() for line in lines):
        raise InputError(Problem(str(path), "The file is empty.", "Check the path."))
    yield from lines
