"""The files of a split, for the readers whose documents or annotations are files of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mtl.problems import InputError, Problem
from mtl.readers import Line, Reader
from mtl.readers._archives import DamagedError, tar_gz_members, zip_members
from mtl.readers._limits import Budget

ARCHIVES = (".tar.gz", ".tgz", ".zip", "")
"""Suffixes of the sources that `members` reads; the empty one stands for a folder."""


class Member(NamedTuple):
    """A file of a folder or archive: its path, for errors, and its content."""

    place: Path
    content: bytes


def members(reader: Reader, source: Path, wanted: Callable[[PurePosixPath], bool]) -> dict[str, bytes]:
    """The wanted files of a folder, `.zip` or `.tar.gz` by their path in it; hidden files are never wanted.

    Damage, and a path that occurs twice in an archive, are bad rows of the reader.

    Args:
        reader: The reader.
        source: The folder or archive.
        wanted: Whether a file is read.

    Raises:
        InputError: The source cannot be read, or exceeds the limit of what is read into memory.
    """
    found: dict[str, bytes] = {}
    try:
        for name, content in _contents(reader, source, wanted):
            if name in found:
                reader.bad(source / name, None, "file names must be unique in an archive", "this one again")
            found.setdefault(name, content)
    except DamagedError as error:
        reader.bad(source, None, "must be a folder or an intact .zip or .tar.gz archive", str(error))
    return found


def _contents(reader: Reader, source: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[str, bytes]]:
    def is_wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return not path.name.startswith(".") and wanted(path)

    if reader.storage.is_dir(source):
        budget = Budget(source, "The texts of a split")
        for path in reader.storage.files_below(source):
            name = path.relative_to(source).as_posix()
            if is_wanted(name):
                yield name, reader.content(path, budget)
        return
    read = zip_members if source.suffix == ".zip" else tar_gz_members
    with reader.open(source) as file:
        yield from read(file, is_wanted, Budget(source, "An archive, after decompression,"))


def content_lines(reader: Reader, file: Member) -> Iterator[Line]:
    """The lines of a file that has been read as a whole, as `Reader.all_lines` gives them; no empty last line."""
    for number, line in enumerate(file.content.removesuffix(b"\n").split(b"\n"), start=1):
        raw = line.removesuffix(b"\r")
        text = reader.decode(raw, file.place, number)
        yield Line(number, raw.decode(reader.encoding, errors="replace") if text is None else text, text is not None)


def companions(
    reader: Reader, key: str, written: Mapping[str, str] | None, default: Callable[[Path], Path]
) -> dict[str, Path]:
    """The second file or folder of each split.

    Args:
        reader: The reader.
        key: Name of the option, for errors.
        written: The option: split -> file or folder, relative to the path of the reader.
        default: From the source of a split to its companion, for splits that are not in the option.

    Raises:
        InputError: A companion does not exist, or the option names a split that does not; all of them are listed.
    """
    sources, written = reader.sources(), written or {}
    found = {
        split: reader.path / written[split] if split in written else default(source)
        for split, source in sources.items()
    }
    problems = [
        Problem(f"{key}.{split}", f"There is no split '{split}'.", f"Choices: {', '.join(sources)}.")
        for split in written
        if split not in sources
    ]
    problems += [
        Problem(f"{key}.{split}", f"'{path}' does not exist.", f"Write it under `{key}`, relative to `path`.")
        for split, path in found.items()
        if not reader.exists(path)
    ]
    if problems:
        raise InputError(problems)
    return found
