"""Running out of memory is a problem that names the batch, whatever it was computed for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from mtl.batching.batch import Batch, TaskPart
from mtl.batching.loaders import EvaluationLoader
from mtl.config.loading import load_mixture
from mtl.encoder.packing import Layout
from mtl.evaluation.evaluator import Evaluator
from mtl.problems import InputError, Problem
from mtl.training.memory import OF_LIBRARIES, MemoryWatch, Purpose


def run_out(*_: Any, **__: Any) -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def problem_of(memory: MemoryWatch) -> Problem:
    with pytest.raises(InputError) as caught, memory.problems():
        run_out()
    (problem,) = caught.value.problems
    return problem


def batch(tasks: list[str], lengths: list[int]) -> Batch:
    parts = [TaskPart(task, 0, len(lengths), {}) for task in tasks]
    return Batch(torch.zeros(sum(lengths), dtype=torch.long), Layout(lengths), None, parts)


@pytest.mark.parametrize("sign", OF_LIBRARIES)
def test_libraries_of_a_gpu_say_in_their_own_words_that_its_memory_is_full(sign: str) -> None:
    with pytest.raises(InputError), MemoryWatch().problems():
        raise RuntimeError(f"CUDA error: {sign} when calling a function")


def test_other_errors_of_a_device_are_as_they_were() -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError) as caught, MemoryWatch().problems():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("purpose", "key", "advice"),
    [
        ("training", "batch_size", "encoder.gradient_checkpointing"),
        ("evaluating", "batch_size", "--trainer.accelerator=cpu"),
        ("predicting", "--trainer.accelerator", "--trainer.accelerator=cpu"),
    ],
)
def test_the_problem_names_the_tasks_and_the_number_of_tokens(purpose: Purpose, key: str, advice: str) -> None:
    memory = MemoryWatch()
    memory.begin("training", batch(["other"], [77]))
    memory.begin(purpose, batch(["cause", "bleed"], [20, 3]))
    problem = problem_of(memory)
    assert problem.key == key
    assert "cause, bleed with 23 tokens" in problem.message
    assert advice in problem.suggestion


def test_before_the_first_batch_no_task_is_blamed() -> None:
    problem = problem_of(MemoryWatch())
    assert problem.key == "batch_size"
    assert " 0 " not in problem.message


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="another") as caught, MemoryWatch().problems():
        raise RuntimeError("another")
    assert not isinstance(caught.value, torch.OutOfMemoryError)


def test_an_evaluation_within_a_training_is_not_taken_for_the_step_before_it(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(Evaluator, "add", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        train(load_mixture(toy_mixture()), before=lambda *both: kept.extend(both), limit_train_batches=1)
    module, data = kept
    first = next(iter(EvaluationLoader(data, "dev")))
    problem = problem_of(module.memory)
    assert f"{', '.join(part.task for part in first.parts)} with {len(first.input_ids)} tokens" in problem.message
    assert "gradient_checkpointing" not in problem.suggestion
