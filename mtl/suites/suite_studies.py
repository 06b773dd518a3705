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
from mtl.study.design.spec import Study, study_of
from mtl.suites.suite_spec import RecipeSpec, SuiteSpec

Way = Literal["single", "joint", "refine_finetune"]
"""Each task alone, all tasks together, or all together and then each alone: names of designs of studies."""

WAYS: tuple[Way, ...] = get_args(Way)

SECTIONS = ("budget", "trainer", "launcher", "encoder")
"""Keys that override those of the studies, not of the suite."""

MAX_EVALUATIONS = 10
"""Most evaluations on dev where the recipe selects the best one; with fewer epochs, there is one after each."""

EXPERIMENT = "biomtl-suites"


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
    seeds = max(spec.seeds_of(task) for task in tasks) if order.seeds is None else order.seeds
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
        "seeds": seeds,
        "budget": _budget(spec, order, tasks),
        "select": recipe.select or "best",
        "model": {key: value for key, value in model.items() if value is not None},
        "experiment": EXPERIMENT,
        **({} if len(tasks) == 1 else {"exclude": "documents"}),
    }
    return merge(fields, sections)


def shared_recipe(spec: SuiteSpec, way: Way, tasks: Sequence[str]) -> RecipeSpec:
    """The recipe of a study: that of its task, or what all tasks of the suite have in common."""
    return spec.recipe_of(tasks[0]) if way == "single" else spec.recipe


def _budget(spec: SuiteSpec, order: SuiteOrder, tasks: Sequence[str]) -> dict[str, Any]:
    epochs = {task: spec.recipe_of(task).epochs for task in tasks}
    changed = order.changes.get("budget", {})
    is_replaced = any(changed.get(key) is not None for key in ("updates", "passes"))
    own = {} if is_replaced else {task: {"passes": n} for task, n in epochs.items() if n is not None}
    known = [n for n in epochs.values() if n is not None]
    evaluations = min(max(known, default=MAX_EVALUATIONS), MAX_EVALUATIONS)
    return {"evaluations": evaluations, **({"tasks": own} if own else {})}


def deviations(spec: SuiteSpec, published: SuiteSpec, order: SuiteOrder, task: str) -> list[str]:
    """How the trainings of a task differ from the recipe of the suite as it comes, each as a phrase.

    Args:
        spec: The suite with the user's overrides.
        published: The suite without them.
        order: What is trained.
        task: The task.
    """
    wanted, recipe = published.recipe_of(task), spec.recipe_of(task)
    shared = shared_recipe(spec, order.way, (task,))
    given = recipe.model_copy(
        update={key: getattr(shared, key) for key in ("learning_rate", "weight_decay", "warmup", "schedule", "select")}
    )
    budget = dict(order.changes.get("budget", {}))
    replaced = {key: budget.pop(key) for key in ("updates", "passes") if budget.get(key) is not None}
    found = [
        _deviation(key, getattr(given, key), getattr(wanted, key))
        for key in RecipeSpec.model_fields
        if key not in ("source", *(["epochs"] if replaced else []))
        and getattr(wanted, key) is not None
        and getattr(given, key) != getattr(wanted, key)
    ]
    found += [f"{key} {value:g} in place of the {wanted.epochs or 'default'} epochs" for key, value in replaced.items()]
    if wanted.epochs is None and not replaced:
        found.append("epochs by the size of the task, because the suite states none")
    found += [f"budget.{key}: {value}" for key, value in budget.items()]
    found += [f"encoder.{key}: {value}" for key, value in order.changes.get("encoder", {}).items()]
    seeds, stated = order.seeds or spec.seeds_of(task), published.seeds_of(task)
    return found + ([f"{seeds} seeds instead of {stated}"] if seeds != stated and order.way == "single" else [])


def _deviation(key: str, given: Any, wanted: Any) -> str:
    shown = "our default" if given is None else given
    return f"{key.replace('_', ' ')} {shown} instead of {wanted}"
