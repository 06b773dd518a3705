"""Memory-mapped tables on disk, written once: rows and encoded examples.

A table is an Arrow stream that `datasets` reads. Our own code writes it, because it keeps every type as it is, shows no
value in an error and leaves no half-written file; `experiments/results/dependencies.md` has the comparison.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets.table import MemoryMappedTable
from filelock import FileLock

from heads.rows import Row, row_from_dict
from mtl.files import sync_folder
from mtl.private_files import cache_folder, make_private, open_private, private_folder

DECIDES_RESULTS = False

CHUNK = 1000
"""Number of records in memory while a table is written."""

FORMAT = "3"
"""Version of the file format; each version has its own folder in the cache."""

BLOCK, BLOCKS = 1 << 16, 64
"""Bytes of a block in a table's checksum, and number of blocks for a large table (4 MiB in total)."""


class StoredTable:
    """A memory-mapped table of records."""

    def __init__(self, path: Path) -> None:
        # Not a `Dataset`, whose description of its columns and format takes ten times as long as opening the file.
        self._data = MemoryMappedTable.from_file(str(path))

    def __len__(self) -> int:
        return len(self._data)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A numeric column as an array in memory."""
        array: npt.NDArray[Any] = self._data.column(name).to_numpy()
        return array

    def num_with(self, name: str, part: str) -> int:
        """The number of rows whose text in a column contains a part."""
        import pyarrow.compute as pc

        return int(pc.sum(pc.match_substring(self._data.column(name), part)).as_py() or 0)

    def lengths(self, name: str) -> npt.NDArray[np.int64]:
        """The length of each list in a column of lists."""
        import pyarrow.compute as pc

        lengths: npt.NDArray[np.int64] = pc.list_value_length(self._data.column(name)).to_numpy()
        return lengths

    def num_equal(self, name: str, value: int) -> int:
        """The number of elements that equal a value, over all lists of a column of lists."""
        import pyarrow.compute as pc

        return int(pc.sum(pc.equal(pc.list_flatten(self._data.column(name)), value)).as_py() or 0)

    def codes(self, name: str) -> npt.NDArray[np.int64]:
        """An integer for each distinct value of a column, from 0 in the order of first occurrence."""
        encoded = self._data.column(name).dictionary_encode().unify_dictionaries()
        codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
        return np.concatenate([np.zeros(0, dtype=np.int64), *codes])

    def equals(self, other: StoredTable, names: Sequence[str]) -> bool:
        """Whether these columns of both tables hold the same values, or are in neither; none is read into memory."""
        if len(self) != len(other):
            return False
        one, two = self._data, other._data
        shared = [name for name in names if name in one.column_names and name in two.column_names]
        if any((name in one.column_names) != (name in two.column_names) for name in names):
            return not len(self)
        return not len(self) or all(one.column(name).equals(two.column(name)) for name in shared)

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Records by index, in the order of the indices.

        Raises:
            IndexError: An index is out of range.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if not len(wanted):
            return []
        if not 0 <= wanted.min() <= wanted.max() < len(self):  # a negative one would count from the end
            raise IndexError(f"indices must be below {len(self)}, got {wanted.min()} to {wanted.max()}")
        records: list[dict[str, Any]] = self._data.fast_gather(wanted).to_pylist()
        return records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._data.to_batches(max_chunksize=CHUNK):
            yield from batch.to_pylist()


class RowTable(Sequence[Row]):
    """The rows of a split, read from disk on access."""

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

    def fields(self) -> Iterator[dict[str, Any]]:
        """The rows as JSON types, in the format of `heads.row_to_dict`; much faster than the rows themselves."""
        return (json.loads(record["json"]) for record in self._table)

    def documents(self) -> npt.NDArray[Any]:
        """The document of each row."""
        return self._table.column("document")

    @cached_property
    def num_pairs(self) -> int:
        """The number of rows with a second text, counted once, because every checkpoint asks for it."""
        return self._table.num_with("json", '"text_pair": ')  # in a text, the quotes would be escaped

    def ids(self) -> npt.NDArray[Any]:
        """The id of each row."""
        return self._table.column("id")

    def document_numbers(self) -> npt.NDArray[np.int64]:
        """The document of each row as an integer, from 0 in the order of first occurrence."""
        return self._table.codes("document")


Build = Callable[[], tuple[Iterable[Mapping[str, Any]], Callable[[], Any]]]
"""Returns the records of a table, and a function that gives their summary as JSON types after the last record."""


class Store:
    """A cache folder of tables, keyed by a hash of what determines their content.

    Tables hold text, so only their owner may read them: folders have mode 0700 and files 0600.

    If two processes need the same table at the same time, one builds it and the other waits. A damaged table is rebuilt
    with a warning (see `_checksum` for what is detected). If the folder is full or not writable, its tables are still
    read, and new tables go to a temporary folder, with a warning.

    Args:
        folder: The folder; None uses the environment variable `MTL_CACHE`, or ``~/.cache/biomtl``.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else cache_folder()
        self._written = self.folder  # a temporary folder after the first failure

    def table(self, key: str, build: Build) -> tuple[StoredTable, Any]:
        """A table and its summary; built if the store does not have it.

        Args:
            key: Hash of everything that determines the content.
            build: Builds the table; called a second time, for the temporary folder, if the folder is full.

        Raises:
            FieldError: The values of a field have several types, or a type that a table cannot store.
        """
        found = _read(_place(self.folder, key))
        if found is not None:
            return found
        try:
            try:
                return _found_or_built(_place(self._written, key), build)
            except OSError as error:  # the folder is full or (partly) not writable
                self._written = _temporary(self.folder, error.strerror or type(error).__name__)
                return _found_or_built(_place(self._written, key), build)
        except _SourceError as error:
            raise error.error from None


class FieldError(ValueError):
    """The values of a field cannot be stored in one column without loss."""


class _SourceError(Exception):
    """The source of a table cannot be read; the store's folder is not the cause."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _guarded(build: Build) -> tuple[Iterator[Mapping[str, Any]], Callable[[], Any]]:
    """The records and the summary; errors of reading the source are wrapped, to distinguish them from write errors."""
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
    is_new = not path.parents[2].exists()
    for folder in (*([path.parents[2]] if is_new else []), path.parents[1], path.parent):
        private_folder(folder)
    with FileLock(f"{path}.lock", mode=0o600):
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
        for file in (path, summary_path):
            make_private(file)  # written by an older version
        if not isinstance(written, dict) or written.get("checksum") != _checksum(path, written.get("summary")):
            raise ValueError("the table or its summary is damaged")
        return StoredTable(path), written["summary"]
    except (OSError, ValueError, pa.ArrowException) as error:
        warnings.warn(
            f"The cached table {path.name} cannot be read ({type(error).__name__}) and is rebuilt.", stacklevel=3
        )
        return None


def _checksum(path: Path, summary: Any) -> str:
    """A hash of a table's size, bytes and summary.

    For tables above 4 MiB, only 64 evenly spaced blocks of 64 KiB are hashed, including the first and the last, so that
    a start does not read gigabytes. This detects a changed length, header or footer and longer runs of lost bytes, but
    not a few changed bytes between two blocks.
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
    """Writes to temporary files and then renames them, so that no process ever reads half a table."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        _write_arrow(part, iter(records))
        made = json.loads(json.dumps(summary()))  # the checksum must match the summary as it will be read
        written = json.dumps({"summary": made, "checksum": _checksum(part, made)})
        with open_private(part.with_suffix(".summary")) as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        part.with_suffix(".summary").replace(path.with_suffix(".json"))
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".summary").unlink(missing_ok=True)


def _write_arrow(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    chunk = list(islice(records, CHUNK))
    names = dict.fromkeys(name for record in chunk for name in record)
    batch = pa.RecordBatch.from_pydict({name: _column(name, chunk) for name in names})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
        while chunk := list(islice(records, CHUNK)):
            writer.write_batch(_batch(chunk, batch.schema))
    with path.open("rb") as written:  # a rename may reach the disk before the content does
        os.fsync(written.fileno())


def _batch(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    late = {name for record in records for name in record}.difference(schema.names)
    if late:
        raise FieldError(f"The field '{min(late)}' must occur in the first {CHUNK} records, got it only later.")
    return pa.RecordBatch.from_arrays([_column(f.name, records, f.type) for f in schema], schema=schema)


def _column(name: str, records: Sequence[Mapping[str, Any]], wanted: pa.DataType | None = None) -> pa.Array:
    """The values of a field as a column.

    Args:
        name: Name of the field.
        records: Some records of the table.
        wanted: Type of the column, from the first records of the table; None infers it.
    """
    values = [record.get(name) for record in records]
    rule = f"be {wanted} in every record, as in the first {CHUNK}"
    if wanted is None:
        rule = "contain strings, 32-bit numbers, booleans or lists of one of these"
    try:
        # The type is not passed: for an integer column, Arrow would truncate 1.5 to 1.
        found = pa.array(values)
    except (pa.ArrowException, OverflowError):
        raise FieldError(f"The field '{name}' must {rule}, got {_kinds(values)}.") from None
    wanted = wanted or _stored(found.type)
    if wanted is None or not _fits(found.type, wanted):
        raise FieldError(f"The field '{name}' must {rule}, got {_kinds(values)}.")
    try:
        return found.cast(wanted)
    except pa.ArrowInvalid:
        raise FieldError(f"The field '{name}' must {rule}, got a number outside {wanted}.") from None


def _stored(found: pa.DataType) -> pa.DataType | None:
    """The type that stores a type; None if it is unsupported. 32 bits suffice for ids, positions, labels and values."""
    if pa.types.is_list(found):
        items = _stored(found.value_type)
        return None if items is None else pa.list_(items)
    if pa.types.is_integer(found) or pa.types.is_null(found):
        return pa.int32()
    if pa.types.is_floating(found):
        return pa.float32()
    return found if found in (pa.string(), pa.bool_()) else None


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column can store values without loss: no truncated fractions, and no strings parsed as numbers."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _fits(found.value_type, wanted.value_type)
    allowed = (pa.int32(), pa.float32()) if pa.types.is_integer(found) else (_stored(found),)
    return wanted in allowed


def _kinds(values: Iterable[Any]) -> str:
    """The Python types of some values, without the values, which may be text of patients.

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
    """A temporary folder that replaces one that is not writable: shared by the process and removed at its end."""
    warnings.warn(
        f"The cache folder {folder} cannot be written ({reason}); this run uses a temporary one.", stacklevel=3
    )
    made = tempfile.TemporaryDirectory(prefix="biomtl-", ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return Path(made.name)
