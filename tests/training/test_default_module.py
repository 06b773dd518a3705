"""The default learning rate of an entry in the catalogue reaches the module that trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtl
from mtl.config import encoder_catalogue
from mtl.config.encoder_catalogue import catalogue
from mtl.training.assembly import build_module as build_with_size_only


@pytest.fixture
def mixture(tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> mtl.Mixture:
    """A mixture whose encoder is an entry with a rate of its own; its files are those of a tiny encoder."""
    folder = str(tiny_encoder("bert"))
    monkeypatch.setattr("mtl.encoder.pretrained.encoder_folder", lambda name: folder)
    monkeypatch.setattr("mtl.encoder.location.encoder_folder", lambda name: folder)
    rows = "".join(json.dumps({"text": f"aspirin {n}", "label": "ab"[n % 2]}) + "\n" for n in range(4))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(rows, encoding="utf-8")
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": str(tmp_path)}}
    encoder = {"name": "bioclinical-modernbert", "max_length": 32}
    return mtl.load_mixture({"name": "m", "encoder": encoder, "tasks": {"t": task}})


def test_python_takes_the_rate_of_the_entry_unless_one_is_given(mixture: mtl.Mixture) -> None:
    def rates(**options: Any) -> tuple[Any, Any]:
        optimisation = mtl.build_module(mixture, **options).optimisation
        return optimisation.learning_rate, optimisation.head_learning_rate

    assert rates() == rates(learning_rate=None) == (2e-5, 2e-5)
    assert rates(learning_rate=1e-3) == (1e-3, 1e-3)
    assert rates(head_learning_rate=1e-3) == (2e-5, 1e-3)
    assert build_with_size_only(mixture).optimisation.learning_rate == 1.5e-4


def test_an_entry_without_a_rate_takes_that_for_its_size(mixture: mtl.Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = catalogue()["bioclinical-modernbert"].model_copy(update={"defaults": None})
    monkeypatch.setattr("mtl.training.learning_rates.entry_of", lambda name: plain)
    assert mtl.build_module(mixture).optimisation.learning_rate == 1.5e-4
    assert encoder_catalogue.entry_of("bioclinical-modernbert") is not plain
