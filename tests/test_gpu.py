"""The checks of `experiments/bench/gpu.py`: tried on the CPU here, and with `-m gpu` on a GPU.

The tests hide GPUs, so that they give the same results everywhere: `CUDA_VISIBLE_DEVICES=0 pytest -m gpu` shows one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch

CHECKS = ("device", "kernel", "isolation", "losses", "dropout", "graphs")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, or it is hidden")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MTL_DATA", raising=False)
    return tmp_path / "work"


def lines(path: Path) -> dict[str, Any]:
    return {line["step"]: line for line in map(json.loads, path.read_text().splitlines())}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning and Accelerate, for options of short trainings
def test_every_step_can_be_tried_on_a_cpu(work: Path, tmp_path: Path) -> None:
    words = ["--device", "cpu", "--size", "tiny", "--updates", "2", "--warmup", "1", "--work", str(work)]
    page = tmp_path / "gpu.md"
    assert gpu.main([*words, "--out", str(tmp_path / "gpu.jsonl"), "--page", str(page)]) == 0
    found = lines(tmp_path / "gpu.jsonl")
    contestants = ("ours", "ours_graphs", "hf", "bare_graphs")
    assert list(found) == [*CHECKS, *(f"{name}_{size}" for size in (32, 128) for name in contestants)]
    assert found["kernel"]["float32_states"] < 1e-4
    assert found["losses"]["32-true"] < 1e-6
    assert found["dropout"]["bit_identical"]
    for name in ("ours_32", "ours_128"):
        assert found[name]["padded_per_real"] == 1
        assert found[name]["updates"] == 2
    assert found["hf_32"]["padded_per_real"] > 1
    assert found["graphs"]["largest_difference"] == 0  # both are eager on a CPU
    assert [line.split(" | ")[0].lstrip("| ") for line in page.read_text().splitlines()[6:]] == list(found)


def test_a_step_that_fails_does_not_stop_the_others_and_none_starts_without_time(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(trial: gpu.Trial) -> dict[str, Any]:
        raise ValueError("no kernel")

    monkeypatch.setitem(gpu.STEPS, "kernel", fail)
    words = ["--device", "cpu", "--size", "tiny", "--work", str(work), "--out", str(tmp_path / "out.jsonl")]
    assert gpu.main([*words, "--only", "kernel", "device"]) == 1
    found = lines(tmp_path / "out.jsonl")
    assert found["kernel"]["error"] == "ValueError: no kernel"
    assert found["device"]["torch"] == torch.__version__
    assert gpu.main([*words, "--only", "device", "--seconds", "-1"]) == 0
    assert "skipped" in lines(tmp_path / "out.jsonl")["device"]
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("check", CHECKS)
def test_training_on_a_gpu_is_that_of_the_cpu(work: Path, check: str) -> None:
    trial = gpu.Trial("cuda", work, gpu.write_encoder(work / "encoder", "tiny"), updates=4, warmup=1)
    gpu.STEPS[check](trial)
