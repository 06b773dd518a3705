"""Interrupted predictions are resumed to the output of uninterrupted ones."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mtl.prediction.pipeline import CHUNK
from mtl.problems import InputError
from mtl.training.module import MultiTaskModule
from tests import five_tasks
from tests.prediction.planted import TEXT, many, predict

pytestmark = pytest.mark.usefixtures("planted")


def fail_in_second_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the prediction fail at a row of the second chunk."""
    step = MultiTaskModule.predict_step

    def fail(self: Any, batch: Any, index: int) -> Any:
        if any(example["row"] > CHUNK for part in batch.parts for example in part.examples):
            raise ZeroDivisionError
        return step(self, batch, index)

    monkeypatch.setattr(MultiTaskModule, "predict_step", fail)


@pytest.mark.parametrize("name", ["x.jsonl", "x.xml"])
def test_an_interrupted_prediction_is_resumed_to_the_same_output(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source, tasks = many(tmp_path / "notes.jsonl"), ["mentions", "links", "kind"]
    predict(planted_run, source, tmp_path / f"whole-{name}", tasks=tasks)
    (tmp_path / name).write_text("old", encoding="utf-8")
    num_batches = [0]
    step = MultiTaskModule.predict_step
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, source, tmp_path / name, tasks=tasks)
    assert (tmp_path / name).read_text(encoding="utf-8") == "old"
    assert "--resume" in capfd.readouterr().err
    unfinished = tmp_path / f".{name}.unfinished"
    assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600

    def counting(self: Any, batch: Any, index: int) -> Any:
        num_batches[0] += bool(batch.parts)
        return step(self, batch, index)

    with unfinished.open("a", encoding="utf-8") as file:
        file.write('{"half of a li')
    monkeypatch.setattr(MultiTaskModule, "predict_step", counting)
    predict(planted_run, source, tmp_path / name, tasks=tasks, resume=True)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not unfinished.exists()
    resumed, num_batches[0] = num_batches[0], 0
    predict(planted_run, source, tmp_path / name, tasks=tasks)
    assert 0 < resumed < num_batches[0], "finished chunks are not predicted again"


def test_another_input_does_not_resume_and_a_fresh_start_discards_what_was_left(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = many(tmp_path / "notes.jsonl")
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, source, tmp_path / "x.jsonl")
    many(source, 70)
    with pytest.raises(InputError) as caught:
        predict(planted_run, source, tmp_path / "x.jsonl", resume=True)
    assert caught.value.problems[0].key == "--resume"
    predict(planted_run, source, tmp_path / "x.jsonl")
    assert len(five_tasks.read_lines(tmp_path / "x.jsonl")) == 70
    assert not (tmp_path / ".x.jsonl.unfinished").exists()


@pytest.mark.slow
def test_a_killed_prediction_is_resumed_to_the_same_output(planted_run: Path, tmp_path: Path) -> None:
    source = many(tmp_path / "notes.jsonl", 40 * CHUNK)
    words = [sys.executable, "-m", "mtl", "predict", str(planted_run), "--input", str(source), "--task", "kind"]
    words += ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--output", str(tmp_path / "x.jsonl")]
    unfinished = tmp_path / ".x.jsonl.unfinished"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env={**os.environ, "HF_HUB_OFFLINE": "1"}, **quiet) as process:
        while process.poll() is None and not (unfinished.is_file() and unfinished.stat().st_size > 30_000):
            time.sleep(0.02)
        assert process.poll() is None, "it was finished before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "x.jsonl").exists()
    predict(planted_run, source, tmp_path / "x.jsonl", resume=True)
    predict(planted_run, source, tmp_path / "whole.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["x.csv", "x.PubTator"])
def test_shares_of_repeated_ids_are_the_whole_and_resume(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = [{"id": f"r{n % 5}", "text": TEXT} for n in range(CHUNK + 9)]
    five_tasks.write_lines(tmp_path / "notes.jsonl", rows)
    predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"])
    whole = (tmp_path / name).read_bytes()
    parts = []
    for number in (1, 2):
        share = tmp_path / f"{number}{name}"
        predict(planted_run, tmp_path / "notes.jsonl", share, tasks=["mentions"], shard=f"{number}/2")
        parts.append(share.read_bytes())
    assert b"".join(parts) == whole
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"])
    with pytest.raises(InputError) as caught:
        predict(
            planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"], encoding="cp1252", resume=True
        )
    assert caught.value.problems[0].key == "--resume"
    predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"], resume=True)
    assert (tmp_path / name).read_bytes() == whole
