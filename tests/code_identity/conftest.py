"""Small packages on disk, each with a unique name."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

_NUMBERS = count()

Build = Callable[[Mapping[str, str]], str]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Writes a package, replacing PACKAGE in its files by its name, and returns the name."""
    monkeypatch.syspath_prepend(folder)

    def written(files: Mapping[str, str]) -> str:
        name = f"invented_{next(_NUMBERS)}"
        for path, source in {"__init__.py": "", **files}.items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source).replace("PACKAGE", name))
        return name

    return written


@pytest.fixture
def identity(build: Build) -> Callable[..., str]:
    """The identity of a root in a new package; two packages with equal files differ only in their names."""
    from mtl.code_identity import code_identity

    def found(files: Mapping[str, str] | str, root: str = "main:run") -> str:
        files = {"main.py": files} if isinstance(files, str) else files
        return code_identity(f"{build(files)}.{root}")

    return found
