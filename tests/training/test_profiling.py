import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.config.loading import load_mixture
from mtl.tracking.run_folder import RunFolder
from mtl.training.profiling import FIRST, STEPS, Operator, StepProfile, as_markdown, phases


def profiled_steps(text: str) -> int:
    """The number of profiled steps that a report starts with."""
    return int(text.split()[2])


def test_time_is_grouped_by_kind_of_operator() -> None:
    operators = [Operator("aten::mm", 3.0), Operator("aten::addmm", 2.0), Operator("aten::topk", 1.0)]
    lines = as_markdown(operators, wall=10.0, steps=20).splitlines()
    assert "| matrix products | 5.0 | 50.0% |" in lines
    assert "| other operators | 1.0 | 10.0% |" in lines
    assert "| between operators (Python, waiting) | 4.0 | 40.0% |" in lines
    assert lines.index("| aten::mm | 3.00 |") < lines.index("| aten::addmm | 2.00 |")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [FIRST + STEPS + 3, FIRST + 2, 2])
def test_a_profile_states_the_number_of_steps_it_covers(
    steps: int, tmp_path: Path, toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    folder = RunFolder.create(tmp_path / "runs", "toy", 1)
    train(
        load_mixture(toy_mixture()),
        callbacks=[StepProfile(folder)],
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
    )
    text = (folder.path / "profile.md").read_text()
    if steps == 2:
        assert text.count("\n") == 1
        assert [int(number) for number in re.findall(r"\d+", text)] == [2, FIRST]
        return
    assert profiled_steps(text) == min(STEPS, steps - FIRST)
    shares = [float(line.split("|")[3].strip(" %")) for line in text.splitlines() if line.count("%") == 1]
    assert sum(shares) == pytest.approx(100, abs=1.5)
    assert "| aten::addmm |" in text


@pytest.mark.slow
def test_an_evaluation_is_not_part_of_a_step(
    tmp_path: Path, toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    folder = RunFolder.create(tmp_path / "runs", "toy", 1)
    trained = train(load_mixture(toy_mixture()), callbacks=[StepProfile(folder)], max_epochs=3, limit_val_batches=1)
    longest = trained.trainer.global_step // 3
    assert 1 < longest < STEPS  # the steps of an epoch, between two evaluations
    assert profiled_steps((folder.path / "profile.md").read_text()) == longest


def test_only_the_first_process_writes_its_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    folder = RunFolder(tmp_path)
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        profiler = phases(folder)
        profiler.setup("fit", local_rank=rank)  # as Lightning does with several processes
        with profiler.profile("a phase"):
            pass
        profiler.describe()
        assert [file.name for file in tmp_path.iterdir()] == ["fit-phases.txt"]
    assert (tmp_path / "fit-phases.txt").read_text().count("Profiler Report") == 1
