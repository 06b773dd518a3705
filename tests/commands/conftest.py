"""Fixtures for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.small_mixtures import Write, classified


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line in this process, as if it were a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are for Lightning's authors
    for name in ("MTL_RUN_FOLDER", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Returns a function that writes a mixture of one task, `risk`, with its rows, and returns its path.

    Arguments of the function:
        files: Content by name, as bytes, text or a list of rows; None omits a default file.
        task: Fields of the task that differ.
        mixture: Fields of the mixture that differ.
    """
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))

    def make(files: Any = None, *, task: Any = None, rows: Callable[[int], Any] = classified, **mixture: Any) -> Path:
        contents = {f"risk/{split}.jsonl": rows(size) for split, size in (("train", 8), ("dev", 4), ("test", 4))}
        for name, content in {**contents, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, list):
                path.write_text("".join(json.dumps(row) + "\n" for row in content))
            elif content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        data = {"reader": "jsonl", "path": "risk", **(task or {}).pop("data", {})}
        risk = {"head": "classification", "labels": ["low", "high"], "data": data, **(task or {})}
        encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
        fields = {"name": "small", "encoder": encoder, "tasks": {"risk": risk}, **mixture}
        (tmp_path / "m.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
        return tmp_path / "m.yaml"

    return make
