import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.problems import InputError
from mtl.processes import this_process
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.tracking.run_folder import FOLDER_VARIABLE, LEASE, RunFolder

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", FOLDER_VARIABLE)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in RANKS})


def checkpoint(folder: RunFolder, name: str) -> Path:
    folder.checkpoints.mkdir(exist_ok=True)
    path = folder.checkpoints / name
    write_checkpoint(path, partial(torch.save, {"weights": torch.ones(3)}))
    return path


def test_a_run_is_created_under_its_mixture_with_time_and_seed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 7)
    assert folder.path.parent == tmp_path / "demo"
    date, time, seed = folder.path.name.split("-")
    assert (len(date), len(time), seed) == (8, 6, "s7")
    info = folder.info
    assert (info["mixture"], info["seed"], info["status"]) == ("demo", 7, "RUNNING")


def test_runs_of_the_same_second_get_separate_folders(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(RunFolder.create(tmp_path, "demo", 1).path)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8


def test_latest_is_the_newest_run_even_after_a_deletion(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, "demo", seed) for seed in (9, 1))
    assert RunFolder.latest(tmp_path, "demo").path == second.path
    (second.path / "run.json").unlink()
    assert RunFolder.latest(tmp_path, "demo").path == first.path


def test_latest_of_a_mixture_without_runs_is_an_error(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "other", 1)
    with pytest.raises(InputError, match="demo: "):
        RunFolder.latest(tmp_path, "demo")


def test_a_run_opens_by_its_folder_and_by_a_checkpoint_inside(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    assert RunFolder.open(folder.path).path == folder.path
    assert RunFolder.open(str(checkpoint(folder, "a.ckpt"))).path == folder.path


def test_a_mixtures_folder_opens_as_its_newest_run(tmp_path: Path) -> None:
    older, newer = (RunFolder.create(tmp_path, "demo", seed) for seed in (1, 2))
    assert RunFolder.open(tmp_path / "demo").path == newer.path != older.path
    assert RunFolder.open(tmp_path / "demo" / "latest").path == newer.path


def test_a_path_outside_any_run_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        RunFolder.open(tmp_path)
    with pytest.raises(InputError, match="exist"):
        RunFolder.open(tmp_path / "nowhere")


def test_pointers_resolve_in_a_fresh_object_and_after_the_run_was_moved(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.saved.point(checkpoint(folder, "a.ckpt"), {"best": 0.5})
    folder.saved.point(checkpoint(folder, "b.ckpt"), {"best:gad": 0.75})
    folder.saved.point(checkpoint(folder, "c.ckpt"), {"best": 0.6})
    moved = RunFolder(folder.path.rename(tmp_path / "moved"))
    assert moved.resolve_checkpoint("best") == tmp_path / "moved/checkpoints/c.ckpt"
    assert moved.resolve_checkpoint("best:gad").name == "b.ckpt"
    assert json.loads((moved.path / "checkpoints.json").read_text())["best:gad"]["score"] == 0.75


def test_a_path_resolves_from_here_and_from_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    path = checkpoint(folder, "a.ckpt")
    assert folder.resolve_checkpoint(path) == path
    assert folder.resolve_checkpoint("checkpoints/a.ckpt") == path
    monkeypatch.chdir(folder.checkpoints)
    assert folder.resolve_checkpoint("a.ckpt") == path


@pytest.mark.parametrize("status", ["KILLED", "RUNNING", "FINISHED"])
def test_the_best_checkpoint_of_an_unfinished_run_is_reported(
    status: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.saved.point(checkpoint(folder, "a.ckpt"), {"best": 0.5})
    folder.update_info(status=status)
    folder.resolve_checkpoint("best")
    error = capsys.readouterr().err
    assert (f"{folder.path} is {status}" in error) == (status != "FINISHED")


def dead_process() -> dict[str, Any]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {**this_process(), "pid": process.pid}


def test_a_run_whose_process_was_killed_is_killed_once_the_next_run_starts_or_it_is_opened(tmp_path: Path) -> None:
    one, other = (RunFolder.create(tmp_path, "demo", seed) for seed in (1, 2))
    for folder in (one, other):
        folder.saved.point(checkpoint(folder, "a.ckpt"), {"best": 0.5})
        folder.update_info(process=dead_process())
    one.resolve_checkpoint("best")
    assert [folder.info["status"] for folder in (one, other)] == ["KILLED", "RUNNING"]
    (tmp_path / "demo" / "torn").mkdir()
    (tmp_path / "demo" / "torn" / "run.json").write_text('{"status": "RUN')
    third = RunFolder.create(tmp_path, "another", 3)
    assert [folder.info["status"] for folder in (other, third)] == ["KILLED", "RUNNING"]
    assert str(other.info["process"]["pid"]) in other.info["reason"]
    other.begin_training()
    assert not other.end_if_dead()
    assert (other.info["status"], other.info["reason"]) == ("RUNNING", None)


def test_a_run_on_another_machine_is_killed_after_a_time_without_a_sign_of_life(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.begin_training()
    elsewhere = {**folder.info["process"], "host": "elsewhere"}
    silent = time.time() - LEASE - 60
    folder.update_info(process=elsewhere)
    assert not folder.end_if_dead()
    os.utime(folder.path / "run.json", (silent, silent))
    folder.beat()
    assert not folder.end_if_dead()
    os.utime(folder.path / "run.json", (silent, silent))
    assert folder.end_if_dead()
    assert folder.info["status"] == "KILLED"
    folder.update_info(status="RUNNING", process={name: elsewhere[name] for name in ("host", "pid", "started")})
    os.utime(folder.path / "run.json", (silent, silent))
    assert not folder.end_if_dead()  # written by a version without signs of life


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_a_run_that_has_ended_keeps_its_status(status: str, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.update_info(status=status, process=dead_process())
    assert not folder.end_if_dead()
    assert not folder.end("KILLED", "SIGTERM")
    assert folder.info["status"] == status


def test_another_rank_can_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    folder.update_info(status="FINISHED")  # only rank 0 may
    assert folder.end("FAILED", "rank 0 has ended")
    assert (folder.info["status"], folder.info["reason"]) == ("FAILED", "rank 0 has ended")


def test_a_wrong_checkpoint_name_lists_what_exists(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    with pytest.raises(InputError, match=r"ckpt_path: .*'best'"):
        folder.resolve_checkpoint("best")
    folder.saved.point(checkpoint(folder, "a.ckpt"), {"best:gad": 0.5})
    folder.saved.point(checkpoint(folder, "a.ckpt"), {"last": None})
    with pytest.raises(InputError, match=r"Did you mean 'best:gad'\? Choices: best:gad, last"):
        folder.resolve_checkpoint("best:gda")


def test_a_deleted_checkpoint_is_an_error(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    path = checkpoint(folder, "a.ckpt")
    folder.saved.point(path, {"best": 0.5})
    path.unlink()
    with pytest.raises(InputError, match=r"a\.ckpt: .*'best'"):
        folder.resolve_checkpoint("best")


def test_metrics_are_merged_by_split_task_and_metric(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.write_metrics("dev", {"gad": {"accuracy": 0.5, "f1": 0.4}, "rqe": {"accuracy": 0.6}})
    folder.write_metrics("dev", {"gad": {"accuracy": 0.7}})
    folder.write_metrics("baseline", {"gad": {"f1": 0.1}})
    assert RunFolder.open(folder.path).metrics == {
        "dev": {"gad": {"accuracy": 0.7, "f1": 0.4}, "rqe": {"accuracy": 0.6}},
        "baseline": {"gad": {"f1": 0.1}},
    }


def test_numbers_without_a_json_form_are_written_as_null(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.write_metrics("dev", {"gad": {"f1": float("nan"), "loss": float("inf")}})
    folder.append_line("metrics.jsonl", {"train/loss": float("nan")})
    assert folder.metrics == {"dev": {"gad": {"f1": None, "loss": None}}}
    assert (folder.path / "metrics.jsonl").read_text() == '{"train/loss": null}\n'


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    folder.write_metrics("dev", {"gad": {"f1": 0.5}})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match=r"metrics\.json: .*No space left on device"):
        folder.write_metrics("dev", {"gad": {"f1": 0.9}})
    assert folder.metrics == {"dev": {"gad": {"f1": 0.5}}}
    assert not list(folder.path.glob(".*"))


def test_a_folder_that_is_not_writable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file stands where the folder should be")
    with pytest.raises(InputError, match=r"runs/demo: .*Not a directory"):
        RunFolder.create(tmp_path / "runs", "demo", 1)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "  "])
def test_a_mixture_name_that_is_not_a_folder_name_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^name: "):
        RunFolder.create(tmp_path, name, 1)
    assert not list(tmp_path.iterdir())


def test_updates_from_two_threads_are_both_kept(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)

    def update(name: str) -> None:
        for number in range(30):
            RunFolder.open(folder.path).update_info(**{f"{name}{number}": number})

    threads = [threading.Thread(target=update, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"{name}{number}" for name in "ab" for number in range(30)} <= set(folder.info)


def test_a_process_of_another_rank_gets_the_folder_and_writes_nothing(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)
    code = (
        "import sys; from pathlib import Path; from mtl.tracking.run_folder import RunFolder\n"
        f"folder = RunFolder.create(Path({str(tmp_path)!r}), 'demo', 1)\n"
        "folder.update_info(status='WRONG'); folder.write_metrics('dev', {'a': {'b': 1}})\n"
        "folder.append_line('metrics.jsonl', {}); folder.saved.point(folder.path / 'x', {'best': 1.0})\n"
        "print(folder.path)"
    )
    environment = {**os.environ, "LOCAL_RANK": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(folder.path)
    assert sorted(p.name for p in folder.path.iterdir()) == ["run.json"]
    assert folder.info["status"] == "RUNNING"
    assert [p.name for p in (tmp_path / "demo").iterdir() if p.is_dir()] == [folder.path.name]


def test_an_external_launcher_must_set_the_folder_for_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match=f"{FOLDER_VARIABLE}: .*{FOLDER_VARIABLE}="):
        RunFolder.create(tmp_path, "demo", 1)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "demo" / "mine"))
    other = RunFolder.create(tmp_path, "demo", 1)
    monkeypatch.setenv("RANK", "0")
    first = RunFolder.create(tmp_path, "demo", 1)
    assert first.path == other.path == tmp_path / "demo" / "mine"
    assert RunFolder.latest(tmp_path, "demo").path == first.path


def test_the_first_rank_never_reuses_the_folder_of_a_process_above_it(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "demo", 1).path != RunFolder.create(tmp_path, "demo", 1).path


def test_lines_from_two_threads_are_all_kept(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "demo", 1)

    def append(name: str) -> None:
        for number in range(300):
            RunFolder.open(folder.path).append_line("metrics.jsonl", {name: number})

    threads = [threading.Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert sorted(map(str, lines)) == sorted(str({name: number}) for name in "ab" for number in range(300))


class Saved:
    """Something that saves itself, and fails in the middle if asked to."""

    def __init__(self, name: str, content: str, *, fails: bool = False) -> None:
        self._name, self._content, self._fails = name, content, fails

    def save_pretrained(self, folder: str) -> None:
        Path(folder, self._name).write_text(self._content)
        if self._fails:
            raise OSError("the disk is full")


def test_the_files_of_an_encoder_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "toy", 0)
    folder.write_encoder(Saved("config.json", "1"), Saved("tokenizer.json", "2"))
    folder.write_encoder(Saved("config.json", "3"), Saved("tokenizer.json", "2"))
    assert {file.name: file.read_text() for file in folder.encoder.iterdir()} == {
        "config.json": "3",
        "tokenizer.json": "2",
    }
    with pytest.raises(OSError, match="full"):
        folder.write_encoder(Saved("config.json", "4"), Saved("tokenizer.json", "5", fails=True))
    assert (folder.encoder / "config.json").read_text() == "3"
