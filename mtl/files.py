"""Writing files whole: a process that is killed leaves the old file or the new one, never half of one."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtl.problems import InputError, Problem

DECIDES_RESULTS = False


def write_text(path: Path, text: str) -> None:
    """Replaces a text file, whose folder is made where there is none.

    Raises:
        InputError: It cannot be written.
    """
    make_folder(path.parent)
    # Not a `tempfile`: that is its owner's alone, whereas a result has the rights the user's umask gives.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise not_writable(path, error) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replaces a JSON file; numbers that JSON cannot hold become null.

    Raises:
        InputError: It cannot be written.
    """
    write_text(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is no file.

    Raises:
        InputError: The file is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), f"It must be JSON; {error}.", "Restore or remove the file.")) from error
    return content


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it where they do not exist.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def not_writable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that cannot be written."""
    return InputError(
        Problem(str(path), f"It can't be written: {error.strerror or error}.", "Choose another folder for the runs.")
    )


def finite(value: Any) -> Any:
    """The value with null in place of numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def folder_name(name: str) -> str:
    """The name of the folder for a mixture's runs or for a study: the name itself.

    Raises:
        InputError: The name cannot be that of a folder.
    """
    if name.startswith(".") or {"/", "\\", "\0"} & set(name) or not name.strip():
        raise InputError(
            Problem("name", f"It must be usable as the name of a folder; found {name!r}.", "Leave out / and \\.")
        )
    return name
