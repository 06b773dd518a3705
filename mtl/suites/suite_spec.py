"""The keys of suite files: tasks bound to data, splits, published counts and metric variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from mtl.config.mixture import Count, DataSpec, Positive, Section
from mtl.evaluation.metric_variants import VARIANTS
from mtl.suites.unit_counts import Unit

Split = Literal["train", "dev", "test"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Natural = Annotated[StrictInt, Field(ge=0)]


class RecipeSpec(Section):
    """How the models of a suite are fine-tuned; what a task leaves out comes from the suite, then from our defaults.

    Args:
        learning_rate: Peak learning rate.
        batch_size: Examples per update.
        epochs: Number of passes over train.
        max_length: Maximum length of an input in tokens.
        weight_decay: Weight decay.
        warmup: Fraction of all updates over which the learning rate rises.
        schedule: Learning rate after the warm-up.
        select: Whether the `best` evaluation on dev is tested or the `last` one.
        source: Where the values are from.
    """

    learning_rate: Positive | None = None
    batch_size: Count | None = None
    epochs: Count | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    warmup: Fraction | None = None
    schedule: Literal["linear", "cosine", "constant"] | None = None
    select: Literal["best", "last"] | None = None
    source: StrictStr | None = None


class CountsSpec(Section):
    """Published sizes of the splits; None where none is published.

    Args:
        unit: What is counted.
        train: Number of units in train.
        dev: Number of units in dev.
        test: Number of units in test.
    """

    unit: Unit
    train: Natural | None = None
    dev: Natural | None = None
    test: Natural | None = None

    def published(self) -> dict[Split, int | None]:
        """The published number of each split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


class DifferenceSpec(Section):
    """A count of an accepted copy of the data that differs from the published one.

    Args:
        split: The split.
        found: The number of units in the copy.
        because: Why it differs, a sentence.
    """

    split: Split
    found: Natural
    because: StrictStr


class AccessSpec(Section):
    """How users get the data of a task.

    Args:
        agreement: Whether the data are only given to users who sign an agreement or register.
        source: Where they are.
        terms: Licence or conditions.
        prepare: What to do with the download before it can be read; None if nothing.
    """

    agreement: StrictBool
    source: StrictStr
    terms: StrictStr
    prepare: StrictStr | None = None


class SuiteTaskSpec(Section):
    """One task of a suite. `head`, `data`, `labels` and `options` are those of a task of a mixture.

    Args:
        title: Name of the data set as printed in the publications.
        head: Name of the head.
        data: Where the rows are; the path also tells users where to put them.
        labels: Names of the classes, entity types or relation types.
        options: Options of the head.
        variant: Metric variant of the task's score.
        also: Further variants to report, which no aggregate uses.
        split: How the splits were made, a phrase.
        counts: Published sizes.
        differences: Known differences from the published sizes.
        seeds: Number of seeds; None takes the suite's.
        recipe: How models are fine-tuned on the task.
        access: How users get the data.
        note: What else a reader of scores must know; None if nothing.
    """

    title: StrictStr
    head: StrictStr
    data: DataSpec
    labels: tuple[StrictStr, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    variant: StrictStr
    also: tuple[StrictStr, ...] = ()
    split: StrictStr
    counts: CountsSpec
    differences: tuple[DifferenceSpec, ...] = ()
    seeds: Count | None = None
    recipe: RecipeSpec = RecipeSpec()
    access: AccessSpec
    note: StrictStr | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """The variant of the task's score, then the further ones."""
        return tuple(dict.fromkeys([self.variant, *self.also]))

    @property
    def paths(self) -> list[str]:
        """The paths of the data."""
        return [self.data.path] if isinstance(self.data.path, str) else list(self.data.path.values())

    def because(self, split: Split, found: int) -> str | None:
        """Why a count differs from the published one; None if no such difference is known."""
        known = [one.because for one in self.differences if (one.split, one.found) == (split, found)]
        return known[0] if known else None


class AggregationSpec(Section):
    """How scores of tasks become the score of the suite.

    Args:
        rule: `mean_of_tasks`, or `mean_of_group_means`.
        groups: Tasks of each group, whose means are reported with either rule; every task is in one group, or there
            are none.
    """

    rule: Literal["mean_of_tasks", "mean_of_group_means"]
    groups: dict[StrictStr, tuple[StrictStr, ...]] = Field(default_factory=dict)


class SourceSpec(Section):
    """A publication of scores.

    Args:
        citation: Its reference, with table or file.
        url: Its address.
        protocol: How the scores were obtained: selection, seeds, what differs from the suite.
    """

    citation: StrictStr
    url: StrictStr
    protocol: StrictStr


class SuiteSpec(Section):
    """A published benchmark. `mtl.suites.suite_file.load_suite` reads one from a file.

    Args:
        name: Name of the suite; the names of its tasks start with it and an underscore, so that one data set in two
            suites has two names.
        revision: Which version of the benchmark this is.
        title: Its full name.
        about: What a reader of scores must know, some sentences.
        paper: Reference of the publication that defines it.
        url: Address of the publication.
        aggregation: How scores of tasks become the score of the suite.
        seeds: Number of seeds of a task.
        recipe: What the recipes of the tasks have in common.
        sources: Publications of the scores in `published`.
        published: CSV file of published scores, relative to the file of the suite; None for none.
        tasks: The tasks by name.
    """

    name: StrictStr
    revision: StrictStr
    title: StrictStr
    about: StrictStr
    paper: StrictStr
    url: StrictStr
    aggregation: AggregationSpec
    seeds: Count = 5
    recipe: RecipeSpec = RecipeSpec()
    sources: dict[StrictStr, SourceSpec] = Field(default_factory=dict)
    published: StrictStr | None = None
    tasks: dict[StrictStr, SuiteTaskSpec] = Field(min_length=1)

    def recipe_of(self, task: str) -> RecipeSpec:
        """The recipe of a task, with what the tasks have in common."""
        own = self.tasks[task].recipe.model_dump(exclude_none=True)
        return self.recipe.model_copy(update=own)

    def seeds_of(self, task: str) -> int:
        """The number of seeds of a task."""
        return self.tasks[task].seeds or self.seeds

    def task_fields(self) -> dict[str, dict[str, Any]]:
        """The tasks as fields of a mixture, scored by their variants."""
        return {name: self._fields(name) for name in self.tasks}

    def _fields(self, name: str) -> dict[str, Any]:
        task, recipe = self.tasks[name], self.recipe_of(name)
        options = dict(task.options)
        also = [VARIANTS[variant].metric for variant in task.also if variant in VARIANTS]
        if also:
            options["metrics"] = [*options.get("metrics", ()), *also]
        fields: Mapping[str, Any] = {
            "head": task.head,
            "data": task.data.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            "labels": list(task.labels),
            "options": options,
            "primary_metric": VARIANTS[task.variant].metric if task.variant in VARIANTS else None,
            "max_length": recipe.max_length,
            "batch_size": recipe.batch_size,
        }
        return {key: value for key, value in fields.items() if value is not None}
