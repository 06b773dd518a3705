"""The limit of what a reader loads into memory at once, so that a small archive cannot fill it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from mtl.problems import InputError, Problem

VARIABLE = "MTL_READ_LIMIT_MB"
"""Environment variable that changes the limit, in MiB."""

DEFAULT = 1024

_CHUNK = 1 << 20


def read_limit() -> int:
    """The limit in bytes for an archive after decompression, a file that is read as a whole, and a line.

    Raises:
        InputError: The environment variable is not a whole number above 0.
    """
    written = os.environ.get(VARIABLE, str(DEFAULT))
    if not (written.isascii() and written.isdecimal() and len(written) <= 9 and int(written)):
        raise InputError(Problem(VARIABLE, f"must be a whole number of MiB above 0, got {written[:20]!r}."))
    return int(written) << 20


class ByteStream(Protocol):
    """An open file, or a stream that decompresses one."""

    def read(self, size: int, /) -> bytes:
        """At most this many bytes; none at the end."""


class Budget:
    """What may still be read of a source.

    Args:
        source: The file, for errors.
        what: What is limited, for errors.
        limit: Number of bytes; None uses `read_limit`.
    """

    def __init__(self, source: Path, what: str, limit: int | None = None) -> None:
        self._source = source
        self._what = what
        self._limit = read_limit() if limit is None else limit
        self._left = self._limit

    def take(self, size: int) -> None:
        """Counts some bytes.

        Raises:
            InputError: They exceed the limit.
        """
        self._left -= size
        if self._left < 0:
            message = f"{self._what} must have at most {self._limit >> 20} MiB, got more."
            advice = f"If the file is what you expect, set the environment variable {VARIABLE} to more MiB."
            raise InputError(Problem(str(self._source), message, advice))

    def read(self, file: ByteStream) -> bytes:
        """The rest of a file, read in chunks: reading stops at the limit.

        Raises:
            InputError: The rest exceeds the limit.
        """
        chunks = []
        while chunk := file.read(_CHUNK):
            self.take(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)
