"""The stages of a design: rounds of training that follow each other and may differ in budget and learning rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mtl.problems import Problem, did_you_mean

REFINE, FINETUNE = "refine", "finetune"
"""Training on all tasks together, then training on each task alone."""

STAGES = (REFINE, FINETUNE)


def by_precedence(settings: Any, task: str, stage: str) -> Iterator[Any]:
    """The settings that apply to a task in a stage, the most specific first.

    Args:
        settings: Settings with further ones under `tasks`, and under `stages`, which may have `tasks` again.
        task: Name of the task; settings of single tasks are left out if it is empty.
        stage: Name of the stage; empty for runs outside all stages.
    """
    for level in (settings.stages.get(stage), settings):
        if level is not None:
            if task in level.tasks:
                yield level.tasks[task]
            yield level


def name_problems(key: str, settings: Any, tasks: Sequence[str], stages: Sequence[str]) -> list[Problem]:
    """Problems with the names of tasks and stages in settings, and with entries that set nothing.

    Args:
        key: Key of the settings.
        settings: The settings, as in `by_precedence`.
        tasks: Tasks of the study.
        stages: Stages of its designs.
    """
    problems = _task_problems(f"{key}.tasks", settings.tasks, tasks)
    for name, level in settings.stages.items():
        place = f"{key}.stages.{name}"
        if name not in stages:
            problems.append(_stage_problem(place, name, stages))
        elif _sets_nothing(level):
            problems.append(_idle(place))
        problems += _task_problems(f"{place}.tasks", level.tasks, tasks)
    return problems


def _task_problems(place: str, levels: Any, tasks: Sequence[str]) -> list[Problem]:
    unknown = [
        Problem(f"{place}.{name}", f"There is no task '{name}'.", did_you_mean(name, tasks))
        for name in levels
        if name not in tasks
    ]
    return unknown + [_idle(f"{place}.{name}") for name, level in levels.items() if _sets_nothing(level)]


def _stage_problem(place: str, name: str, stages: Sequence[str]) -> Problem:
    if name in STAGES and not stages:
        message = f"No design of this study has the stage '{name}'."
        return Problem(place, message, "Remove it, or add the design refine_finetune.")
    return Problem(place, f"There is no stage '{name}'.", did_you_mean(name, stages or STAGES))


def _sets_nothing(level: Any) -> bool:
    return not any(value is not None and value != {} for value in vars(level).values())


def _idle(place: str) -> Problem:
    return Problem(place, "must set something, got an empty mapping.", "Remove it.")
