"""The comparison of poolings, tried with tiny trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pooling
import pytest


def test_finished_trainings_are_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pooling.jsonl"
    entries = [{"task": "rqe", "pooling": name, "seed": 0} for name in pooling.POOLINGS]
    lines = [json.dumps(entry | {"best": 0.5, "last": 0.5}) for entry in entries]
    file.write_text("\n".join(lines) + '\n{"task": "rq', encoding="utf-8")
    monkeypatch.setattr(pooling, "train", None)  # training again would fail
    assert pooling.finished(entries, file, 1) == [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", pooling.POOLINGS)
def test_a_training_gives_the_dev_scores_of_its_pooling(
    name: str, tmp_path: Path, data_folder: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_DATA", str(data_folder))
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    entry = {"task": "biosses", "pooling": name, "seed": 0, "passes": 1, "rows": 8, "dev_rows": 8, "updates": 1}
    entry |= {"learning_rate": 1e-4, "head_learning_rate": 1e-3, "encoder": str(tiny_encoder("bert"))}
    assert pooling.mixture_of(entry, tmp_path).tasks["biosses"].options["pooling"] == name
    found = pooling.train(entry, tmp_path, 1)
    assert found["best"] == found["last"] == found["curve"][-1]
    assert -1 <= found["best"] <= 1
    assert list(tmp_path.glob("*.yaml")) == []
