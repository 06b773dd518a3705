"""Shared fixtures of the tests of running studies: a finished study in MLflow."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtl.commands import run as run_mtl
from tests import five_tasks
from tests.study.finished import NAME, SEEDS, Finished, runs


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path], empty_store: Path
) -> Finished:
    """A finished study, which tests share and must not change."""
    folder = tmp_path_factory.mktemp("finished")
    five_tasks.write(folder, tiny_encoder("bert"))
    shutil.copy(empty_store, folder / "mlflow.db")
    study = {
        "name": NAME,
        "mixture": "five.yaml",
        "tasks": ["kind", "mentions"],
        "designs": ["pairwise", "sequential", {"refine_finetune": {"heads": "fresh"}}],
        "controls": ["self_partner"],
        "continued": False,
        "seeds": len(SEEDS),
        "budget": {"updates": 4, "evaluations": 2},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    gc.freeze()
    with five_tasks.surroundings(folder):
        assert run_mtl(["study", "run", "study.yaml"]) == 0
    parents = runs(folder / "mlflow.db", "study")
    assert len(parents) == 1
    report = folder / "runs" / "studies" / NAME / "report" / "findings.json"
    return Finished(folder, parents[0], runs(folder / "mlflow.db", "study_run"), json.loads(report.read_text()))
