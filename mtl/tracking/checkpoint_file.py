"""The file of a checkpoint: what torch writes, followed by a line with a format version and a checksum.

torch writes a zip archive, and the line is the comment at the end of the archive, so that other programs read the file
as before, and a copy of the file keeps its checksum:

    biomtl checkpoint format 1 crc32 89abcdef

The checksum is that of the archive without the comment. It detects damage, not forgery; SECURITY.md says why a forged
checkpoint is harmless. A checkpoint without this line (another `CheckpointIO` plugin wrote it) is checked by the
checksums that the archive has for each of its records.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mtl.files import replacing
from mtl.problems import InputError, Problem

FORMAT = 1
NOTE = "biomtl_saved"
"""Key in a checkpoint of what its save recorded: names and scores, step, and the run."""

_LINE = "biomtl checkpoint format {} crc32 {:08x}\n"
_PATTERN = re.compile(rb"biomtl checkpoint format (\d{1,9}) crc32 ([0-9a-f]{8})\n")
_END = re.compile(rb"PK\x05\x06.{16}\0\0", re.DOTALL)  # the last record of an archive without a comment
_CHUNK = 1 << 22


def write_checkpoint(path: Path, save: Callable[[Any], None]) -> None:
    """Replaces the file of a checkpoint, once the new one is on disk and was read back.

    Args:
        path: The file.
        save: Writes the checkpoint to the file object that it gets, as `torch.save` does.

    Raises:
        InputError: The file cannot be written. The old file, if any, is unchanged.
    """
    with replacing(path) as file:
        writer = _ChecksumWriter(file)
        try:
            save(writer)
        finally:
            if writer.error is not None:
                raise writer.error
        file.seek(-2, os.SEEK_END)
        line = _LINE.format(FORMAT, writer.checksum).encode()
        file.write(len(line).to_bytes(2, "little") + line)
        file.flush()
        os.fsync(file.fileno())
        if (found := damage(Path(file.name))) is not None:
            raise OSError(f"the file was read back and {found}")


class _ChecksumWriter:
    """Writes and sums up. Keeps the first error, because torch would report another one in its place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksum = 0
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        if self.error is None:
            self.checksum = zlib.crc32(content, self.checksum)
            try:
                self._file.write(content)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Does nothing, because the file is flushed at the end."""


def damage(path: Path) -> str | None:
    """What is wrong with the file of a checkpoint; None if it is as it was written.

    Args:
        path: The file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 128))
            end = file.read()
            line = _PATTERN.search(end)
            if line is not None and line.end() == len(end):
                return _compare(file, size, line)
        if size == 0:
            return "is empty"
        return _damaged_archive(path) if _END.fullmatch(end[-22:]) else "is incomplete or not a checkpoint"
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def checksum(path: Path) -> str:
    """The checksum of a checkpoint, which a copy of the file keeps: that of its last line, or else of all its bytes.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 128))
        line = _PATTERN.search(file.read())
        if line is not None:
            return line[2].decode()
        file.seek(0)
        found = 0
        while chunk := file.read(_CHUNK):
            found = zlib.crc32(chunk, found)
        return f"{found:08x}"


def _compare(file: BinaryIO, size: int, line: re.Match[bytes]) -> str | None:
    version, checksum, length = int(line[1]), int(line[2], 16), len(line.group())
    if version > FORMAT:
        return f"has format {version} of a newer version of this package, which can read up to {FORMAT}"
    file.seek(0)
    found, left = 0, size - length - 2
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        found, left = zlib.crc32(chunk, found), left - len(chunk)
    found = zlib.crc32(b"\0\0", found)  # the length of the comment, when torch wrote it
    is_whole = found == checksum and file.read(2) == length.to_bytes(2, "little")
    return None if is_whole else "does not have its checksum"


def _damaged_archive(path: Path) -> str | None:
    """What is wrong with an archive that does not end with our line."""
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error):
        return "is incomplete or not a checkpoint"
    return None if record is None else "has a damaged record"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped, without running code from it.

    Raises:
        InputError: The file cannot be read, or is not a checkpoint.
    """
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except OSError as error:
        raise InputError(Problem(str(path), f"The file cannot be read: {error.strerror or error}.")) from error
    except Exception as error:  # the unpickler may raise any exception
        raise InputError(Problem(str(path), f"The file is not a checkpoint ({type(error).__name__}).")) from error


def read_note(path: Path) -> Mapping[str, Any]:
    """What the save of a checkpoint recorded; empty if it recorded nothing, or if the file cannot be read."""
    try:
        return dict(load_checkpoint(path).get(NOTE, {}))
    except InputError:
        return {}
