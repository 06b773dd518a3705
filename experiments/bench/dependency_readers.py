"""Our readers of tables and JSON lines compared with `datasets.load_dataset`: awkward files, and speed."""

from __future__ import annotations

import csv
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from dependency_timing import milliseconds, table

from mtl.readers.jsonl import Jsonl
from mtl.readers.table import Table

ROWS = 100_000

Texts = tuple[str | None, ...]
"""Id, text and label of a row as they stand in the file."""


class Awkward(NamedTuple):
    """A file, the rows that it has, and the lines that must be refused."""

    name: str
    content: bytes
    rows: Sequence[Texts]
    refused: Sequence[int] = ()


def _csv(*lines: str) -> bytes:
    return "\n".join(["id,text,label", *lines, ""]).encode()


def _lines(*rows: str) -> bytes:
    return "\n".join([*rows, ""]).encode()


TWO = [("1", "SECRET one", "yes"), ("3", "three", "no")]
ONE, THREE = "1,SECRET one,yes", "3,three,no"
ONE_JSON, THREE_JSON = (
    '{"id": "1", "text": "SECRET one", "label": "yes"}',
    '{"id": "3", "text": "three", "label": "no"}',
)

FILES = {
    "plain.csv": Awkward("as it should be", _csv(ONE, THREE), TWO),
    "bom.csv": Awkward("byte-order mark", b"\xef\xbb\xbf" + _csv(ONE, THREE), TWO),
    "crlf.csv": Awkward("CRLF", _csv(ONE, THREE).replace(b"\n", b"\r\n"), TWO),
    "blank.csv": Awkward("a blank line", _csv(ONE, "", THREE), TWO),
    "long.csv": Awkward("a text of 200,000 characters", _csv(f"1,{'a' * 200_000},yes"), [("1", "a" * 200_000, "yes")]),
    "na.csv": Awkward("a text is `NA`", _csv("1,NA,yes", THREE), [("1", "NA", "yes"), TWO[1]]),
    "zeros.csv": Awkward("an id is `007`", _csv("007,one,yes"), [("007", "one", "yes")]),
    "numbers.csv": Awkward(
        "labels 0, 1 and none", _csv("1,a,1", "2,b,0", "3,c,"), [("1", "a", "1"), ("2", "b", "0"), ("3", "c", None)]
    ),
    "more.csv": Awkward("a field too many in line 3", _csv(ONE, "2,SECRET,two,no", THREE), TWO, [3]),
    "fewer.csv": Awkward("a field too few in line 3", _csv(ONE, "2,SECRET", THREE), TWO, [3]),
    "bytes.csv": Awkward("no UTF-8 in line 3", _csv(ONE, "2,SECRET ?,no", THREE).replace(b"?", b"\xff"), TWO, [3]),
    "quote.csv": Awkward("a stray quote in line 3", _csv(ONE, '2,"SEC"RET",no', THREE), TWO, [3]),
    "quotes.tsv": Awkward(
        "quotes in a TSV are text",
        b'id\ttext\tlabel\n1\t"Aspirin" helps\tyes\n2\ta 5" needle\tno\n',
        [("1", '"Aspirin" helps', "yes"), ("2", 'a 5" needle', "no")],
    ),
    "plain.jsonl": Awkward("as it should be", _lines(ONE_JSON, THREE_JSON), TWO),
    "bom.jsonl": Awkward("byte-order mark", b"\xef\xbb\xbf" + _lines(ONE_JSON, THREE_JSON), TWO),
    "broken.jsonl": Awkward("line 2 is no JSON", _lines(ONE_JSON, '{"text": "SECRET",', THREE_JSON), TWO, [2]),
    "missing.jsonl": Awkward("line 2 has no text", _lines(ONE_JSON, '{"id": "2"}', THREE_JSON), TWO, [2]),
    "half.jsonl": Awkward(
        "half a surrogate pair in line 2",
        _lines(ONE_JSON, r'{"id": "2", "text": "SECRET \ud800"}', THREE_JSON),
        TWO,
        [2],
    ),
    "dates.jsonl": Awkward(
        "a text is a date", _lines('{"id": "1", "text": "2019-01-02", "label": "yes"}'), [("1", "2019-01-02", "yes")]
    ),
}


def tables() -> list[str]:
    """The tables of awkward files and of speed."""
    import datasets

    datasets.logging.set_verbosity(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        awkward = [_awkward_line(Path(folder), name) for name in FILES]
        speed = [_speed_line(Path(folder), suffix) for suffix in (".csv", ".jsonl", ".parquet")]
    return [
        table(["file", "case", "ours", "load_dataset", "load_dataset, strictest options"], awkward),
        table(["100,000 rows", "ours, ms", "load_dataset, streaming, ms", "times ours"], speed),
    ]


# --- awkward files ----------------------------------------------------------------------------------------------------


def _awkward_line(folder: Path, name: str) -> list[object]:
    file, path = FILES[name], folder / name
    path.write_bytes(file.content)
    loose = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
    return [
        path.suffix,
        file.name,
        _ours(path, file),
        _theirs(path, file, loose),
        _theirs(path, file, _strict(path.suffix)),
    ]


def _ours(path: Path, file: Awkward) -> str:
    reader = _reader(path)
    rows = [(row.id, row.text, None if row.label is None else str(row.label)) for row in reader.read("train")]
    lines = [bad.line for bad in reader.bad_rows]
    assert not any("SECRET" in str(bad) for bad in reader.bad_rows)
    refused = f"; line {', '.join(map(str, lines))} refused" if lines else ""
    return f"{_verdict(rows, file)}{refused}" if lines == list(file.refused) else "other lines refused"


def _reader(path: Path) -> Any:
    return (Jsonl if path.suffix == ".jsonl" else Table)(str(path), on_bad_row="skip")


def _theirs(path: Path, file: Awkward, options: Mapping[str, Any]) -> str:
    try:
        rows = [
            (str(record["id"]), str(record["text"]), None if record["label"] in (None, "") else str(record["label"]))
            for record in _loaded(path, options)
        ]
    except Exception as error:  # of pandas, pyarrow or `datasets`
        return f"stops: {type(error).__name__}{' with the text' if 'SECRET' in str(error) else ''}"
    return _verdict(rows, file)


def _strict(suffix: str) -> dict[str, Any]:
    """The options of `load_dataset` that come nearest to our rules."""
    from datasets import Features, Value

    features = Features({name: Value("string") for name in ("id", "text", "label")})
    if suffix not in (".csv", ".tsv"):
        return {"features": features}
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {}
    return {"features": features, "keep_default_na": False, **options}


def _loaded(path: Path, options: Mapping[str, Any]) -> Any:
    from datasets import load_dataset

    kinds = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".parquet": "parquet"}
    return load_dataset(kinds[path.suffix], data_files=str(path), split="train", streaming=True, **options)


def _verdict(rows: Sequence[Texts], file: Awkward) -> str:
    """Whether the rows are those of the file."""
    if rows == list(file.rows):
        return "right"
    wrong = sum(row not in file.rows for row in rows)
    lost = sum(row not in rows for row in file.rows)
    return f"{wrong} of {len(rows)} rows wrong, {lost} lost"


# --- speed ------------------------------------------------------------------------------------------------------------


def _speed_line(folder: Path, suffix: str) -> list[object]:
    path = folder / f"large{suffix}"
    columns = {
        "id": [str(number) for number in range(ROWS)],
        "text": [f"{number} mg of aspirin were given for two days." for number in range(ROWS)],
        "label": ["yes" if number % 3 else "no" for number in range(ROWS)],
    }
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif suffix == ".csv":
        path.write_bytes(_csv(*map(",".join, zip(*columns.values(), strict=True))))
    else:
        lines = zip(*columns.values(), strict=True)
        path.write_bytes(_lines(*(json.dumps(dict(zip(columns, line, strict=True))) for line in lines)))
    ours = milliseconds(lambda: sum(1 for _ in _reader(path).read("train")))
    theirs = milliseconds(lambda: sum(1 for _ in _loaded(path, _strict(suffix))))
    return [suffix, ours, theirs, theirs / ours]
