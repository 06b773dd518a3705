"""The arms of a study: the same tasks with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mtl.config.loading import parse_mixture
from mtl.config.mixture import Mixture
from mtl.config.yaml_files import merge
from mtl.data.examples import TaskData, prepare
from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.design.designs import ARMS
from mtl.training.assembly import build_heads

FIELDS = ("batch_size", "learning_rate_factor", "loss_weight", "max_length", "options", "tokens_per_batch")
"""The settings of a task that an arm may change. Another head, metric or data would be another task."""

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


def arm_mixture(mixture: Mixture, overrides: Overrides) -> Mixture:
    """The mixture with the settings of an arm in each of its tasks.

    Raises:
        InputError: A setting is invalid; keys of the problems begin with ``tasks.<name>``.
    """
    fields = mixture.to_dict()
    fields["tasks"] = {name: _merged(task, overrides) for name, task in fields["tasks"].items()}
    return parse_mixture(fields)


def arm_problems(mixture: Mixture, arms: Mapping[str, Overrides]) -> list[Problem]:
    """Problems with the settings of the arms.

    Args:
        mixture: The tasks of the study.
        arms: Settings of each arm by name.
    """
    problems = []
    for arm, overrides in arms.items():
        place = f"designs.{ARMS}.{arm}"
        unknown = [name for name in overrides if name not in FIELDS]
        problems += [
            Problem(f"{place}.{name}", f"An arm cannot set '{name}'.", did_you_mean(name, FIELDS)) for name in unknown
        ]
        if unknown:
            continue
        try:
            arm_mixture(mixture, overrides)
        except InputError as error:
            found = ((one, one.key.split(".", 2)[-1]) for one in error.problems)
            problems += [Problem(f"{place}.{key}", one.message, one.suggestion) for one, key in found]
    return list(dict.fromkeys(problems))


def prepared_arms(mixture: Mixture, arms: Mapping[str, Overrides], data: Mapping[str, TaskData]) -> dict[str, Arm]:
    """The arms with their examples in the store, so that runs need not encode them at the same time.

    Args:
        mixture: The tasks of the study, with its limits.
        arms: Settings of each arm by name.
        data: Prepared data of the mixture.

    Raises:
        InputError: The head rejects the settings of an arm, or its rows are not those of the mixture.
    """
    found, problems = {}, []
    for name, overrides in arms.items():
        own = arm_mixture(mixture, overrides)
        prepared = prepare(own, *build_heads(own))
        problems += [
            Problem(f"designs.{ARMS}.{name}", f"'{task}' uses {other} rows of {split}, but {number} in the first arm.")
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


def _merged(task: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    merged = merge(task, dict(overrides))
    options = overrides.get("options")
    if isinstance(options, Mapping):
        reset = [name for name, value in options.items() if value is None]
        merged["options"] = {name: value for name, value in merged["options"].items() if name not in reset}
    return merged
