"""The studies that train the models of a suite, and how they deviate from its recipe.

A task that is trained alone has a study of its own, because recipes differ between tasks in what a study has once:
warm-up, schedule and selection. Tasks that are trained together share one, at the recipe that the suite has for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mtl.config.encoder_catalogue import entry_of
from mtl.config.yaml_files import merge, parse_overrides
from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.design.study_file import Study, study_of
from mtl.suites.suite_spec import RecipeSpec, SuiteSpec, SuiteTaskSpec

Way = Literal["single", "joint", "refine_finetune"]
"""Each task alone, all tasks together, or all together and then each alone: names of designs of studies."""

WAYS: tuple[Way, ...] = get_args(Way)

SECTIONS = ("budget", "trainer", "launcher", "encoder")
"""Keys that override those of the studies, not of the suite."""

MAX_EVALUATIONS = 10
"""Most evaluations on dev where the recipe selects the best one; with fewer epochs, there is one after each."""

EXPERIMENT = "biomtl-suites"

SHARED = ("learning_rate", "weight_decay", "warmup", "schedule", "select")
"""Keys of a recipe that a study has once for all of its tasks."""

LENGTHS = ("updates", "passes")
"""Keys of a budget that replace the epochs of a recipe."""


class SuiteOrder(NamedTuple):
    """What a command trains.

    Args:
        tasks: Names of the tasks.
        way: How they are trained.
        encoder: Name, hub name or folder of the encoder.
        seeds: Number of seeds of each task; None takes those of the suite.
        changes: Overrides of the sections of the studies, nested.
    """

    tasks: tuple[str, ...]
    way: Way
    encoder: str
    seeds: int | None
    changes: Mapping[str, Any]

    @property
    def model(self) -> str:
        """Name of the encoder in tables.

        >>> SuiteOrder((), "single", "models/Our BERT/", None, {}).model
        'Our BERT'
        """
        entry = entry_of(self.encoder)
        return Path(self.encoder).name if entry is None else entry.name


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Divides overrides into those of the suite and those of its studies.

    >>> split_overrides(["seeds=3", "budget.train_rows=100"])
    (['seeds=3'], {'budget': {'train_rows': 100}})
    """
    of_studies = [one for one in overrides if one.partition("=")[0].split(".")[0] in SECTIONS]
    return [one for one in overrides if one not in of_studies], parse_overrides(of_studies)


def chosen_tasks(spec: SuiteSpec, names: Sequence[str]) -> tuple[str, ...]:
    """The tasks of these names, in the order of the suite; all if there are no names.

    Raises:
        InputError: There is no task of a name.
    """
    unknown = [name for name in names if name not in spec.tasks]
    if unknown:
        raise InputError(
            [Problem("--tasks", f"There is no task '{name}'.", did_you_mean(name, spec.tasks)) for name in unknown]
        )
    return tuple(name for name in spec.tasks if name in names or not names)


def suite_studies(spec: SuiteSpec, order: SuiteOrder) -> list[Study]:
    """The studies of an order: one per task that is trained alone, otherwise one.

    Raises:
        InputError: A study is invalid, for example because a task has one seed only.
    """
    groups = [(task,) for task in order.tasks] if order.way == "single" else [order.tasks]
    return [study_of(study_fields(spec, order, tasks), Path()) for tasks in groups]


def study_fields(spec: SuiteSpec, order: SuiteOrder, tasks: Sequence[str]) -> dict[str, Any]:
    """The fields of the study of some tasks.

    Args:
        spec: The suite.
        order: What is trained.
        tasks: The tasks that are trained together, or the one that is trained alone.
    """
    recipe = shared_recipe(spec, order.way, tasks)
    name = " ".join([spec.name, order.way, order.model, *(tasks if order.way == "single" else ())])
    model: dict[str, Any] = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    model |= {"warmup": recipe.warmup, "schedule": recipe.schedule}
    sections = {key: value for key, value in order.changes.items() if key != "encoder"}
    fields = {
        "name": name,
        "question": f"How well does {order.model} do on the suite {spec.name} ({spec.revision})?",
        "mixture": {
            "name": spec.name,
            "encoder": {"name": order.encoder, **order.changes.get("encoder", {})},
            "tasks": {task: fields for task, fields in spec.task_fields().items() if task in tasks},
        },
        "designs": [order.way],
        "continued": False,
        "seeds": number_of_seeds(spec, order, tasks),
        "budget": _budget(spec, order, tasks),
        "select": recipe.select or "best",
        "model": {key: value for key, value in model.items() if value is not None},
        "experiment": EXPERIMENT,
        **({} if len(tasks) == 1 else {"exclude": "documents"}),
    }
    return merge(fields, sections)


def number_of_seeds(spec: SuiteSpec, order: SuiteOrder, tasks: Sequence[str]) -> int:
    """The number of seeds of a study: that of the user, or the largest that one of its tasks has."""
    return max(spec.seeds_of(task) for task in tasks) if order.seeds is None else order.seeds


def shared_recipe(spec: SuiteSpec, way: Way, tasks: Sequence[str]) -> RecipeSpec:
    """The recipe of a study: that of its task, or what all tasks of the suite have in common."""
    return spec.recipe_of(tasks[0]) if way == "single" else spec.recipe


def _budget(spec: SuiteSpec, order: SuiteOrder, tasks: Sequence[str]) -> dict[str, Any]:
    epochs = {task: spec.recipe_of(task).epochs for task in tasks}
    changed = order.changes.get("budget", {})
    is_replaced = any(changed.get(key) is not None for key in LENGTHS)
    own = {} if is_replaced else {task: {"passes": n} for task, n in epochs.items() if n is not None}
    known = [n for n in epochs.values() if n is not None]
    evaluations = min(max(known, default=MAX_EVALUATIONS), MAX_EVALUATIONS)
    return {"evaluations": evaluations, **({"tasks": own} if own else {})}


def deviations(spec: SuiteSpec, published: SuiteSpec, order: SuiteOrder, task: str) -> list[str]:
    """How the trainings of a task differ from the suite as it comes, each as a phrase.

    Args:
        spec: The suite with the user's overrides.
        published: The suite without them.
        order: What is trained.
        task: The task.
    """
    changed = [f"{section}.{key}: {value}" for section, key, value in _changed_settings(order)]
    seeds = number_of_seeds(spec, order, (task,) if order.way == "single" else order.tasks)
    stated = published.seeds_of(task)
    return [
        *_recipe_deviations(spec, published, order, task),
        *changed,
        *([f"{seeds} seeds instead of {stated}"] if seeds != stated else []),
        *_partners(published, order, task),
        *_task_deviations(spec, published, task),
    ]


def _partners(published: SuiteSpec, order: SuiteOrder, task: str) -> list[str]:
    """The tasks with which a task was trained."""
    others = [name for name in order.tasks if name != task]
    if order.way == "single" or not others:
        return []
    return [f"trained with {', '.join(others)} ({len(order.tasks)} of the {len(published.tasks)} tasks)"]


def _recipe_deviations(spec: SuiteSpec, published: SuiteSpec, order: SuiteOrder, task: str) -> list[str]:
    wanted, shared = published.recipe_of(task), shared_recipe(spec, order.way, (task,))
    given = spec.recipe_of(task).model_copy(update={key: getattr(shared, key) for key in SHARED})
    replaced = {key: value for section, key, value in _settings(order) if section == "budget" and key in LENGTHS}
    found = []
    for key in RecipeSpec.model_fields:
        value, published_value = getattr(given, key), getattr(wanted, key)
        is_compared = key != "source" and not (key == "epochs" and replaced)
        if is_compared and published_value is not None and value != published_value:
            shown = "our default" if value is None else value
            found.append(f"{key.replace('_', ' ')} {shown} instead of {published_value}")
    found += [f"{key} {value:g} in place of the {wanted.epochs or 'default'} epochs" for key, value in replaced.items()]
    if wanted.epochs is None and not replaced:
        found.append("epochs by the size of the task, because the suite states none")
    return found


def _task_deviations(spec: SuiteSpec, published: SuiteSpec, task: str) -> list[str]:
    """What the user has changed in the task itself, other than where its data are."""
    given, wanted = (_task_settings(one.tasks[task]) for one in (spec, published))
    return [f"{key} {given.get(key)} instead of {wanted.get(key)}" for key in wanted if given.get(key) != wanted[key]]


def _task_settings(task: SuiteTaskSpec) -> dict[str, Any]:
    names = ("head", "labels", "options", "variant")
    data = task.data.model_dump(mode="json", exclude={"path"})
    return {name: getattr(task, name) for name in names} | {f"data.{name}": value for name, value in data.items()}


def _settings(order: SuiteOrder) -> list[tuple[str, str, Any]]:
    """The overrides of the sections that decide results, each with its section and its key."""
    sections = ("budget", "trainer", "encoder")
    return [(section, key, value) for section in sections for key, value in order.changes.get(section, {}).items()]


def _changed_settings(order: SuiteOrder) -> list[tuple[str, str, Any]]:
    """Those that deviate from a recipe; how long a task is trained is compared with its epochs."""
    ignored = {("trainer", "accelerator"), ("trainer", "threads"), *(("budget", key) for key in LENGTHS)}
    return [one for one in _settings(order) if one[:2] not in ignored]
