import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mtl.problems import InputError
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.tracking.resuming import CHECKPOINT_VARIABLE, agreed, fresh_start, newest_last
from mtl.tracking.run_folder import FOLDER_VARIABLE, RunFolder

VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_NTASKS", FOLDER_VARIABLE, CHECKPOINT_VARIABLE)


CONFIG = {"model": {"learning_rate": 1e-05}, "trainer": {"max_epochs": 2, "callbacks": None}, "ckpt_path": "auto"}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in VARIABLES})


def save(run: RunFolder, step: int, when: float) -> Path:
    run.checkpoints.mkdir(exist_ok=True)
    path = run.saved.file("last", step)
    write_checkpoint(path, partial(torch.save, {"step": step}))
    run.saved.point(path, {"last": None})
    os.utime(path, (when, when))
    return path


def test_the_newest_undamaged_last_of_the_mixture_and_seed_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert newest_last(tmp_path, "toy", 1) is None
    first, second = (RunFolder.create(tmp_path, "toy", 1) for _ in range(2))
    save(RunFolder.create(tmp_path, "toy", 2), 9, when=900)
    save(RunFolder.create(tmp_path, "other", 1), 9, when=900)
    assert newest_last(tmp_path, "toy", 1) is None
    older = save(first, 8, when=100)
    assert newest_last(tmp_path, "toy", 1) == older
    previous, newest = save(second, 2, when=200), save(second, 4, when=300)
    assert newest_last(tmp_path, "toy", 1) == newest
    assert capsys.readouterr().err == ""
    newest.write_bytes(b"")
    assert newest_last(tmp_path, "toy", 1) == previous
    assert str(newest) in capsys.readouterr().err
    previous.write_bytes(b"")
    assert newest_last(tmp_path, "toy", 1) == older
    assert str(previous) in capsys.readouterr().err


def test_a_fresh_start_uses_the_newest_folder_of_the_seed(tmp_path: Path) -> None:
    made = fresh_start(tmp_path, "toy", 1, CONFIG)
    assert made.info["seed"] == 1
    newer = RunFolder.create(tmp_path, "toy", 1)
    RunFolder.create(tmp_path, "toy", 2)
    assert fresh_start(tmp_path, "toy", 1, CONFIG).path == newer.path
    assert os.environ[FOLDER_VARIABLE] == str(newer.path)
    assert len(RunFolder.all(tmp_path, "toy")) == 3


def record(run: RunFolder, config: Mapping[str, Any]) -> None:
    run.write_text("config.yaml", yaml.safe_dump({**config, "ckpt_path": None}))


@pytest.mark.parametrize("status", ["KILLED", "FAILED", "RUNNING", "FINISHED"])
def test_a_fresh_start_continues_only_a_training_of_the_same_configuration(status: str, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "toy", 1)
    run.update_info(status=status)
    record(run, CONFIG)
    other = {**CONFIG, "model": {"learning_rate": 2e-05}}
    assert (fresh_start(tmp_path, "toy", 1, CONFIG).path == run.path) == (status != "FINISHED")
    newest = RunFolder.all(tmp_path, "toy")[-1]
    record(newest, CONFIG)
    started = fresh_start(tmp_path, "toy", 1, other)
    assert started.path not in (run.path, newest.path)
    record(started, other)
    (started.path / "config.yaml").write_text("model: [")
    assert fresh_start(tmp_path, "toy", 1, other).path != started.path


def test_a_job_must_not_start_another_training_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "job-7"))
    run = fresh_start(tmp_path, "toy", 1, CONFIG)
    record(run, CONFIG)
    assert fresh_start(tmp_path, "toy", 1, CONFIG).path == run.path
    with pytest.raises(InputError) as caught:
        fresh_start(tmp_path, "toy", 1, {**CONFIG, "trainer": {"max_epochs": 3, "callbacks": None}})
    assert [problem.key for problem in caught.value.problems] == [FOLDER_VARIABLE]


def test_processes_that_rank_zero_starts_take_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ckpt"
    assert agreed(lambda: path) == path
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert agreed(lambda: None) == path
    monkeypatch.delenv("LOCAL_RANK")
    assert agreed(lambda: None) is None
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert agreed(lambda: path) is None


def test_the_script_of_a_job_with_one_process_names_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `srun` starts the usual job on one GPU, whose script then looks into the folder."""
    save(RunFolder.create(tmp_path, "toy", 1), 4, when=100)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    other = RunFolder.create(tmp_path, "toy", 1)  # the folder that this process itself has exported does not count
    named = tmp_path / "toy" / "job-7"
    monkeypatch.setenv(FOLDER_VARIABLE, str(named))
    assert newest_last(tmp_path, "toy", 1) is None
    assert fresh_start(tmp_path, "toy", 1, CONFIG).path == RunFolder.create(tmp_path, "toy", 1).path == named
    path = save(RunFolder(named), 2, when=50)
    assert newest_last(tmp_path, "toy", 1) == path
    monkeypatch.setenv(FOLDER_VARIABLE, str(other.path))
    assert RunFolder.create(tmp_path, "toy", 1).path not in (named, other.path)


def test_a_launcher_gives_all_processes_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = RunFolder.create(tmp_path, "toy", 1)
    save(elsewhere, 4, when=100)
    named = tmp_path / "toy" / "job-7"
    monkeypatch.setenv(FOLDER_VARIABLE, str(named))
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert agreed(partial(newest_last, tmp_path, "toy", 1)) is None
        assert fresh_start(tmp_path, "toy", 1, CONFIG).path == named
    path = save(RunFolder(named), 2, when=50)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert agreed(partial(newest_last, tmp_path, "toy", 1)) == path
    path.write_bytes(b"")
    assert fresh_start(tmp_path, "toy", 1, CONFIG).path == named
    monkeypatch.delenv(FOLDER_VARIABLE)
    with pytest.raises(InputError, match=FOLDER_VARIABLE):
        fresh_start(tmp_path, "toy", 3, CONFIG)
