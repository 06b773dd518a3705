"""The checkpoint of a run: which one is meant, what is read of it and when."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtl.config.loading import load_mixture
from mtl.prediction.trained_model import TrainedModel, checkpoint_of
from mtl.problems import InputError
from tests.trained_runs import saved_run


@pytest.fixture
def run(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> Path:
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "x"}}
    mixture = {"name": "m", "encoder": {"name": str(tiny_encoder("bert"))}, "tasks": {"kind": task}}
    return saved_run(tmp_path, load_mixture(mixture))[0].path


def checkpoint(run: Path) -> Path:
    (path,) = (run / "checkpoints").glob("*.ckpt")
    return path


def test_a_run_stands_for_its_best_checkpoint_and_a_file_for_itself(run: Path, tmp_path: Path) -> None:
    own = checkpoint(run)
    elsewhere = shutil.copy(own, tmp_path / "copy.ckpt")
    assert checkpoint_of(run) == checkpoint_of(own) == own
    assert checkpoint_of(elsewhere) == elsewhere


def test_a_checkpoint_that_is_missing_or_damaged_is_a_problem_of_its_path(run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    content = bytearray(checkpoint(run).read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    for path in (tmp_path / "none.ckpt", damaged, run / "checkpoints" / "best-step9.ckpt"):
        with pytest.raises(InputError) as caught:
            checkpoint_of(path)
        assert path.name in str(caught.value)


def test_a_model_has_the_trained_weights_and_the_facts_of_its_checkpoint(run: Path) -> None:
    model = TrainedModel(run)
    weights = torch.load(model.checkpoint, weights_only=True)["state_dict"]
    found = model.module.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert not model.module.training
    assert (model.updates, model.precision, model.temperatures) == (3, "32-true", {})
    assert model.heads["kind"] is model.module.head("kind")
    assert model.folder.path == run
    assert model.mixture.encoder.name == str(run / "encoder")
    assert model.trained_mixture.encoder.name != model.mixture.encoder.name


def test_a_checkpoint_outside_a_run_has_no_folder(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "away" / "copy.ckpt"
    alone.parent.mkdir()
    shutil.copy(checkpoint(run), alone)
    model = TrainedModel(alone)
    assert model.mixture == model.trained_mixture
    with pytest.raises(InputError):
        _ = model.folder
