"""Designs in which each target is fine-tuned from an encoder that was first trained on another task in several ways.

The task is usually masked language modelling, and the ways, called arms, differ in what is masked or in the encoder's
vocabulary. The first arm has the settings of the mixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtl.problems import did_you_mean
from mtl.study.design.runs import Comparison, Run

PRETRAINING = "pretraining"
"""The design whose gains are over training on the target alone."""

PRETRAINING_ARMS = "pretraining_arms"
"""The design whose gains are over the first arm."""

EXAMPLE = "{task: mlm, arms: {token: {}, word: {options: {unit: word}}}}"


def against_alone(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    """Each target after each arm, compared with its single-task run."""
    for target in _targets(tasks, options):
        for arm, treated in _treated(target, seed, options).items():
            yield Comparison(PRETRAINING, target, arm, seed, treated, Run((target,), seed))


def against_first(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    """Each target after each arm but the first, compared with the same target after the first."""
    for target in _targets(tasks, options):
        first, *others = _treated(target, seed, options).items()
        for arm, treated in others:
            yield Comparison(PRETRAINING_ARMS, target, arm, seed, treated, first[1])


def option_problems(options: Any, tasks: Sequence[str]) -> list[str]:
    """Problems with the options, each as a message."""
    if not isinstance(options, Mapping) or set(options) != {"task", "arms"}:
        return [f"must have the options task and arms, such as {EXAMPLE}."]
    problems = []
    if options["task"] not in tasks:
        problems.append(f"There is no task '{options['task']}'. {did_you_mean(str(options['task']), tasks)}".rstrip())
    elif len(tasks) < 2:
        problems.append(f"There must be another task than '{options['task']}' to fine-tune on.")
    arms = options["arms"]
    if not isinstance(arms, Mapping) or not arms or not all(isinstance(own, Mapping) for own in arms.values()):
        return [*problems, f"arms must map names to settings of the task, such as {EXAMPLE}."]
    first, *others = arms
    if arms[first]:
        problems.append(f"The first arm is the task of the mixture: write {first}: {{}}.")
    idle = [name for name in others if not arms[name]]
    return problems + [f"The arm '{name}' has no settings, so it is the first arm." for name in idle]


def _targets(tasks: Sequence[str], options: Any) -> list[str]:
    return [task for task in tasks if task != options["task"]]


def _treated(target: str, seed: int, options: Any) -> dict[str, Run]:
    """The run on a target after each arm. It has the arm too, whose encoder it needs."""
    arms = {name: "" if number == 0 else name for number, name in enumerate(options["arms"])}
    return {
        name: Run((target,), seed, source=Run((options["task"],), seed, arm=arm), arm=arm) for name, arm in arms.items()
    }
