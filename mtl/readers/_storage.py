"""Where readers open files: on disk, or in memory for tests and for contents that must not reach a disk."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Files by path."""

    def is_file(self, path: Path) -> bool:
        """Whether there is a regular file with this path."""

    def is_dir(self, path: Path) -> bool:
        """Whether there is a folder with this path."""

    def files_below(self, folder: Path) -> Iterator[Path]:
        """All files in a folder and its subfolders, in any order."""

    def open(self, path: Path) -> BinaryIO:
        """Opens a file for reading bytes."""


class Disk:
    """The files of the file system."""

    def is_file(self, path: Path) -> bool:
        return path.is_file()

    def is_dir(self, path: Path) -> bool:
        return path.is_dir()

    def files_below(self, folder: Path) -> Iterator[Path]:
        return (path for path in folder.rglob("*") if path.is_file())

    def open(self, path: Path) -> BinaryIO:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise OSError(errno.EINVAL, "it is not a regular file")
        return path.open("rb")


class Memory:
    """Files whose contents are in memory.

    Args:
        contents: Path -> content.

    >>> memory = Memory({"rows/train.jsonl": b"{}"})
    >>> memory.is_dir(Path("rows")), memory.open(Path("rows/train.jsonl")).read()
    (True, b'{}')
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = {Path(name): content for name, content in contents.items()}
        self._folders = {folder for path in self._contents for folder in path.parents}

    def is_file(self, path: Path) -> bool:
        return path in self._contents

    def is_dir(self, path: Path) -> bool:
        return path in self._folders

    def files_below(self, folder: Path) -> Iterator[Path]:
        return (path for path in self._contents if folder in path.parents)

    def open(self, path: Path) -> BinaryIO:
        if path not in self._contents:
            raise FileNotFoundError(errno.ENOENT, "No such file")
        return io.BytesIO(self._contents[path])
