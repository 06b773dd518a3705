"""What changes during a training, and at which update: the key `curriculum` of a mixture.

A rate, a loss weight, and the `changeable` options of a head can change, because neither the rows, nor their encoded
examples, nor predictions, nor the shapes of weights depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from heads import Head
from mtl.config import components
from mtl.config.mixture import Mixture, TaskSpec, build_head
from mtl.problems import InputError, Problem, did_you_mean

_FIELDS = ("rate", "loss_weight")


class Phase(NamedTuple):
    """A part of a training.

    Args:
        from_step: Number of its first update, from 0.
        mixture: The mixture as it is from there on. A rate may be 0.
    """

    from_step: int
    mixture: Mixture


def phases(mixture: Mixture) -> list[Phase]:
    """The phases of a valid mixture; a single one if it has no curriculum."""
    found = [Phase(0, mixture)]
    for spec in mixture.curriculum:
        tasks = dict(found[-1].mixture.tasks)
        for key, value in spec.options.items():
            change = _PhaseChange.of(key)
            assert change is not None, key
            tasks[change.task] = change.applied(tasks[change.task], value)
        found.append(Phase(spec.from_step, found[-1].mixture.model_copy(update={"tasks": tasks})))
    return found if len(found) == 1 or found[1].from_step > 0 else found[1:]


def curriculum_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    """Every problem of a curriculum that can be detected without reading data.

    Args:
        mixture: A mixture, whose curriculum may be invalid.
        others: Names of tasks that exist but are malformed.
    """
    problems = [
        Problem(
            f"curriculum.{number}.from_step",
            f"must be above {before.from_step}, the step of the entry before it, got {after.from_step}.",
            "List the entries in their order.",
        )
        for number, (before, after) in enumerate(pairwise(mixture.curriculum), start=1)
        if after.from_step <= before.from_step
    ]
    for number, spec in enumerate(mixture.curriculum):
        if not spec.options:
            problems.append(Problem(f"curriculum.{number}", "must change something, got only from_step.", "Remove it."))
        for key, value in spec.options.items():
            problems += _change_problems(mixture, others, f"curriculum.{number}", key, value)
    return problems or list(_idle_problems(mixture, others))


def end_problems(mixture: Mixture, total_updates: int) -> list[Problem]:
    """Problems of entries that a training does not reach.

    Args:
        mixture: A valid mixture.
        total_updates: Number of updates of the training.
    """
    return [
        Problem(
            f"curriculum.{number}.from_step",
            f"must be below {total_updates}, the number of updates of the training, got {spec.from_step}.",
            "Lower it, or raise trainer.max_epochs or trainer.max_steps.",
        )
        for number, spec in enumerate(mixture.curriculum)
        if spec.from_step >= total_updates
    ]


class _PhaseChange(NamedTuple):
    """What a key of an entry changes: a field of a task, or an option of its head."""

    task: str
    field: str
    option: str

    @classmethod
    def of(cls, key: str) -> _PhaseChange | None:
        """The change, such as of ``tasks.mlm.rate`` or ``tasks.mlm.options.rate``; None if the key has no such form."""
        parts = key.split(".")
        if parts[0] != "tasks" or len(parts) not in (3, 4) or (len(parts) == 4) != (parts[2] == "options"):
            return None
        return cls(parts[1], parts[2], "".join(parts[3:]))

    def applied(self, spec: TaskSpec, value: Any) -> TaskSpec:
        """The task with the change."""
        if self.field == "options":
            return spec.model_copy(update={"options": {**spec.options, self.option: value}})
        return spec.model_copy(update={self.field: float(value)})


def _change_problems(mixture: Mixture, others: Sequence[str], place: str, key: str, value: Any) -> list[Problem]:
    change, where = _PhaseChange.of(key), f"{place}.{key}"
    task = key.split(".")[1] if key.startswith("tasks.") and key.count(".") >= 2 else None
    if task in others:
        return []
    if task is not None and task not in mixture.tasks:
        return [Problem(where, f"There is no task '{task}'.", did_you_mean(task, mixture.tasks))]
    head = None if task is None else _head_class(mixture.tasks[task])
    options = () if head is None else head.changeable
    if task is None and key.partition(".")[0] in mixture.tasks:
        return [Problem(where, "must begin with tasks.", f"Write tasks.{key}.")]
    if change is None or (change.field not in _FIELDS if change.field != "options" else change.option not in options):
        allowed = [f"tasks.{task or 'TASK'}.{name}" for name in (*_FIELDS, *(f"options.{name}" for name in options))]
        return [Problem(where, "cannot change during a training.", f"Choices: {', '.join(allowed)}.")]
    if change.field == "options":
        return _option_problems(mixture.tasks[change.task], change, where, value)
    return _number_problems(mixture, change, where, value)


def _number_problems(mixture: Mixture, change: _PhaseChange, where: str, value: Any) -> list[Problem]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if change.field == "loss_weight":
        advice = "To stop training a task, change its rate to 0"
        advice += ", with tasks_per_step: 1." if _draws_all(mixture) else "."
        return [] if is_number and value > 0 else [Problem(where, f"must be a number above 0, got {value!r}.", advice)]
    if not is_number or value < 0:
        return [Problem(where, f"must be a number of at least 0, got {value!r}.")]
    if change.field == "rate" and mixture.tasks[change.task].rate == 0:
        advice = f"Remove rate: 0 of tasks.{change.task}; a phase from step 0 can set it."
        return [Problem(where, "has no effect, because the task has rate 0 and is never trained.", advice)]
    leader = mixture.tasks[change.task].same_rows_as
    if leader is not None:
        return [Problem(where, f"has no effect, because the task trains on the batches of '{leader}'.", "Remove it.")]
    if _draws_all(mixture):
        advice = "Set tasks_per_step: 1, so that tasks are drawn by their rates, or change loss_weight instead."
        return [Problem(where, "has no effect, because every step trains every task.", advice)]
    try:
        uses_rates = components.find("sampler", mixture.sampler.name, "sampler.name").uses_rates
    except InputError:  # already reported
        return []
    message = f"has no effect, because the sampler '{mixture.sampler.name}' does not use rates."
    return [] if uses_rates else [Problem(where, message, "Choose one that does, such as temperature or weighted.")]


def _draws_all(mixture: Mixture) -> bool:
    """Whether every step trains every task, so that rates have no effect."""
    return mixture.tasks_per_step in ("all", len(mixture.drawn())) and len(mixture.drawn()) > 1


def _option_problems(spec: TaskSpec, change: _PhaseChange, where: str, value: Any) -> list[Problem]:
    head = _head_class(spec)
    assert head is not None
    found = components.check_options(
        head, {**spec.head_options, change.option: value}, where.removesuffix(f".{change.option}"), _PASSED
    )
    own = [problem for problem in found if problem.key == where or problem.key.startswith(f"{where}.")]
    if own or found:
        return own
    try:
        build_head(change.applied(spec, value), hidden_size=8)
    except InputError as error:
        return error.problems
    except ValueError as error:
        return [Problem(where, f"{str(error).rstrip('.')}.")]
    return []


_PASSED = frozenset({"labels", "hidden_size"})


def _idle_problems(mixture: Mixture, others: Sequence[str]) -> Iterator[Problem]:
    """Phases in which no task is trained."""
    if others:
        return
    for phase in phases(mixture):
        rates: Mapping[str, float | None] = {name: phase.mixture.tasks[name].rate for name in mixture.drawn()}
        if all(rate == 0 for rate in rates.values()):
            message = f"must leave a task with a rate above 0, got none from step {phase.from_step} on."
            yield Problem("curriculum", message, "Keep a rate above 0, or end the training there.")


def _head_class(spec: TaskSpec) -> type[Head] | None:
    try:
        return components.find("head", spec.head, "head")
    except InputError:  # already reported
        return None
