"""Fixtures for tests of the command line."""

from pathlib import Path

import pytest


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line in this process, as if it were a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are for Lightning's authors
    for name in ("MTL_RUN_FOLDER", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
