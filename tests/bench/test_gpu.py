"""The checks of `experiments/bench/gpu.py`: tried on the CPU here, and with `-m gpu` on a GPU.

Other tests do not see a GPU, so that they give the same results everywhere; `pytest -m gpu` shows it.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpu
import gpu_checks
import pytest
import torch

CHECKS = ("device", "kernel", "isolation", "losses", "dropout", "graphs", "resumption", "failed_capture")
BENCH = Path(gpu.__file__).parent
REPOSITORY = BENCH.parents[1]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, or it is hidden")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown or "")  # the script sets it
    if shown is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
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
    contestants = ("ours", "ours_graphs", "hf_sdpa", "bare_graphs", "hf_eager")
    speed = [f"{name}_{size}" for size in (32, 128) for name in contestants]
    assert list(found) == [*CHECKS[:-1], *speed, CHECKS[-1]]  # a failed capture may leave the device in a bad state
    for family in gpu_checks.FAMILIES:
        assert found["kernel"][f"{family}_float32_states"] < 1e-6
        assert found["kernel"][f"{family}_bfloat16_states"] > 0
    assert found["losses"]["32-true"] < 1e-6
    assert all(found[name]["bit_identical"] for name in ("dropout", "graphs", "resumption"))
    assert found["resumption"]["first_difference"] == 0
    for name in ("ours_32", "ours_128", "bare_graphs_32"):
        assert found[name]["padded_per_real"] == 1
        assert found[name]["updates"] == 2
    assert found["hf_sdpa_32"]["padded_per_real"] == found["hf_eager_32"]["padded_per_real"] > 1
    assert found["graphs"]["eager_difference"] == 0  # both are eager on a CPU
    steps = [line.split(" | ")[0].lstrip("| ") for line in page.read_text().splitlines() if line.startswith("| ")]
    assert steps == ["step", *found]
    assert {(line["on"], line["size"]) for line in found.values()} == {("cpu", "tiny")}
    assert len({line["run"] for line in found.values()}) == 1


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


def test_no_step_starts_that_may_end_too_late(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 100)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: next(clock))
    for name in gpu.STEPS:
        monkeypatch.setitem(gpu.STEPS, name, lambda trial: {})
    words = ["--device", "cpu", "--size", "tiny", "--work", str(work), "--out", str(tmp_path / "out.jsonl")]
    assert gpu.main([*words, "--seconds", "450"]) == 0
    found = lines(tmp_path / "out.jsonl")
    assert ["skipped" in line for line in found.values()][:4] == [False, False, True, True]


@pytest.mark.slow
def test_it_runs_without_mlflow_from_a_folder_that_is_not_installed(work: Path, tmp_path: Path) -> None:
    words = ["--device", "cpu", "--size", "tiny", "--only", "device", "losses", "--work", str(work)]
    program = "import runpy, sys; sys.modules['mlflow'] = None; runpy.run_path('gpu.py', run_name='__main__')"
    subprocess.run(
        [sys.executable, "-c", program, *words, "--out", str(tmp_path / "out.jsonl")],
        cwd=BENCH,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    assert lines(tmp_path / "out.jsonl")["losses"]["32-true"] < 1e-6


def test_every_step_starts_without_the_memory_of_the_one_before(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("kernel", "device"):
        monkeypatch.setitem(gpu.STEPS, name, lambda trial, name=name: done.append(name) or {})
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: done.append(name))
    torch.set_float32_matmul_precision("high")  # as a training leaves it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    words = ["--device", "cuda", "--size", "tiny", "--work", str(work), "--out", str(tmp_path / "out.jsonl")]
    assert gpu.main([*words, "--only", "kernel", "device"]) == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"  # the script uses the first of several
    before = ["empty_cache", "reset_peak_memory_stats"]
    assert done == [*before, "kernel", *before, "device"]
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.fixture
def trial(work: Path) -> gpu.Trial:
    return gpu.Trial("cpu", work, gpu.write_encoder(work / "encoder", "tiny"), "tiny", updates=2, warmup=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for options of short trainings
def test_a_dropout_mask_that_never_changes_is_found(trial: gpu.Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_checks.reseeded(trial, graphs=True)["other_seed"] > 1e-4
    monkeypatch.setattr(gpu_checks, "seed_dropout", lambda *_: torch.manual_seed(0))
    with pytest.raises(AssertionError):
        gpu_checks.reseeded(trial, graphs=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_resumed_training_with_other_dropout_is_found(trial: gpu.Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = itertools.count()
    monkeypatch.setattr("mtl.training.module.derive", lambda *_: next(seeds))
    with pytest.raises(AssertionError):
        gpu_checks.resumption(trial)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("check", CHECKS)
def test_training_on_a_gpu_is_that_of_the_cpu(work: Path, check: str) -> None:
    trial = gpu.Trial("cuda", work, gpu.write_encoder(work / "encoder", "tiny"), "tiny", updates=4, warmup=1)
    gpu.STEPS[check](trial)
