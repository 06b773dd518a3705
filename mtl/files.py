"""Writes files atomically: a process that is killed leaves the old file or the new one, never a part of one."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from mtl.problems import InputError, Problem

DECIDES_RESULTS = False


def write_text(path: Path, text: str, *, in_place_if_full: bool = False) -> None:
    """Replaces a text file and creates its folder if needed.

    Args:
        path: The file.
        text: Its new content.
        in_place_if_full: Whether to overwrite the file itself if the disk has no room for a second one. Use it for
            short files that can be rebuilt, because a process that is killed in this moment leaves a part of the file.

    Raises:
        InputError: The file cannot be written.
    """
    make_folder(path.parent)
    content = text.encode("utf-8")
    try:
        with replacing(path) as file:
            file.write(content)
    except InputError as error:
        if not (in_place_if_full and is_full(error.__cause__) and _overwrite(path, content)):
            raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that replaces `path` once it is complete and on disk. After an error, `path` is unchanged.

    The file lies next to `path` until then, because a file cannot be moved to another file system in one step.

    Args:
        path: The file to replace. Its folder must exist.

    Raises:
        InputError: The file cannot be written.
    """
    # Not a `tempfile`, which only its owner may read; results have the permissions of the user's umask.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("w+b") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise not_writable(path, error) from error
        raise


def sync_folder(folder: Path) -> None:
    """Writes the entries of a folder to disk, where the file system can do this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes files that a killed process was writing in a folder; nothing else may be writing there."""
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


_TEMPORARY = re.compile(r"\..+\.\d+-\d+")


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that there is no room: the disk is full, or the user's quota or limit is reached."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _overwrite(path: Path, content: bytes) -> bool:
    """Overwrites a file within the blocks that it already has; returns whether this was possible."""
    try:
        found = path.stat()
        if len(content) > max(found.st_size, getattr(found, "st_blocks", 0) * 512):
            return False
        with path.open("r+b", buffering=0) as file:
            file.write(content)
            file.truncate()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


def write_json(path: Path, content: Mapping[str, Any], *, in_place_if_full: bool = False) -> None:
    """Replaces a JSON file; NaN and infinite numbers become null.

    Args:
        path: The file.
        content: Its new content.
        in_place_if_full: As for `write_text`.

    Raises:
        InputError: The file cannot be written.
    """
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, in_place_if_full=in_place_if_full)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if there is no file.

    Raises:
        InputError: The file is not JSON, or not a mapping.
    """
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), f"is not valid JSON: {error}.", "Restore or remove the file.")) from error
    if not isinstance(content, dict):
        message = f"must be a mapping, got a {type(content).__name__}."
        raise InputError(Problem(str(path), message, "Restore or remove the file."))
    return content


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents if they do not exist.

    Raises:
        InputError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def make_new_folder(parent: Path, name: str) -> Path:
    """Creates a folder that did not exist, and returns it; further ones of the same name are numbered from 2.

    Raises:
        InputError: The folder cannot be created.
    """
    make_folder(parent)
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise not_writable(path, error) from error
        return path
    raise AssertionError("count never ends")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that becomes `folder` once it is complete. After an error, nothing is left.

    Args:
        folder: A folder that does not exist or is empty; its parents are created if needed.

    Raises:
        InputError: It cannot be written, or has content.
    """
    make_folder(folder.absolute().parent)
    part = folder.absolute().with_name(f".{folder.name}.{os.getpid()}")
    try:
        part.mkdir()
        yield part
        part.replace(folder.absolute())
    except OSError as error:
        raise not_writable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def not_writable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that cannot be written."""
    advice = "Free some space, or choose" if is_full(error) else "Choose"
    message = f"cannot be written: {error.strerror or error}."
    return InputError(Problem(str(path), message, f"{advice} another folder for the runs."))


def finite(value: Any) -> Any:
    """The value with None in place of NaN and infinite numbers."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def folder_name(name: str) -> str:
    """The name of the folder for a mixture's runs or for a study: the name itself.

    Raises:
        InputError: No folder can have this name.
    """
    if name.startswith(".") or {"/", "\\", "\0"} & set(name) or not name.strip():
        raise InputError(
            Problem("name", f"must be a valid folder name, got {name!r}.", "Omit / and \\ and a leading dot.")
        )
    return name


def require_empty(folder: Path) -> None:
    """Checks that a folder to write does not exist or is empty.

    Raises:
        InputError: It is a file or has content.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        message = f"must be a new or empty folder, got '{folder}', which has content."
        raise InputError(Problem("--to", message, "Choose another folder, or remove this one first."))
