"""Rows of parquet files from sources that nobody vouches for, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mtl.problems import InputError, Problem
from mtl.readers._limits import Budget, read_limit

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

_BATCH = 8192
"""Number of rows that are decoded at once."""

_CONVERTED = 64 << 20
"""Maximum size in bytes of the values that are converted to Python objects at once."""

_RATIO = 100
"""How many times its own size a file may expand to, beyond the limit of every reader; tables of texts reach 20."""

_OF_A_ROW, _OF_A_VALUE = 64, 8
"""Bytes that each row and each value count, so that a file of repeated nulls is not free."""


class Parquet:
    """A parquet file.

    Args:
        file: The open file.
        source: Its path, for errors.

    Raises:
        InputError: The file is not parquet.
    """

    def __init__(self, file: BinaryIO, source: Path) -> None:
        import pyarrow.parquet as pq

        self._source = source
        limit = max(read_limit(), _RATIO * file.seek(0, io.SEEK_END))
        self._budget = Budget(source, "A parquet file, after decompression,", limit)
        with self._guarded():
            names = _columns_of_strings(pq.ParquetFile(file))
            # As dictionaries, so that a long text that is repeated in many rows is in memory once.
            self._file: ParquetFile = pq.ParquetFile(file, read_dictionary=names)
            self.names: list[str] = self._file.schema_arrow.names

    def records(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The values of each row by column.

        Args:
            names: The columns to read.

        Raises:
            InputError: The file is damaged, or expands to more than the limit.
        """
        with self._guarded():
            for batch in self._file.iter_batches(batch_size=_BATCH, columns=list(names)):
                yield from self._converted(batch)

    def _converted(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        names = batch.schema.names
        size = max(1, _CONVERTED // max(1, sum(map(_longest, batch.columns))))
        for start in range(0, len(batch), size):
            columns = [column.to_pylist() for column in batch.slice(start, size).columns]
            for values in zip(*columns, strict=True):  # faster than the batch's own `to_pylist`
                self._budget.take(_OF_A_ROW + sum(map(_size, values)))
                yield dict(zip(names, values, strict=True))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns the errors of pyarrow into problems; damaged files gave errors of its own and of Python, of 8 types."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            message = f"The file cannot be read as parquet ({type(error).__name__})."
            raise InputError(Problem(str(self._source), message, "Check that the file is intact.")) from error


def _columns_of_strings(file: ParquetFile) -> list[str]:
    columns = (file.schema.column(index) for index in range(len(file.schema)))
    return [column.path for column in columns if column.logical_type.type == "STRING"]


def _longest(column: pa.Array) -> int:
    """At least the size of the largest value of a column in bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list):
        return _OF_A_VALUE * len(value) + sum(map(_size, value))
    return _OF_A_VALUE
