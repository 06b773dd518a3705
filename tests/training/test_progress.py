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


def evaluation(num_batches: int, fn: str) -> Any:
    """A trainer that evaluates dev."""
    splits = {"gad": SimpleNamespace(rows=range(7)), "rqe": SimpleNamespace(rows=range(5))}
    return SimpleNamespace(
        is_global_zero=True,
        sanity_checking=False,
        state=SimpleNamespace(fn=fn),
        num_val_batches=[num_batches],
        datamodule=SimpleNamespace(splits=lambda split: splits if split == "dev" else {}),
    )


@pytest.mark.parametrize("fn", ["validate", "fit"])
def test_a_long_evaluation_says_how_far_it_is(fn: str) -> None:
    lines: list[str] = []
    clock = iter(10.0 * number for number in range(8))
    callback = ProgressLines(lines.append, lambda: next(clock), every=30.0)
    evaluates, module = evaluation(7, fn), SimpleNamespace()
    callback.on_validation_start(evaluates, module)  # type: ignore[arg-type]
    begun = [] if fn == "fit" else [["gad", "7"], ["rqe", "5"]]
    assert [re.findall(r"gad|rqe|\d+", line) for line in lines] == begun
    for number in range(7):
        callback.on_validation_batch_end(evaluates, module, None, None, number)  # type: ignore[arg-type]
    assert [re.findall(r"\d+", line)[:2] for line in lines[len(begun) :]] == [["3", "7"], ["6", "7"]]


@pytest.mark.parametrize("asked", [None, "true", "false"])
def test_where_no_bar_is_shown_each_evaluation_and_each_task_with_trivial_predictors_is_a_line(
    toy_mixture: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], asked: str | None
) -> None:
    mixture = toy_mixture(only=["cause", "risk"])
    bar = [f"--trainer.enable_progress_bar={asked}"] if asked else []
    words = ["--mixture", str(mixture), *CPU, "--run.track=false", "--run.frozen=false", *bar]
    with five_tasks.surroundings(tmp_path):
        assert run_mtl(["fit", *words, "--trainer.max_epochs=2"]) == 0
        fitted = capfd.readouterr().err.splitlines()
        assert run_mtl(["test", *words]) == 0
        tested = capfd.readouterr().err.splitlines()
    evaluations = [line for line in fitted if line.startswith("mtl: update")]
    assert len(evaluations) == (0 if asked == "true" else 2)
    assert all("cause 0." in line for line in evaluations)
    tasks = [] if asked == "true" else ["cause", "risk"]
    assert named(fitted, "dev") == tasks, "when the trivial predictors are scored"
    assert named(tested, "test") == 2 * tasks, "when the evaluation begins, then the same"


def named(lines: list[str], split: str) -> list[str]:
    """The tasks that the lines about a split name."""
    return [task for line in lines if line.startswith(f"mtl: {split}: ") for task in re.findall("cause|risk", line)]
