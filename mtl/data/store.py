"""Tables on disk, written once and memory-mapped: rows as read, and examples as encoded."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from heads.rows import Row, row_from_dict

DECIDES_RESULTS = False

CHUNK = 1000
"""Records that are in memory at once while a table is written."""

FORMAT = "2"
"""Of the files in the cache; those of another format lie in a folder of their own."""

BLOCK, BLOCKS = 1 << 16, 64
"""Bytes of a block that is checked when a table is opened, and blocks of a large table: 4 MiB in all."""


class StoredTable:
    """A memory-mapped table of records."""

    def __init__(self, path: Path) -> None:
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._batches = self._table.to_batches()
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers as an array in memory."""
        array: npt.NDArray[Any] = self._table.column(name).to_numpy()
        return array

    def lengths(self, name: str) -> npt.NDArray[np.int64]:
        """The length of each list in a column of lists."""
        import pyarrow.compute as pc

        lengths: npt.NDArray[np.int64] = pc.list_value_length(self._table.column(name)).to_numpy()
        return lengths

    def codes(self, name: str) -> npt.NDArray[np.int64]:
        """A number for each value of a column, alike for like values, from 0 in the order of first occurrence."""
        encoded = self._table.column(name).dictionary_encode().unify_dictionaries()
        codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
        return np.concatenate([np.zeros(0, dtype=np.int64), *codes])

    def equals(self, other: StoredTable, names: Sequence[str]) -> bool:
        """Whether these columns of both tables hold the same values; neither is read into memory."""
        if len(self) != len(other):
            return False
        return not len(self) or all(self._table.column(name).equals(other._table.column(name)) for name in names)

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Some records, in the order asked for.

        Raises:
            IndexError: There is no such record.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"there are {len(self)} records; found {wanted.min()} to {wanted.max()}")
        # Not Arrow's own `take`, which puts together whole columns of lists first.
        places = np.searchsorted(self._starts, wanted, side="right") - 1
        offsets = wanted - self._starts[places]
        taken = [self._batches[p].slice(o, 1) for p, o in zip(places.tolist(), offsets.tolist(), strict=True)]
        records: list[dict[str, Any]] = pa.Table.from_batches(taken, self._table.schema).combine_chunks().to_pylist()
        return records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches(max_chunksize=CHUNK):
            yield from batch.to_pylist()


class RowTable(Sequence[Row]):
    """The rows of a split, read from disk when asked for."""

    def __init__(self, table: StoredTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [_row(record) for record in self._table.take(range(len(self))[index])]
        return _row(self._table.take([range(len(self))[index]])[0])

    def __iter__(self) -> Iterator[Row]:
        return map(_row, self._table)

    def documents(self) -> npt.NDArray[Any]:
        """The document of each row."""
        return self._table.column("document")

    def document_numbers(self) -> npt.NDArray[np.int64]:
        """The document of each row as a number, from 0 in the order of first occurrence."""
        return self._table.codes("document")


Build = Callable[[], tuple[Iterable[Mapping[str, Any]], Callable[[], Any]]]
"""Gives the records of a table and, to be called after the last of them, their summary as JSON types."""


class Store:
    """A folder of tables under content keys.

    Two processes may build the same table at once: one of them does it, the other waits. A table that is damaged is
    built again, with a warning (`_checksum` says what is noticed). Where the folder can't be written or is full, what
    it holds is still found, and further tables go to a temporary folder, with a warning.

    Args:
        folder: None takes the environment variable `MTL_CACHE`, or ``~/.cache/biomtl``.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "biomtl")
        self._written = self.folder  # another one from the first failure on

    def table(self, key: str, build: Build) -> tuple[StoredTable, Any]:
        """The table under a key with its summary, built where it isn't there.

        Args:
            key: A hash of everything that decides the content.
            build: Makes the table; where the folder is full, it is called once more for a temporary one.

        Raises:
            FieldError: A field's values are of several types, or of one that a table doesn't hold.
        """
        found = _read(_place(self.folder, key))
        if found is not None:
            return found
        try:
            try:
                return _found_or_built(_place(self._written, key), build)
            except OSError as error:  # the folder is full, or it or a part of it is read-only or another user's
                self._written = _temporary(self.folder, error.strerror or type(error).__name__)
                return _found_or_built(_place(self._written, key), build)
        except _SourceError as error:
            raise error.error from None


class FieldError(ValueError):
    """The values of a field can't be kept in one column as they are."""


class _SourceError(Exception):
    """What a table is made of can't be read, which is no problem of the store's folder."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _guarded(build: Build) -> tuple[Iterator[Mapping[str, Any]], Callable[[], Any]]:
    """The records and the summary, where errors of reading can be told from those of writing."""
    try:
        records, summary = build()
    except OSError as error:
        raise _SourceError(error) from error

    def read() -> Iterator[Mapping[str, Any]]:
        try:
            yield from records
        except OSError as error:
            raise _SourceError(error) from error

    return read(), summary


def content_key(*parts: Any) -> str:
    """A hash of JSON values, the same in every process.

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _place(folder: Path, key: str) -> Path:
    return folder / FORMAT / key[:2] / f"{key}.arrow"


def _found_or_built(path: Path, build: Build) -> tuple[StoredTable, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        found = _read(path)
        if found is None:
            _write(path, *_guarded(build))
            found = _read(path)
    assert found is not None
    return found


def _row(record: Mapping[str, Any]) -> Row:
    return row_from_dict(json.loads(record["json"]))


def _read(path: Path) -> tuple[StoredTable, Any] | None:
    summary_path = path.with_suffix(".json")
    try:
        if not (path.exists() and summary_path.exists()):
            return None
        written = json.loads(summary_path.read_text(encoding="utf-8"))
        if not isinstance(written, dict) or written.get("checksum") != _checksum(path, written.get("summary")):
            raise ValueError("the table or its summary is damaged")
        return StoredTable(path), written["summary"]
    except (OSError, ValueError, pa.ArrowException) as error:
        warnings.warn(
            f"The cached table {path.name} can't be read ({type(error).__name__}); it is built again.", stacklevel=3
        )
        return None


def _checksum(path: Path, summary: Any) -> str:
    """A hash of a table's size, of its bytes and of its summary.

    Of a table beyond 4 MiB it hashes 64 blocks of 64 KiB at even distances, the first and the last among them, so
    that gigabytes aren't read at each start. So a table of another length, with another header or footer, or with a
    longer stretch of lost bytes is noticed; a few altered bytes between two blocks are not.
    """
    size = path.stat().st_size
    found = hashlib.sha256(json.dumps([size, summary], sort_keys=True).encode())
    starts: Sequence[int] = range(0, size, BLOCK)
    if len(starts) > BLOCKS:
        starts = [(size - BLOCK) * number // (BLOCKS - 1) for number in range(BLOCKS)]
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            found.update(file.read(BLOCK))
    return found.hexdigest()


def _write(path: Path, records: Iterable[Mapping[str, Any]], summary: Callable[[], Any]) -> None:
    """Writes beside the place and moves into it, so that no reader ever sees half a table."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        _write_arrow(part, iter(records))
        made = json.loads(json.dumps(summary()))  # as it will be read
        written = json.dumps({"summary": made, "checksum": _checksum(part, made)})
        part.with_suffix(".summary").write_text(written, encoding="utf-8")
        part.with_suffix(".summary").replace(path.with_suffix(".json"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".summary").unlink(missing_ok=True)


def _write_arrow(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    chunk = list(islice(records, CHUNK))
    names = dict.fromkeys(name for record in chunk for name in record)
    schema = pa.schema([(name, _column(name, chunk).type) for name in names])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        while chunk:
            writer.write_batch(_batch(chunk, schema))
            chunk = list(islice(records, CHUNK))


def _batch(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    late = {name for record in records for name in record}.difference(schema.names)
    if late:
        raise FieldError(f"The field '{min(late)}' must be in one of the first {CHUNK} records; found it only later.")
    return pa.RecordBatch.from_arrays([_column(f.name, records, f.type) for f in schema], schema=schema)


def _column(name: str, records: Sequence[Mapping[str, Any]], wanted: pa.DataType | None = None) -> pa.Array:
    """The values of a field as a column.

    Args:
        name: Of the field.
        records: Some of the table.
        wanted: The type that the table's first records gave it; None finds it.
    """
    values = [record.get(name) for record in records]
    rule = f"be {wanted} throughout, which it is in the first {CHUNK} records"
    if wanted is None:
        rule = "hold text, numbers of 32 bits, truth values, or lists of one of these"
    try:
        # Arrow finds the types by itself: told the type, it cuts 1.5 to 1 where it is to be a whole number.
        found = pa.array(values)
    except (pa.ArrowException, OverflowError):
        raise FieldError(f"The field '{name}' must {rule}; found {_kinds(values)}.") from None
    wanted = wanted or _stored(found.type)
    if wanted is None or not _fits(found.type, wanted):
        raise FieldError(f"The field '{name}' must {rule}; found {_kinds(values)}.")
    try:
        return found.cast(wanted)
    except pa.ArrowInvalid:
        raise FieldError(f"The field '{name}' must {rule}; found a number beyond {wanted}.") from None


def _stored(found: pa.DataType) -> pa.DataType | None:
    """How a type is stored, None where it isn't; 32 bits are enough for ids, positions, labels and values."""
    if pa.types.is_list(found):
        items = _stored(found.value_type)
        return None if items is None else pa.list_(items)
    if pa.types.is_integer(found) or pa.types.is_null(found):
        return pa.int32()
    if pa.types.is_floating(found):
        return pa.float32()
    return found if found in (pa.string(), pa.bool_()) else None


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values go into a column as they are: no fraction is cut, and no text read as a number."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _fits(found.value_type, wanted.value_type)
    allowed = (pa.int32(), pa.float32()) if pa.types.is_integer(found) else (_stored(found),)
    return wanted in allowed


def _kinds(values: Iterable[Any]) -> str:
    """The Python types of some values: nothing of the values themselves, which are people's texts.

    >>> _kinds([1, None, [2, "a"], []])
    'int and list of (int and str) and list of (nothing)'
    """
    kinds = set()
    for value in values:
        is_list = isinstance(value, list | tuple)
        kinds.add(f"list of ({_kinds(value) or 'nothing'})" if is_list else type(value).__name__)
    return " and ".join(sorted(kinds - {"NoneType"}))


@cache
def _temporary(folder: Path, reason: str) -> Path:
    """A folder in place of one that can't be written: one for the whole process, removed when it ends."""
    warnings.warn(
        f"The cache folder {folder} can't be written ({reason}); this run uses a temporary one.", stacklevel=3
    )
    made = tempfile.TemporaryDirectory(prefix="biomtl-", ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return Path(made.name)
