"""Members of zip and tar archives from sources that nobody vouches for, shared by the readers of archives.

Nothing is extracted to disk. Sizes in an archive's own headers are not trusted: what is decompressed is counted.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from mtl.problems import InputError
from mtl.readers._limits import Budget

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Python decompresses other methods (bzip2, LZMA) a whole chunk at a time, however large the result."""

_ENCRYPTED = 0x1


class DamagedError(ValueError):
    """An archive, or one of its members, cannot be read; the message says what was found."""


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """A zip archive.

    Raises:
        DamagedError: The file is not an intact zip archive.
    """
    with _guarded():
        return zipfile.ZipFile(file)


def read_zip_member(archive: zipfile.ZipFile, name: str, budget: Budget) -> bytes:
    """The content of one member.

    Raises:
        DamagedError: The member is damaged, encrypted, not stored or deflated, or has an unsafe name.
        InputError: It exceeds the budget.
    """
    _check_name(name)
    with _guarded():
        info = archive.getinfo(name)
        if info.flag_bits & _ENCRYPTED:
            raise DamagedError("an encrypted file")
        if info.compress_type not in _METHODS:
            raise DamagedError(f"compression method {info.compress_type}")
        with archive.open(info) as member:
            return budget.read(member)


def zip_members(file: BinaryIO, wanted: Callable[[str], bool], budget: Budget) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted members of a zip archive.

    Raises:
        DamagedError: The archive or a wanted member cannot be read.
        InputError: The members exceed the budget.
    """
    with open_zip(file) as archive:
        for name in archive.namelist():
            if wanted(name):
                yield name, read_zip_member(archive, name, budget)


def tar_gz_members(file: BinaryIO, wanted: Callable[[str], bool], budget: Budget) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted members of a .tar.gz archive.

    Raises:
        DamagedError: The archive cannot be read, or a wanted member is a link or has an unsafe name.
        InputError: The archive exceeds the budget.
    """
    # Decompressed first, because only gzip itself verifies the checksum; tarfile treats damage as the end.
    with _guarded():
        unpacked = budget.read(gzip.GzipFile(fileobj=file))
    for member, content in _tar_files(unpacked, wanted):
        yield member.name, content


def _tar_files(unpacked: bytes, wanted: Callable[[str], bool]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with _guarded(), tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
        # Not `for member in tar`: a member of negative size would send older versions of tarfile back for ever.
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep the headers of all members
            if member.size < 0:
                raise DamagedError("a file of negative size")
            if not wanted(member.name) or member.isdir():
                continue
            _check_name(member.name)
            if not member.isreg() or member.issparse():
                raise DamagedError("a link or a special file")
            content = unpacked[member.offset_data : member.offset_data + member.size]
            if len(content) < member.size:
                raise DamagedError("a truncated file")
            yield member, content


def _check_name(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not _is_unicode(name):
        raise DamagedError("a file name that is absolute, has '..' or is not valid Unicode")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # tarfile turns other bytes into halves of surrogate pairs
        return False
    return True


@contextmanager
def _guarded() -> Iterator[None]:
    """Turns the errors of the standard library's modules into `DamagedError`.

    They do not promise which errors they raise: damaged archives gave OSError, RuntimeError, ValueError, KeyError,
    struct.error, LZMAError and others.
    """
    try:
        yield
    except (DamagedError, InputError):
        raise
    except Exception as error:
        raise DamagedError(type(error).__name__) from None
