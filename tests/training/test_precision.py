import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from lightning_fabric.plugins.precision.precision import _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS

from mtl.batching.loaders import EvaluationLoader
from mtl.commands import run
from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training import module as training_module
from mtl.training import precision as module
from mtl.training.precision import (
    GAIN,
    agreed_precision,
    bf16_gain,
    natural_precision,
    precision_problems,
    prepare_products,
)
from tests import five_tasks


def set_cpu(monkeypatch: pytest.MonkeyPatch, *found: str, gain: float = 2.0) -> None:
    monkeypatch.setattr(module, "bf16_gain", lambda: gain)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(found, True))


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16", "bf16"])
@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_a_cpu_with_native_bf16_computes_in_it(
    capability: str, accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cpu(monkeypatch, "avx2", capability)
    assert natural_precision(accelerator) == "bf16-mixed"


def test_a_cpu_that_is_not_faster_in_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx512_bf16", gain=0.6)
    assert natural_precision("cpu") == "32-true"


def test_a_cpu_without_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx2", "avx512_f")
    assert natural_precision() == natural_precision("cpu") == "32-true"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cpu(monkeypatch, "amx_bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    for accelerator in ("auto", "gpu", "cuda"):
        assert natural_precision(accelerator) == precision
    assert natural_precision("cpu") == "bf16-mixed"


def test_the_precision_of_this_machine_follows_from_its_capabilities() -> None:
    flags = torch.cpu.get_capabilities()
    native = any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) and bf16_gain() >= GAIN
    assert natural_precision("cpu") == ("bf16-mixed" if native else "32-true")


def test_all_processes_of_a_training_use_the_precision_that_the_first_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    set_cpu(monkeypatch, "avx512_bf16")
    assert agreed_precision("cpu") == "bf16-mixed"
    set_cpu(monkeypatch, "avx512_bf16", gain=0.6)  # a second timing gives another result
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert agreed_precision("cpu") == "bf16-mixed"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert agreed_precision("cpu") == "32-true"


OUTSIDE = [
    {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},  # torchrun
    {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
    {"SLURM_PROCID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"},
]


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", *slurm, module.VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("environment", OUTSIDE)
def test_processes_of_an_outside_launcher_agree_because_they_time_nothing(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cpu(monkeypatch, "avx512_bf16")
    assert agreed_precision("cpu") == "bf16-mixed"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert agreed_precision("cpu") == agreed_precision("auto") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert agreed_precision("auto") == "bf16-mixed"
    assert agreed_precision("cpu") == "32-true"


@pytest.mark.usefixtures("_alone")
def test_the_only_process_of_a_launcher_chooses_as_if_started_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx512_bf16")
    for name in ("RANK", "SLURM_PROCID", "SLURM_STEP_ID"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "1")
    assert agreed_precision("cpu") == "bf16-mixed"
    assert agreed_precision("cpu", num_nodes=2) == "32-true"


@pytest.mark.parametrize("precision", ["bf16", "bf16-mixed", "bf16-true"])
def test_bf16_is_refused_on_a_device_that_would_emulate_it(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx2")
    (problem,) = precision_problems(precision, "cpu")
    assert problem.key == "trainer.precision"
    assert precision in problem.message.split()
    assert "32-true" in problem.suggestion
    assert "16-mixed" not in problem.suggestion
    set_cpu(monkeypatch, "avx2", "amx_bf16", gain=0.5)  # slow, but requested
    assert precision_problems(precision, "cpu") == []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    (problem,) = precision_problems(precision, "cuda")
    assert "16-mixed" in problem.suggestion
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert precision_problems(precision, "cuda") == precision_problems(precision, "mps") == []


def test_fp16_is_refused_on_a_cpu_only() -> None:
    assert len(precision_problems("16-mixed", "cpu")) == len(precision_problems("16", "cpu")) == 1
    assert precision_problems("16-mixed", "cuda") == precision_problems("32-true", "cpu") == []


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("precision", ["16-true", "transformer-engine", "transformer-engine-float16"])
def test_a_precision_in_which_no_training_succeeds_is_refused_on_every_device(precision: str, device: str) -> None:
    (problem,) = precision_problems(precision, device)
    assert problem.key == "trainer.precision"
    assert f"{precision}." in problem.message.split()
    assert "32-true" in problem.suggestion


ACCEPTED = [*get_args(_PRECISION_INPUT_STR), *get_args(_PRECISION_INPUT_STR_ALIAS)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ACCEPTED)
@pytest.mark.filterwarnings("ignore:You passed `Trainer", "ignore:`precision=")
def test_every_precision_trains_and_scores_all_heads_in_fp32_or_is_refused(
    precision: str,
    tmp_path: Path,
    tiny_encoder: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = copy.deepcopy(five_tasks.TASKS)
    tasks["mentions"]["options"]["decoder"] = "crf"
    for task in ("kind", "links"):
        tasks[task].setdefault("options", {})["class_weights"] = {tasks[task]["labels"][0]: 1.7}
    data = {name: {"data": {"reader": "jsonl", "path": str(tmp_path / name)}} for name in tasks}
    mixture = five_tasks.write(tmp_path, tiny_encoder("bert"), tasks={name: tasks[name] | data[name] for name in tasks})
    words = [*five_tasks.CPU, f"--trainer.precision={precision}", "--run.track=false", "--run.baselines=false"]
    words += ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=1"]
    with five_tasks.surroundings(tmp_path):
        ended = run(["fit", f"--mixture={mixture}", *words])
    if precision not in ("64", "64-true", "32", "32-true", *_bf16_here()):
        assert ended == 2
        assert re.search(r"trainer(\.precision)?: ", capsys.readouterr().err)
        return
    assert ended == 0
    folder = five_tasks.newest(tmp_path)
    content = torch.load(RunFolder(folder).resolve_checkpoint("last"), weights_only=True)
    state = content["state_dict"]
    encoder = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(content["biomtl"]["precision"], torch.float32)
    assert {value.dtype for name, value in state.items() if name.startswith("encoder.")} == {encoder}
    assert {value.dtype for name, value in state.items() if name.startswith("heads.")} == {torch.float32}
    assert all(value.isfinite().all() for value in state.values())
    scores = json.loads((folder / "metrics.json").read_text())["dev"]
    assert set(scores) == set(tasks)


def _bf16_here() -> list[str]:
    return ["bf16", "bf16-mixed", "bf16-true"] if not precision_problems("bf16-true", "cpu") else []


@pytest.mark.parametrize(
    ("device", "chosen", "found"),
    [("cuda", "highest", "high"), ("cuda", "medium", "medium"), ("cpu", "highest", "highest")],
)
def test_a_gpu_multiplies_in_tf32_unless_the_user_chose_otherwise(device: str, chosen: str, found: str) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(chosen)
        prepare_products(device)
        assert torch.get_float32_matmul_precision() == found
    finally:
        torch.set_float32_matmul_precision(before)


def test_evaluations_and_predictions_multiply_as_the_training_does(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []
    monkeypatch.setattr(training_module, "prepare_products", prepared.append)
    done = train(load_mixture(toy_mixture()), limit_train_batches=1, limit_val_batches=0)
    done.trainer.validate(done.module, datamodule=done.data, verbose=False)
    done.trainer.test(done.module, datamodule=done.data, verbose=False)
    done.trainer.predict(done.module, EvaluationLoader(done.data, "test"), return_predictions=False)
    assert prepared == ["cpu"] * 4


def test_timing_restores_the_number_of_threads() -> None:
    bf16_gain.cache_clear()
    before = torch.get_num_threads()
    assert bf16_gain() > 0
    assert torch.get_num_threads() == before
