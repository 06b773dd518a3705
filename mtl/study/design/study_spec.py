"""The keys of a study file: mixture, designs, seeds, budget, optimiser, resources and what the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StrictBool, StrictInt, StrictStr

from mtl.config.mixture import Count, Section
from mtl.study.design.budget import BudgetSpec
from mtl.study.design.designs import ARMS, CONTINUED, DESIGNS
from mtl.study.design.folds import FoldsSpec
from mtl.study.design.pretraining import PRETRAINING, PRETRAINING_ARMS
from mtl.study.design.rates import StudyOptimisation
from mtl.study.design.resources import LauncherSpec, TrainerSpec

ARM_DESIGNS = (ARMS, PRETRAINING, PRETRAINING_ARMS)
"""Designs that compare arms."""


class DesignEntry(NamedTuple):
    """The name of a design or control, with its options."""

    name: str
    options: Any


class StudySpec(Section):
    """A study. `load_study` reads one from a file.

    Args:
        name: Name of the study, in MLflow and of its folder.
        mixture: Path of a mixture file, relative to the study, or the fields of a mixture.
        question: Question of the study, one sentence for the report.
        notes: Sentences for the methods section of the report, such as departures from a published recipe.
        tasks: Names of the tasks; empty takes all tasks of the mixture.
        designs: Designs to compare, each a name, or a name with options such as `{groups: [[a, b], [c]]}`.
        optional_tasks: Tasks that are left out if their data is absent, each with where to get it, as for data under an
            agreement. The report is then incomplete, and says so.
        controls: Controls to show next to the matrix: replicate, self_partner, continued, shuffled_partner.
        continued: Whether the control `continued` runs even if `controls` does not list it. It does so in every study
            with a design that compares with single-task runs, because its gains must exceed that of further training.
        seeds: Number of seeds, counted from 0, or a list of seeds.
        split: Folds for cross-validation, instead of the splits of the data: every run is trained once for each fold.
        budget: Budget of every run.
        published: Path of a CSV table with published scores of the arms, relative to the study.
        averages: Names of means of test scores over some of the tasks, each with these tasks, for the table of the
            stages.
        select: `best` tests at the evaluation with the target's best primary metric on dev; `last` at the last one.
        model: Learning rates and their schedule, as in `model` of `mtl fit`, by task and by stage.
        trainer: Threads, device and precision.
        launcher: Where the runs are trained.
        alpha: Probability of any false positive in one matrix.
        exclude: `documents` excludes training documents that are in dev or test of another task; None reports them as
            an error.
        max_encoders: Maximum number of encoders in the grouping that is predicted from the pairs.
        frozen: Whether the trivial predictors include `frozen`, a linear model on the states of the encoder without
            fine-tuning.
        experiment: Name of the MLflow experiment.
    """

    name: StrictStr
    mixture: StrictStr | dict[str, Any]
    question: StrictStr = "Which task helps which?"
    notes: tuple[StrictStr, ...] = ()
    tasks: tuple[StrictStr, ...] = ()
    designs: tuple[StrictStr | dict[StrictStr, Any], ...] = ("pairwise",)
    optional_tasks: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    controls: tuple[StrictStr | dict[StrictStr, Any], ...] = ()
    continued: StrictBool = True
    seeds: StrictInt | tuple[StrictInt, ...] = 8
    split: FoldsSpec | None = None
    budget: BudgetSpec = BudgetSpec()
    published: StrictStr | None = None
    averages: dict[StrictStr, tuple[StrictStr, ...]] = Field(default_factory=dict)
    select: Literal["best", "last"] = "best"
    model: StudyOptimisation = StudyOptimisation()
    trainer: TrainerSpec = TrainerSpec()
    launcher: LauncherSpec = LauncherSpec()
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    exclude: Literal["documents"] | None = None
    max_encoders: Count = 2
    frozen: StrictBool = True
    experiment: StrictStr = "biomtl-studies"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def parts(self) -> list[DesignEntry]:
        """The designs, then the controls, with `continued` if it is due."""
        listed = parts_of((*self.designs, *self.controls))
        names = {part.name for part in listed}
        is_due = any(design.is_against_single for name, design in DESIGNS.items() if name in names)
        is_added = self.continued and is_due and CONTINUED not in names
        return [*listed, *([DesignEntry(CONTINUED, None)] if is_added else [])]

    @property
    def lacks_continued(self) -> bool:
        """Whether gains are not compared with further training, because the control is switched off."""
        with_control = self.model_copy(update={"continued": True})
        return len(with_control.parts) > len(self.parts)

    @property
    def arms(self) -> dict[str, Any]:
        """The settings of each arm by its name; empty without a design that has arms."""
        options = self._arm_options
        found: dict[str, Any] = options["arms"] if self.arm_task is not None else options
        return found

    @property
    def arm_task(self) -> str | None:
        """The only task whose settings the arms change; None if they change those of every task."""
        return self._arm_options.get("task") if self.arm_design in (PRETRAINING, PRETRAINING_ARMS) else None

    @property
    def arm_design(self) -> str | None:
        """The first design that has arms."""
        return next((part.name for part in self.parts if part.name in ARM_DESIGNS), None)

    @property
    def _arm_options(self) -> dict[str, Any]:
        found: dict[str, Any] = next((part.options for part in self.parts if part.name == self.arm_design), {})
        return found

    def with_groups(self, groups: Sequence[Sequence[str]]) -> StudySpec:
        """Returns the study with these groups added to its design `groups`, without duplicates."""
        options = {part.name: part.options for part in parts_of(self.designs)}
        existing = options.get("groups") or []
        new = [list(group) for group in groups if frozenset(group) not in map(frozenset, existing)]
        options["groups"] = [*existing, *new]
        designs = tuple(name if value is None else {name: value} for name, value in options.items())
        return self.model_copy(update={"designs": designs})


def parts_of(entries: Sequence[str | Mapping[str, Any]]) -> list[DesignEntry]:
    """The designs or controls of a list, each with its options.

    `pretraining` and `pretraining_arms` have the same options, which only one of them needs to give.
    """
    listed = [
        part
        for entry in entries
        for part in ([DesignEntry(entry, None)] if isinstance(entry, str) else starmap(DesignEntry, entry.items()))
    ]
    shared = (PRETRAINING, PRETRAINING_ARMS)
    options = next((part.options for part in listed if part.name in shared and part.options is not None), None)
    return [part._replace(options=options) if part.name in shared and part.options is None else part for part in listed]
