"""Learning rates of the runs of a study, by task and by stage, with the other settings of the optimiser."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field, fields
from typing import Any

from pydantic import ConfigDict, Field, StrictStr, TypeAdapter
from pydantic.dataclasses import dataclass

from mtl.config.mixture import Positive, Section
from mtl.problems import Problem
from mtl.study.design.runs import Comparison, original
from mtl.study.design.stages import REFINE, by_precedence
from mtl.training.hyperparameters import Optimisation


class Rates(Section):
    """Peak learning rates.

    Args:
        learning_rate: Rate of the encoder.
        head_learning_rate: Rate of the heads.
    """

    learning_rate: Positive | None = None
    head_learning_rate: Positive | None = None


class StageRates(Rates):
    """Peak learning rates of the runs of a stage.

    Args:
        learning_rate: Rate of the encoder.
        head_learning_rate: Rate of the heads.
        tasks: The same for runs that train a single task.
    """

    tasks: dict[StrictStr, Rates] = Field(default_factory=dict)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StudyOptimisation(Optimisation):
    """How the weights are trained in the runs of a study: see `Optimisation`, and two further keys.

    A run has one learning rate for its encoder, so the rates of a task apply to runs that train this task alone. In
    the stage `refine`, all runs have the rate of the stage: those of a task alone are what the joint run is compared
    with.
    """

    tasks: dict[StrictStr, Rates] = field(default_factory=dict)
    """Learning rates of runs that train a single task, by its name."""

    stages: dict[StrictStr, StageRates] = field(default_factory=dict)
    """Learning rates of the stages of a design, by name."""

    def of(self, tasks: Collection[str], stage: str = "") -> Optimisation:
        """The settings of a run.

        Args:
            tasks: Names of its tasks; a copy of a task has the name of the task.
            stage: Stage of the run; empty for runs outside all stages.
        """
        alone = next(iter(tasks)) if len(set(tasks)) == 1 and stage != REFINE else ""
        own = {one.name: getattr(self, one.name) for one in fields(Optimisation)}
        for rate in Rates.model_fields:
            levels = (getattr(level, rate) for level in by_precedence(self, alone, stage))
            own[rate] = next((value for value in levels if value is not None), None)
        return Optimisation(**own)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types; without the keys `tasks` and `stages` if there are none."""
        found = TypeAdapter(StudyOptimisation).dump_python(self)
        return {name: value for name, value in found.items() if value != {}}


def rate_problems(model: StudyOptimisation, compared: Iterable[Comparison]) -> list[Problem]:
    """Problems with learning rates of single tasks in runs that train several tasks, which have one rate.

    Args:
        model: The settings.
        compared: Comparisons of the study, whose runs name their stages.
    """
    designs: dict[str, str] = {}
    for one in compared:
        for run in (*one.treated.chain(), *one.reference.chain()):
            tasks = {original(task) for task in run.tasks}
            if len(tasks) > 1 and run.stage != REFINE:
                designs |= {task: one.design for task in tasks if task in model.tasks}
    problems = [
        Problem(
            f"model.tasks.{task}",
            f"'{design}' trains '{task}' together with other tasks, at one learning rate for all.",
            "Remove the rate of the task, or the design.",
        )
        for task, design in designs.items()
    ]
    if REFINE in model.stages and model.stages[REFINE].tasks:
        message = f"The stage {REFINE} trains all tasks together, at one learning rate for all."
        problems.append(Problem(f"model.stages.{REFINE}.tasks", message, f"Set model.stages.{REFINE}.learning_rate."))
    return problems
