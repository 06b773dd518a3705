"""A small study on the toy mixture, whose runs take a moment each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TOY = {
    "name": "toy_study",
    "mixture": "toy.yaml",
    "tasks": ["cause", "drugs", "risk"],
    "seeds": 2,
    "budget": {"updates": 4, "evaluations": 2},
    "model": {"learning_rate": 1e-3},
}


@pytest.fixture
def toy_study(toy_mixture: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the study into `tmp_path`, the working folder, and gives its file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    def write(**fields: Any) -> Path:
        toy_mixture()
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**TOY, **fields}), encoding="utf-8")
        return path

    return write
