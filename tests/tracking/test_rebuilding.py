import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.tracking.checkpoint_file import NOTE, write_checkpoint
from mtl.tracking.run_folder import RunFolder

TORN = pytest.mark.parametrize("torn", [None, "", '{"mixture": "no', "[1]", "\0\0\0\0"])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that was killed after its second evaluation."""
    run = RunFolder.create(tmp_path, "notes", 7)
    run.update_info(mlflow={"run_id": "abc"})
    run.write_text("mixture.yaml", "name: notes\nseed: 7\n")
    run.write_text("config.yaml", "{}\n")
    for step, score in ((4, 0.25), (8, 0.5), (12, 0.5)):
        metrics = {"val/selection": score, "val/kind/f1": score, "val/kind/loss": None}
        run.append_line("metrics.jsonl", {"step": step, "time": 1.0, "metrics": {"train/kind/loss": 0.7}})
        run.append_line("metrics.jsonl", {"step": step, "time": 1.0, "metrics": metrics | {"val/new/f1": float(step)}})
    run.write_metrics("dev", {"kind": {"f1": 0.5, "loss": None}, "new": {"f1": 8.0}})
    return run


def save(run: RunFolder) -> None:
    run.checkpoints.mkdir()
    recorded = {name: value for name, value in run.info.items() if name != "status"}
    path = run.saved.file("last", 12)
    write_checkpoint(path, partial(torch.save, {NOTE: {"scores": {"last": None}, "run": recorded}}))
    run.saved.point(path, {"last": None})


def tear(path: Path, torn: str | None) -> None:
    path.unlink() if torn is None else path.write_text(torn)


@TORN
def test_a_lost_run_json_is_rebuilt_from_a_checkpoint(
    torn: str | None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run)
    before = run.info
    tear(run.path / "run.json", torn)
    found = RunFolder.open(run.checkpoints).info
    assert str(run.path / "run.json") in capsys.readouterr().err
    assert found == {**before, "status": "KILLED"}
    assert json.loads((run.path / "run.json").read_text()) == found
    assert [other.path for other in RunFolder.all(run.path.parents[1], "notes")] == [run.path]


@TORN
def test_a_lost_run_json_is_rebuilt_without_a_checkpoint_too(torn: str | None, run: RunFolder) -> None:
    before = run.info
    tear(run.path / "run.json", torn)
    run.update_info(status="RUNNING")
    assert run.info == {name: value for name, value in before.items() if name not in ("mlflow", "process")}


def test_a_run_that_had_its_final_scores_is_finished(run: RunFolder) -> None:
    run.write_metrics("train", {"kind": {"loss": 0.5}})
    tear(run.path / "run.json", "")
    assert run.info["status"] == "FINISHED"


@TORN
def test_lost_scores_are_rebuilt_from_the_logged_numbers(
    torn: str | None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run.saved.file("best", 8)
    best.parent.mkdir()
    write_checkpoint(best, partial(torch.save, {}))
    run.saved.point(best, {"best": 0.5})
    before = run.metrics
    tear(run.path / "metrics.json", torn)
    assert run.metrics == before
    assert str(run.path / "metrics.json") in capsys.readouterr().err


def test_scores_of_seen_mentions_and_of_groups_do_not_replace_those_of_the_test_set(run: RunFolder) -> None:
    evaluation = (
        {"test/ner/loss": 0.5, "test/ner/f1": 0.75, "test/kind/accuracy": 0.5},
        {"test/ner/seen_f1": 0.9, "test/ner/unseen_f1": 0.3},
        {"test/ner/by_site/A/f1": 0.6, "test/ner/by_site/gap/f1": 0.1},
    )
    for metrics in (*evaluation, {"test/kind/accuracy": 0.25}):
        run.append_line("metrics.jsonl", {"step": 8, "time": 1.0, "metrics": metrics})
    tear(run.path / "metrics.json", "{")
    ner = {"loss": 0.5, "f1": 0.75, "seen_f1": 0.9, "unseen_f1": 0.3}
    assert run.metrics["test"] == {"ner": ner, "kind": {"accuracy": 0.25}}


def test_lost_scores_without_logged_numbers_are_empty(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path / "metrics.jsonl").unlink()
    tear(run.path / "metrics.json", "{")
    run.write_metrics("dev", {"kind": {"f1": 0.75}})
    assert str(run.path / "metrics.json") in capsys.readouterr().err
    assert run.metrics == {"dev": {"kind": {"f1": 0.75}}}


def test_a_torn_last_line_does_not_swallow_the_next(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.path / "metrics.jsonl"
    content = path.read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for size in range(start, len(content) + 1):
        path.write_bytes(content[:size])
        run.append_line("metrics.jsonl", {"step": 16})
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == (7 if size >= len(content) - 1 else 6)
        assert lines[-1] == {"step": 16}
        assert (str(path) in capsys.readouterr().err) == (start < size < len(content) - 1)


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_part(run: RunFolder, short_files: Callable[..., Any]) -> None:
    path = run.path / "metrics.jsonl"
    before = path.read_bytes()
    code = f"""
from pathlib import Path
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
try:
    RunFolder(Path({str(run.path)!r})).append_line("metrics.jsonl", {{"text": "x" * 100}})
except InputError as error:
    print(error.problems[0].key)
"""
    assert short_files(code, limit=len(before) + 50).strip() == str(path)
    assert path.read_bytes() == before


def test_the_status_is_true_even_if_the_disk_has_no_room_for_a_second_file(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    run.update_info(status="FAILED")
    assert run.info["status"] == "FAILED"
    assert run.info["seed"] == 7
    assert list(run.path.glob(".*")) == []


def test_a_resumed_run_is_repaired_before_it_goes_on(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    save(run)
    for name in ("run.json", "metrics.json", "checkpoints.json"):
        tear(run.path / name, "{")
    (run.path / "metrics.jsonl").unlink()
    run.repair()
    error = capsys.readouterr().err
    assert all(name in error for name in ("run.json", "metrics.json ", "checkpoints.json", "metrics.jsonl"))
    assert run.info["mlflow"] == {"run_id": "abc"}
    assert run.resolve_checkpoint("last").name == "last-step12.ckpt"
    capsys.readouterr()
    (run.path / "metrics.jsonl").touch()
    run.repair()
    assert capsys.readouterr().err == ""


@pytest.fixture
def short_files() -> Callable[..., str]:
    """A function that runs code in a process whose files cannot grow beyond a limit, and returns what it prints."""
    import resource
    import subprocess
    import sys

    def go(code: str, limit: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return go
