"""Files and folders that only their owner may read: what holds text or ids of the data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

DECIDES_RESULTS = False


def cache_folder() -> Path:
    """The folder of cached rows and examples: the one that `MTL_CACHE` names, else ``~/.cache/biomtl``."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "biomtl")


def private_folder(folder: Path) -> None:
    """Creates a folder that only its owner may enter, and closes one of ours that others may enter.

    Its parents get the usual permissions.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_private(folder)


def open_private(path: Path, *, newline: str | None = None) -> IO[str]:
    """A new or emptied text file that only its owner may read or write.

    Args:
        path: The file.
        newline: As in `open`; "" writes carriage returns as they are.

    Raises:
        OSError: The file cannot be opened.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    make_private(path)
    return os.fdopen(handle, "w", encoding="utf-8", newline=newline)


@contextmanager
def replacing_private(path: Path, *, newline: str | None = None) -> Iterator[IO[str]]:
    """A private text file that replaces `path` once it is complete; after an error, `path` is unchanged.

    Args:
        path: The file to replace.
        newline: As in `open`.

    Raises:
        OSError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open_private(part, newline=newline) as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Takes a file or folder from everybody but its owner; another user's stays as it is."""
    mode = path.stat().st_mode
    if mode & 0o077:
        with suppress(OSError):
            path.chmod(mode & 0o700)
