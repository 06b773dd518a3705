"""Counts that the user accepts although they differ from the published ones, in a file next to the suite's results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl.files import read_json, write_json
from mtl.suites.suite_spec import Split

Accepted = Mapping[str, Mapping[Split, Mapping[str, Any]]]
"""By task and split: the `found` and the `published` number, the `unit`, and the `fingerprint` of the rows."""


def accepted_file(root: Path, suite: str) -> Path:
    """The file with the accepted counts of a suite.

    Args:
        root: Folder of all results.
        suite: Name of the suite.
    """
    return root / "suites" / suite / "accepted_counts.json"


def read_accepted(path: Path) -> Accepted:
    """The accepted counts; none if there is no file.

    Raises:
        InputError: The file is not valid JSON.
    """
    accepted: Accepted = read_json(path)
    return accepted


def write_accepted(path: Path, accepted: Accepted) -> None:
    """Adds accepted counts to those of the file.

    Raises:
        InputError: The file cannot be read or written.
    """
    before = read_accepted(path)
    write_json(path, {task: {**before.get(task, {}), **accepted.get(task, {})} for task in {**before, **accepted}})
