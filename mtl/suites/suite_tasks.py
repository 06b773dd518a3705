"""Tasks of suites by name, for commands that take a task."""

from __future__ import annotations

from collections.abc import Collection

from mtl.config.mixture import TaskSpec
from mtl.evaluation.metric_variants import variants_of
from mtl.suites.suite_file import known_suites, load_suite


def suite_task(name: str) -> TaskSpec | None:
    """A task of a suite that is found by name; None if no suite has it.

    Args:
        name: Name of the task, which starts with that of its suite.

    Raises:
        InputError: The file of the suite is invalid.
    """
    for suite in known_suites():
        if name.startswith(f"{suite}_"):
            fields = load_suite(suite).spec.task_fields()
            if name in fields:
                return TaskSpec(**fields[name])
    return None


def variants_of_task(spec: TaskSpec, metrics: Collection[str]) -> dict[str, str]:
    """The variants of a task's metrics, by metric.

    Args:
        spec: The task.
        metrics: Names of metrics; those without a variant are left out.
    """
    return {name: one for name, one in variants_of(spec.head, spec.head_options).items() if name in metrics}
