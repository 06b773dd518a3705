"""A run to serve, whose heads find planted mentions, without a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtl.config.loading import load_mixture
from mtl.tracking.checkpoint_file import write_checkpoint
from tests.prediction.conftest import TASKS, plant
from tests.trained_runs import saved_run

SERVED = {name: TASKS[name] for name in ("mentions", "links", "kind")}
SERVED["agreement"] = {"head": "regression", "options": {"range": [0, 4]}}
"""`agreement` was trained on pairs, the others on single texts."""

TEXT = "😀 Aspirin increases fever & <b>risk</b>"


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    """The folder of the run."""
    data = {"reader": "jsonl", "path": "secret/rows"}
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    tasks = {name: {**task, "data": data} for name, task in SERVED.items()}
    mixture = load_mixture({"name": "notes", "encoder": encoder, "tasks": tasks})
    run, _ = saved_run(tmp_path_factory.mktemp("served"), mixture)
    path = run.resolve_checkpoint("best")
    content = torch.load(path, weights_only=True)
    kinds = {name: "SpanRow" if name in ("mentions", "links") else "TextRow" for name in SERVED}
    content["MixtureData"] = {"row_types": kinds, "num_texts": dict.fromkeys(SERVED, 1) | {"agreement": 2}}
    write_checkpoint(path, lambda file: torch.save(content, file))
    return run.path


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entity heads find the words of a lexicon; the others predict their first label."""
    plant(monkeypatch)
