"""Small searches of the toy mixture, whose trainings run in this process where a test needs no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import run as run_mtl
from mtl.tuning import training_process
from mtl.tuning.training_process import TrainingOrder

TOO_LOW, GOOD = 1e-9, 3e-3
"""Learning rates: with the first nothing is learned, with the second `cause` and `drugs` are."""

SEARCH: dict[str, Any] = {
    "name": "toy_search",
    "mixture": "toy.yaml",
    "search": {"model.learning_rate": [TOO_LOW, GOOD]},
    "sampler": "grid",
    "seeds": 1,
    "objective": "val/drugs/f1",
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "precision": "32-true"},
}


class Trainings:
    """Trains in this process, and counts; `before` and `after` may interrupt or fail."""

    def __init__(self) -> None:
        self.orders: list[TrainingOrder] = []
        self.before: Callable[[TrainingOrder], None] = lambda order: None
        self.code: Callable[[TrainingOrder], int | None] = lambda order: None

    def __call__(self, order: TrainingOrder) -> int:
        self.before(order)
        self.orders.append(order)
        code = self.code(order)
        if code is not None:
            return code
        os.environ.pop("MTL_RUN_FOLDER", None)
        try:
            return run_mtl(["fit", "--config", str(order.config), "--ckpt_path", "auto"])
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            order.watch()
            os.environ.pop("MTL_RUN_FOLDER", None)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Trains in this process instead of one process per training."""
    found = Trainings()
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(training_process, "train", found)
    return found


@pytest.fixture
def search_file(
    toy_mixture: Callable[..., Path], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """A function that writes a tuning file into `tmp_path`, which becomes the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def write(mixture: dict[str, Any] | None = None, **fields: Any) -> Path:
        toy_mixture(**{"only": ["cause", "drugs"], **(mixture or {})})
        path = tmp_path / "search.yaml"
        content = {key: value for key, value in {**SEARCH, **fields}.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path

    return write
