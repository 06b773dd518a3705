"""How long the runs of a study train: updates by task and by stage, evaluations, and limits on rows."""

from __future__ import annotations

from typing import Any

from pydantic import Field, StrictInt, StrictStr, model_validator

from mtl.config.mixture import Count, Positive, Section
from mtl.study.design.stages import by_precedence


class Amount(Section):
    """How long a run trains a task.

    Args:
        updates: Number of updates.
        passes: Number of passes over the training rows, instead of `updates`.
    """

    updates: Count | None = None
    passes: Positive | None = None

    @model_validator(mode="after")
    def _is_one_number(self) -> Amount:
        if self.updates is not None and self.passes is not None:
            raise ValueError("must have updates or passes, not both")
        return self


class StageBudget(Amount):
    """How long the runs of a stage train each of their tasks.

    Args:
        updates: Number of updates of each task.
        passes: Number of passes over the training rows of each task, instead of `updates`.
        tasks: The same for single tasks.
    """

    tasks: dict[StrictStr, Amount] = Field(default_factory=dict)


class BudgetSpec(StageBudget):
    """How long every run trains each of its tasks; updates of partners are added to those of the target.

    Args:
        updates: Number of updates of each task.
        passes: Number of passes over the training rows of each task, instead of `updates`. Without either, the number
            depends on the size of the task: about 20 for 500 examples, 10 for 5,000 and 3 for 50,000.
        tasks: `updates` or `passes` of single tasks, by name.
        stages: `updates`, `passes` and `tasks` of the stages of a design, by name.
        evaluations: Number of dev evaluations, evenly spaced; updates are rounded up to a multiple of it.
        train_rows: Maximum number of training rows of a task, sub-sampled by document; None takes all rows.
        dev_rows: Maximum number of dev rows of a task, which limits the time spent on evaluation.
        test_rows: Maximum number of test rows of a task.
        sample_seed: Seed of the sub-samples, which are the same in every run.
    """

    stages: dict[StrictStr, StageBudget] = Field(default_factory=dict)
    evaluations: Count = 3
    train_rows: Count | None = None
    dev_rows: Count | None = None
    test_rows: Count | None = None
    sample_seed: StrictInt = 0

    def of(self, task: str, stage: str = "") -> Amount:
        """How long a run trains a task in a stage; empty for the default of its size."""
        levels = by_precedence(self, task, stage)
        return next((level for level in levels if level.updates or level.passes), Amount())

    def to_dict(self) -> dict[str, Any]:
        """The budget as JSON types; without the keys `tasks` and `stages` if there are none."""
        return {name: value for name, value in self.model_dump().items() if value != {}}
