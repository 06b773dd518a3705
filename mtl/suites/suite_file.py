"""Finds suite files by name and reads them, with all problems of a file at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from mtl.config import schema
from mtl.config.mixture import DataSpec, LimitSpec, PermuteSpec, SplitSpec
from mtl.config.validation import mixture_problems
from mtl.config.yaml_files import read_mixture_fields, read_yaml, require_known_key
from mtl.evaluation.metric_variants import variant_problems
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import strings
from mtl.shipped import shipped
from mtl.suites.published import PublishedScore, read_published
from mtl.suites.suite_spec import (
    AccessSpec,
    AggregationSpec,
    CountsSpec,
    DifferenceSpec,
    RecipeSpec,
    SourceSpec,
    SuiteSpec,
    SuiteTaskSpec,
)

Fields = Mapping[str, Any]

FOLDER = Path("experiments", "suites")
"""Where suites are looked up by name below the working folder, before those that come with the project."""


class Suite(NamedTuple):
    """A suite with its published scores.

    Args:
        spec: The suite.
        published: Published scores, in the order of the file.
        path: The file of the suite.
    """

    spec: SuiteSpec
    published: tuple[PublishedScore, ...]
    path: Path


def load_suite(name: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Reads a suite.

    The reader of a task is checked when its data are read.

    Args:
        name: Name of a suite, or path of a suite file.
        overrides: ``key=value`` with dotted keys.

    Raises:
        InputError: There is no such suite, or its file is invalid; the error lists all problems.
    """
    path = find_suite(str(name))
    require_known_key(path, read_yaml(path), SuiteSpec.model_fields)
    fields = read_mixture_fields(path, overrides)
    mismatches = schema.mismatches(TypeAdapter(SuiteSpec), fields)
    problems = [schema.problem_of(mismatch, _model_at) for mismatch in mismatches]
    spec = _readable(fields, mismatches)
    published: list[PublishedScore] = []
    if spec is not None:
        tasks = [str(task) for task in fields["tasks"]]
        problems += _spec_problems(spec, tasks)
        problems += _task_problems(spec)
        try:
            published = [] if spec.published is None else read_published(path.parent / spec.published, spec, tasks)
        except InputError as error:
            problems += error.problems
    if problems or spec is None:
        texts = strings(fields)
        raise InputError([problem.without(texts) for problem in dict.fromkeys(problems)])
    return Suite(spec, tuple(published), path)


def find_suite(name: str) -> Path:
    """The file of a suite.

    Args:
        name: A name, looked up in `experiments/suites` of the working folder and then among the suites that come with
            the project; or a path, which ends in .yaml or .yml.

    Raises:
        InputError: There is no such suite.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if Path(name).is_file():
            return Path(name)
        raise InputError(Problem(name, "The file does not exist.", "Check the path."))
    files = known_suites()
    if name not in files:
        raise InputError(Problem("suite", f"There is no suite '{name}'.", did_you_mean(name, files)))
    return files[name]


def known_suites() -> dict[str, Path]:
    """The files of the suites that are found by name."""
    folders = [shipped("suites"), FOLDER]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


# --- keys and types ---------------------------------------------------------------------------------------------------


def _readable(fields: Fields, mismatches: Sequence[schema.Mismatch]) -> SuiteSpec | None:
    """The suite without its malformed keys and tasks, to check the rest; None if no task is left."""
    tasks = fields.get("tasks")
    if not isinstance(tasks, Mapping):
        return None
    broken = {str(mismatch.place[0]) for mismatch in mismatches if mismatch.place}
    lost = {str(place[1]) for place, _ in mismatches if place[:1] == ("tasks",) and place[1:]}
    kept = {name: task for name, task in tasks.items() if str(name) not in lost}
    if not kept:
        return None
    blank: dict[str, Any] = {name: "" for name, field in SuiteSpec.model_fields.items() if field.is_required()}
    blank |= {"aggregation": {"rule": "mean_of_tasks"}}
    given = {key: value for key, value in fields.items() if key not in broken}
    return SuiteSpec(**{**blank, **given, "tasks": kept})


def _model_at(place: Sequence[str | int]) -> type[BaseModel]:
    """The model that the last key of a place belongs to."""
    parents = [part for part in place[:-1] if isinstance(part, str)]
    if parents[:1] == ["tasks"] and len(parents) == 2:
        return SuiteTaskSpec
    if parents[:1] == ["sources"] and len(parents) == 2:
        return SourceSpec
    sections: dict[str, type[BaseModel]] = {
        "aggregation": AggregationSpec,
        "recipe": RecipeSpec,
        "counts": CountsSpec,
        "differences": DifferenceSpec,
        "access": AccessSpec,
        "data": DataSpec,
        "split": SplitSpec,
        "limit": LimitSpec,
        "permute": PermuteSpec,
    }
    return sections.get(parents[-1], SuiteSpec) if parents else SuiteSpec


# --- what the types do not reveal -------------------------------------------------------------------------------------


def _spec_problems(spec: SuiteSpec, tasks: Sequence[str]) -> list[Problem]:
    problems = []
    if spec.name:
        try:
            folder_name(spec.name)
        except InputError as error:
            problems += error.problems
        problems += [
            Problem(
                f"tasks.{task}",
                f"The name of a task must start with '{spec.name}_', got '{task}'.",
                "The same data set in another suite is another task.",
            )
            for task in tasks
            if not task.startswith(f"{spec.name}_")
        ]
    return problems + _group_problems(spec, tasks)


def _group_problems(spec: SuiteSpec, tasks: Sequence[str]) -> list[Problem]:
    groups = spec.aggregation.groups
    key = "aggregation.groups"
    if not groups:
        needed = spec.aggregation.rule == "mean_of_group_means"
        return [Problem(key, "must be given for the rule mean_of_group_means.", "List the groups.")] if needed else []
    members = Counter(task for group in groups.values() for task in group)
    problems = [
        Problem(f"{key}.{name}", f"There is no task '{task}'.", did_you_mean(task, tasks))
        for name, group in groups.items()
        for task in group
        if task not in tasks
    ]
    return problems + [
        Problem(key, f"Every task must be in one group, got '{task}' in {members[task]}.", "Correct the groups.")
        for task in tasks
        if members[task] != 1
    ]


def _task_problems(spec: SuiteSpec) -> list[Problem]:
    """Problems of the heads, their options and variants. Those of readers are left to reading."""
    found = mixture_problems({"name": "suite", "tasks": spec.task_fields()})
    readers = tuple(f"tasks.{name}.data" for name in spec.tasks)
    problems = [problem for problem in found if not problem.key.startswith(readers)]
    for name, task in spec.tasks.items():
        for variant in task.variants:
            key = "variant" if variant == task.variant else "also"
            problems += variant_problems(f"tasks.{name}.{key}", variant, task.head, task.options)
        problems += _difference_problems(name, task)
    return problems


def _difference_problems(name: str, task: SuiteTaskSpec) -> list[Problem]:
    published = task.counts.published()
    return [
        Problem(
            f"tasks.{name}.differences.{index}",
            f"A known difference must differ from the published count of {one.split}, got {one.found}"
            f" {'twice' if published[one.split] == one.found else 'and no published count'}.",
            "Remove it.",
        )
        for index, one in enumerate(task.differences)
        if published[one.split] in (None, one.found)
    ]
