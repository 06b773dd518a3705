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
"""Maximum number of rows that are decoded at once."""

_NESTED_BATCH = 64
"""Likewise for a file with lists: a few bytes of a list may repeat a value any number of times."""

_AT_ONCE = 64 << 20
"""Maximum size in bytes of what is decoded, and of what is converted to Python objects, at once."""

_RATIO = 100
"""How many times its own size a file may expand to, beyond the limit of every reader; tables of texts reach 20."""

_OF_A_ROW, _OF_A_VALUE = 64, 8
"""Bytes that each row and each value count, so that a file of repeated nulls is not free."""


class Parquet:
    """A parquet file.

    What is in memory at once is limited by the sizes that the file states, except for a page, which may have 2 GiB.

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
        self._of_a_row = Budget(source, "A row of a parquet file")
        with self._guarded():
            schema = pq.ParquetFile(file).schema
            columns = [schema.column(index) for index in range(len(schema))]
            names = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            self._is_nested = any(column.max_repetition_level for column in columns)
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
            for batch in self._file.iter_batches(batch_size=self._rows_at_once(), columns=list(names)):
                yield from self._converted(batch)

    def _rows_at_once(self) -> int:
        """How many rows to decode at once, from the sizes that the file states."""
        # Not from those of single columns: pyarrow ends the process where their statistics are damaged.
        groups = (self._file.metadata.row_group(number) for number in range(self._file.num_row_groups))
        size = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
        self._of_a_row.take(size)
        return max(1, min(_NESTED_BATCH if self._is_nested else _BATCH, _AT_ONCE // max(1, size)))

    def _converted(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        size = _OF_A_ROW * len(batch) + sum(map(_converted_size, batch.columns))
        if size > _AT_ONCE and len(batch) > 1:
            half = len(batch) // 2
            yield from self._converted(batch.slice(0, half))
            yield from self._converted(batch.slice(half))
            return
        self._budget.take(size)
        columns = [column.to_pylist() for column in batch.columns]
        for values in zip(*columns, strict=True):  # faster than the batch's own `to_pylist`
            yield dict(zip(batch.schema.names, values, strict=True))

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


def _converted_size(column: pa.Array) -> int:
    """The size of a column's values as Python objects, in bytes: of texts, their length, also where one is repeated."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = _OF_A_VALUE * len(column)
    if pa.types.is_dictionary(column.type):
        return size + int(pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return size + _converted_size(column.flatten())
    if pa.types.is_struct(column.type):
        return size + sum(map(_converted_size, column.flatten()))
    return size + int(column.nbytes)
