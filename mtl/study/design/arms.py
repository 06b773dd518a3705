"""The arms of a study: the same tasks with other settings, or another encoder for the same tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mtl.config import curriculum
from mtl.config.loading import parse_mixture
from mtl.config.mixture import Mixture
from mtl.config.yaml_files import merge, settle_encoder
from mtl.data.examples import TaskData, prepare
from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.design.designs import ARMS
from mtl.study.design.study_spec import StudySpec
from mtl.training.assembly import build_heads

FIELDS = ("batch_size", "learning_rate_factor", "loss_weight", "max_length", "options", "tokens_per_batch")
"""The settings of a task that an arm may change. Another head, metric or data would be another task."""

PRETRAINING_FIELDS = ("curriculum", "encoder")
"""Settings of the mixture that an arm of pretraining may also change."""

_ORIGIN = ("name", "revision", "weights", "tokenizer")
"""Fields of an encoder that say where it comes from, which an arm replaces together."""

Overrides = Mapping[str, Any]
"""Settings of a task by name, as in a mixture; null resets an option of the head to its default."""


class Arm(NamedTuple):
    """An arm whose data is prepared.

    Args:
        mixture: The tasks with the settings of the arm.
        truncated: Number of examples whose text was cut at the maximum length, by task, over all splits.
    """

    mixture: Mixture
    truncated: Mapping[str, int]


def arm_mixture(mixture: Mixture, overrides: Overrides, task: str | None = None) -> Mixture:
    """The mixture with the settings of an arm.

    Args:
        mixture: The tasks of the study.
        overrides: The settings.
        task: The only task whose settings change; None changes those of every task.

    Raises:
        InputError: A setting is invalid; keys of the problems begin with ``tasks.<name>`` if they are of a task.
    """
    own = {key: value for key, value in overrides.items() if key not in PRETRAINING_FIELDS}
    fields = mixture.to_dict()
    fields["tasks"] = {
        name: _merged(spec, own) if task in (None, name) else spec for name, spec in fields["tasks"].items()
    }
    shared = {key: overrides[key] for key in PRETRAINING_FIELDS if key in overrides}
    if isinstance(shared.get("encoder"), Mapping) and "name" in shared["encoder"]:
        fields["encoder"] |= dict.fromkeys(_ORIGIN)
    fields = merge(fields, shared)
    if problems := settle_encoder(fields) if "encoder" in shared else []:
        raise InputError(problems)
    return parse_mixture(fields)


def arm_problems(mixture: Mixture, study: StudySpec) -> list[Problem]:
    """Problems with the settings of the arms of a study."""
    problems = []
    allowed = (*FIELDS, *(PRETRAINING_FIELDS if study.arm_task is not None else ()))
    for arm, overrides in study.arms.items():
        place = _place(study, arm)
        unknown = [name for name in overrides if name not in allowed]
        problems += [
            Problem(f"{place}.{name}", f"An arm cannot set '{name}'.", did_you_mean(name, allowed)) for name in unknown
        ]
        if unknown:
            continue
        try:
            found = arm_mixture(mixture, overrides, study.arm_task)
        except InputError as error:
            problems += [Problem(f"{place}.{_key(one)}", one.message, one.suggestion) for one in error.problems]
        else:
            problems += _curriculum_problems(found, study, place)
    return list(dict.fromkeys(problems))


def prepared_arms(mixture: Mixture, study: StudySpec, data: Mapping[str, TaskData]) -> dict[str, Arm]:
    """The arms with their examples in the store, so that runs need not encode them at the same time.

    Args:
        mixture: The tasks of the study, with its limits.
        study: The study, which has the settings of each arm.
        data: Prepared data of the mixture.

    Raises:
        InputError: The head rejects the settings of an arm, or its rows are not those of the mixture.
    """
    found, problems = {}, []
    for name, overrides in study.arms.items():
        own = arm_mixture(mixture, overrides, study.arm_task)
        prepared = prepare(own, *build_heads(own))
        problems += [
            Problem(_place(study, name), f"'{task}' uses {other} rows of {split}, but {number} in the first arm.")
            for task, splits in data.items()
            for split, content in splits.items()
            if (other := prepared[task][split].example_summary.used) != (number := content.example_summary.used)
        ]
        truncated = {
            task: sum(content.example_summary.truncated for content in splits.values())
            for task, splits in prepared.items()
        }
        found[name] = Arm(own, truncated)
    if problems:
        raise InputError(problems)
    return found


def end_problems(study: StudySpec, arms: Mapping[str, Arm], updates: Mapping[str, int]) -> list[Problem]:
    """Problems with curricula of arms that continue past the end of pretraining.

    Args:
        study: The study.
        arms: Its arms.
        updates: Number of updates of each task in a run.
    """
    return [
        Problem(f"{_place(study, name)}.{one.key}", one.message, "Lower it, or raise the budget of the task.")
        for name, arm in arms.items()
        if study.arm_task is not None
        for one in curriculum.end_problems(arm.mixture, updates[study.arm_task])
    ]


def _curriculum_problems(mixture: Mixture, study: StudySpec, place: str) -> Iterator[Problem]:
    """Keys of a curriculum that change anything but options of the pretraining task, which is trained alone."""
    prefix = f"tasks.{study.arm_task}.options."
    for number, phase in enumerate(mixture.curriculum):
        for key in phase.options:
            if not key.startswith(prefix):
                message = "cannot change, because an arm changes only options of its task."
                yield Problem(f"{place}.curriculum.{number}.{key}", message, f"Change {prefix}….")


def _key(problem: Problem) -> str:
    """The key of a problem, without the task."""
    return problem.key.split(".", 2)[-1] if problem.key.startswith("tasks.") else problem.key


def _place(study: StudySpec, arm: str) -> str:
    return f"designs.{ARMS}.{arm}" if study.arm_design == ARMS else f"designs.{study.arm_design}.arms.{arm}"


def _merged(task: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    merged = merge(task, dict(overrides))
    options = overrides.get("options")
    if isinstance(options, Mapping):
        reset = [name for name, value in options.items() if value is None]
        merged["options"] = {name: value for name, value in merged["options"].items() if name not in reset}
    return merged
