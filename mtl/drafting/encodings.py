"""The encoding of text files, and their lines."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from mtl.problems import InputError, Problem
from mtl.readers._limits import Budget, read_limit

UTF8 = "utf-8"
WINDOWS = "cp1252"
"""What Excel saves on Windows in Western languages."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding_of(paths: Iterable[Path]) -> str:
    """The encoding that the files of a task share: `utf-8`, or `cp1252` if that alone fits.

    Files that are neither as a whole, because some of their lines are UTF-8 and others are not, count as UTF-8: their
    reader reports the damaged lines.

    Raises:
        InputError: A file cannot be read, or is no text in these encodings; the error lists all of them.
    """
    found: set[str | None] = set()
    problems: list[Problem] = []
    for path in paths:
        try:
            found.add(_encoding(path))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return WINDOWS if WINDOWS in found and UTF8 not in found else UTF8


def lines_of(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file without their ends; what cannot be decoded is replaced, as its reader reports it.

    Raises:
        InputError: A line exceeds the limit of readers.
    """
    for number, raw in enumerate(_raw_lines(path)):
        content = raw.removeprefix(codecs.BOM_UTF8) if encoding == UTF8 and not number else raw
        yield content.decode(encoding, errors="replace").rstrip("\r\n")


def _raw_lines(path: Path) -> Iterator[bytes]:
    limit = read_limit()
    with path.open("rb") as file:
        for number in count(1):
            raw = file.readline(limit + 1)
            if not raw:
                return
            Budget(Path(f"{path}:{number}"), "A line", limit).take(len(raw))
            yield raw


def _encoding(path: Path) -> str | None:
    """The encoding of one file; None if all of it is ASCII.

    The first line that is UTF-8 and has other characters than ASCII decides, because text in cp1252 hardly ever is.
    """
    found = None
    try:
        for number, raw in enumerate(_raw_lines(path)):
            if not number and raw.startswith(_UTF16):
                raise InputError(Problem(str(path), "It is UTF-16, which no reader reads.", "Save it as UTF-8."))
            if raw.isascii():
                continue
            if _fits(raw, UTF8):
                return UTF8
            if b"\0" in raw or not _fits(raw, WINDOWS):
                message = "The file is neither UTF-8 nor cp1252."
                raise InputError(Problem(str(path), message, "Convert it to UTF-8, or check the path."))
            found = WINDOWS
    except OSError as error:
        raise InputError(Problem(str(path), f"It cannot be read: {error.strerror}.", "Check the path.")) from None
    return found


def _fits(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
