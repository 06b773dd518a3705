"""Writes files atomically: a process that is killed leaves the old file or the new one, never a part of one."""

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
    """Replaces a text file and creates its folder if needed.

    Raises:
        InputError: The file cannot be written.
    """
    make_folder(path.parent)
    # Not a `tempfile`, which only its owner may read; results have the permissions of the user's umask.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise not_writable(path, error) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replaces a JSON file; NaN and infinite numbers become null.

    Raises:
        InputError: The file cannot be written.
    """
    write_text(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if there is no file.

    Raises:
        InputError: The file is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), f"is not valid JSON: {error}.", "Restore or remove the file.")) from error
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


def not_writable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that cannot be written."""
    return InputError(
        Problem(str(path), f"cannot be written: {error.strerror or error}.", "Choose another folder for the runs.")
    )


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
