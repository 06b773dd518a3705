"""What tests of benchmarks that train have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def training_options(tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a benchmark that trains: a tiny encoder, and `work` and `out` in `tmp_path`; no public data."""
    monkeypatch.delenv("MTL_DATA", raising=False)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    return ["--encoder", str(tiny_encoder("bert")), *folders]
