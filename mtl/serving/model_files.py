"""Where the files of a model's folder lie, and their checksums, which detect changes and not forgery."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mtl.files import read_json, write_json
from mtl.problems import InputError, Problem

ARTIFACT = "run"
"""Name in MLflow of the folder with the checkpoint and the encoder's configuration and tokenizer."""

CHECKPOINT = Path("checkpoints", "best.ckpt")
"""Place of the checkpoint in this folder."""

FILE = "checksums.json"
"""Place of the checksums in this folder."""


def write_checksums(folder: Path, others: Mapping[str, Path] | None = None) -> None:
    """Writes the SHA-256 of every file below a folder to its `checksums.json`.

    Args:
        folder: The folder.
        others: Files that will lie elsewhere, by their paths relative to the folder, such as ``../../code.py``.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    write_json(folder / FILE, {name: _sha256(path) for name, path in {**files, **(others or {})}.items()})


def check_checksums(folder: Path) -> None:
    """Checks that the files of a folder are those that `write_checksums` saw.

    Raises:
        InputError: Files were changed, removed or added; the error names all of them.
    """
    expected = read_json(folder / FILE)
    if not expected:
        message = "has no checksums, so changes cannot be detected."
        raise InputError(Problem(str(folder / FILE), message, "Write the model again with mtl serve RUN --to FOLDER."))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {FILE}
    changes = dict.fromkeys(sorted(found - expected.keys()), "was added")
    for name, sha256 in expected.items():
        path = folder / name
        if not path.is_file():
            changes[name] = "is missing"
        elif _sha256(path) != sha256:
            changes[name] = "was changed"
    if changes:
        advice = "Restore the file, or write the model again with mtl serve RUN --to FOLDER."
        raise InputError(
            [Problem(str((folder / name).resolve()), f"The file {what}.", advice) for name, what in changes.items()]
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
