"""Cross-validation as an axis of a study: each run is trained once for each fold; the folds are scored together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr

from mtl.config.mixture import Mixture, Section, SplitSpec
from mtl.problems import Problem
from mtl.study.design.runs import Run

UNFIT = ("arms", "cross", "pretraining", "pretraining_arms", "shuffled_partner", "sizes")
"""Designs and controls that have other data or settings of their own in some runs, which folds do not reach."""


class FoldsSpec(Section):
    """How the data of every task is divided into folds.

    Args:
        folds: Number of folds: one is test, the next is dev and the others are train.
        by: What stays together: the row's `document`, or one or more columns of its `meta`, such as `patient`. If it is
            not given, what intervals resample (`evaluation.unit`) stays together.
        source: The split that is divided, which must be the only one of the data.
        seed: Seed of the division, which is the same in every run.
    """

    folds: Annotated[StrictInt, Field(ge=3)]
    by: StrictStr | tuple[StrictStr, ...] = "document"
    source: Literal["train", "dev", "test"] = "train"
    seed: StrictInt = 0

    @property
    def names(self) -> list[str]:
        """The names of the folds, by which runs name their data."""
        return [f"fold {number + 1} of {self.folds}" for number in range(self.folds)]

    def keeping(self, unit: str) -> FoldsSpec:
        """The same folds, which keep a unit together unless `by` is given."""
        return self if "by" in self.model_fields_set else self.model_copy(update={"by": unit})

    def applied(self, mixture: Mixture, fold: int) -> Mixture:
        """The mixture whose tasks have the data of a fold."""
        split = SplitSpec(**self.model_dump(), fold=fold)
        tasks = {
            name: spec.model_copy(update={"data": spec.data.model_copy(update={"split": split})})
            for name, spec in mixture.tasks.items()
        }
        return mixture.model_copy(update={"tasks": tasks})


def in_fold(run: Run, name: str) -> Run:
    """The run, and those that it starts from, with the data of a fold."""
    return replace(run, data=name, source=run.source and in_fold(run.source, name))


def fold_problems(designs: Sequence[str]) -> Iterator[Problem]:
    """Problems with designs and controls that cannot be cross-validated."""
    for name in designs:
        if name in UNFIT:
            message = f"'{name}' cannot be cross-validated."
            yield Problem("split", message, f"Remove one of the two, or create a separate study for '{name}'.")
