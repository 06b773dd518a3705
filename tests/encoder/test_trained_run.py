from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec
from mtl.encoder.location import encoder_folder, encoder_identity, start_reasons, trained_of
from mtl.encoder.outline import EncoderOutline
from mtl.encoder.trained_run import is_trained
from tests.trained_runs import saved_run

TASKS = {"a": {"head": "classification", "labels": ["x", "y"], "data": {"reader": "jsonl", "path": "rows"}}}


def test_a_run_is_an_encoder_whose_identity_is_in_its_weights_and_not_in_its_path(
    tmp_path: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    run, module = saved_run(tmp_path / "runs", load_mixture({"name": "m", "encoder": encoder, "tasks": TASKS}))
    spec = EncoderSpec(name=str(run.path), max_length=48)
    trained = trained_of(spec.name)
    assert trained is not None
    weights = trained.weights()
    own = module.encoder.model.state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    assert encoder_folder(spec.name) == str(run.encoder)
    assert trained.checkpoint.name in start_reasons(spec)["encoder.name"]
    assert EncoderOutline(spec).masked_lm_weights() == {}
    moved = shutil.copytree(run.path, tmp_path / "moved")
    assert encoder_identity(EncoderSpec(name=str(moved), max_length=48)) == encoder_identity(spec)
    other, _ = saved_run(tmp_path / "other", load_mixture({"name": "m", "encoder": encoder, "tasks": TASKS, "seed": 1}))
    assert encoder_identity(EncoderSpec(name=str(other.path), max_length=48)) != encoder_identity(spec)


def test_other_encoders_are_not_taken_for_runs(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> None:
    assert trained_of("minilm-l6") is None
    assert trained_of("owner/name") is None
    assert not is_trained(tiny_encoder("bert"))
    copy = shutil.copytree(tiny_encoder("bert"), tmp_path / "copy")
    (copy / "latest").touch()
    assert not is_trained(copy)
