"""What scoring a finished run leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pytest
import torch

from mtl.encoder.model import Encoder
from mtl.evaluation import predictions
from mtl.prediction.finished_run import FinishedRun
from mtl.problems import InputError


def test_a_scoring_that_fails_leaves_no_file_open(planted_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FinishedRun(planted_run, {"accelerator": "cpu"})
    content = run.split("kind", "test")
    opened: list[IO[str]] = []

    def open_private(path: Path, **how: Any) -> IO[str]:
        opened.append(path.open("w", encoding="utf-8", **how))
        return opened[-1]

    def decode(*given: Any) -> Any:
        raise RuntimeError("no decoding")

    monkeypatch.setattr(predictions, "open_private", open_private)
    monkeypatch.setattr(type(run.head("kind")), "decode", decode)
    with pytest.raises(RuntimeError, match="no decoding"):
        run.score("kind", content)
    assert opened
    assert all(file.closed for file in opened)


def test_without_enough_memory_scores_and_outputs_are_problems(
    planted_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    run = FinishedRun(planted_run, {"accelerator": "cpu"})
    content = run.split("kind", "test")
    monkeypatch.setattr(Encoder, "forward", fail)
    with pytest.raises(InputError, match=r"batch_size: .* kind with "):
        run.score("kind", content)
    with pytest.raises(InputError, match=r"--trainer.accelerator: .* kind with "):
        list(run.outputs("kind", content))
