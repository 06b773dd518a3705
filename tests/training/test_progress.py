from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtl.commands import run as run_mtl
from mtl.training.progress import ProgressLines
from tests import five_tasks
from tests.five_tasks import CPU

Write = Callable[..., Path]


def trainer(step: int, total: int = 100, *, rank_zero: bool = True) -> Any:
    data = SimpleNamespace(total_updates=lambda: total)
    return SimpleNamespace(is_global_zero=rank_zero, global_step=step, datamodule=data)


def lines_at(times: list[float], *, rank_zero: bool = True) -> list[str]:
    """The lines that are printed if update n ends at the n-th time."""
    lines: list[str] = []
    clock = iter(times)
    callback = ProgressLines(lines.append, lambda: next(clock), every=30.0)
    for step in range(1, len(times) + 1):
        callback.on_train_batch_end(trainer(step, rank_zero=rank_zero), SimpleNamespace())  # type: ignore[arg-type]
    return lines


def test_a_line_is_printed_every_thirty_seconds_with_the_time_that_is_left() -> None:
    lines = lines_at([10.0 * number for number in range(1, 11)])
    assert [re.findall(r"\d+", line)[:2] for line in lines] == [["4", "100"], ["7", "100"], ["10", "100"]]
    assert [int(number) for line in lines for number in re.findall(r"(\d+) min left", line)] == [16, 16, 15]


def test_quick_trainings_and_other_ranks_print_no_line() -> None:
    assert lines_at([0.1 * number for number in range(50)]) == []
    assert lines_at([100.0 * number for number in range(5)], rank_zero=False) == []


@pytest.mark.parametrize("asked", [None, "true"])
def test_without_a_terminal_each_evaluation_is_a_line_unless_the_user_chooses_about_the_bar(
    toy_mixture: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], asked: str | None
) -> None:
    words = ["fit", "--mixture", str(toy_mixture()), *CPU, "--trainer.max_epochs=2", "--run.track=false"]
    if asked:
        words.append(f"--trainer.enable_progress_bar={asked}")
    with five_tasks.surroundings(tmp_path):
        assert run_mtl(words) == 0
    captured = capfd.readouterr()
    evaluations = [line for line in captured.err.splitlines() if line.startswith("mtl: update")]
    assert len(evaluations) == (0 if asked else 2)
    assert all("cause 0." in line for line in evaluations)
