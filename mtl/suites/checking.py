"""Compares the data of a suite with its published counts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtl.config.mixture import TaskSpec, build_head
from mtl.data.reading import read_rows
from mtl.data.row_problems import head_problems
from mtl.data.store import Store
from mtl.problems import InputError, Problem
from mtl.suites.accepted import Accepted
from mtl.suites.suite_file import Suite
from mtl.suites.suite_spec import Split, SuiteTaskSpec
from mtl.suites.unit_counts import count_units

Status = Literal["equal", "known", "accepted", "wrong", "unpublished"]

_ACCEPT = "--accept-counts"
_ACCEPTED = f"accepted with {_ACCEPT}"
_OTHER_ROWS = "other rows than those that were accepted"


class SplitCheck(NamedTuple):
    """The size of a split.

    Args:
        published: The published number of units; None if none is published.
        found: The number of units in the data; None if there is no such split.
        status: `equal` to the published number, a `known` difference, a difference that the user `accepted`, `wrong`,
            or `unpublished`.
        because: Why it differs, or why it is no longer accepted; empty if neither is known.
        fingerprint: Hash of the rows; empty if there is no such split.
    """

    published: int | None
    found: int | None
    status: Status
    because: str
    fingerprint: str

    def accepted(self) -> SplitCheck:
        """The size once it is accepted, if it is wrong and can be."""
        if self.status != "wrong" or self.found is None:
            return self
        return self._replace(status="accepted", because=_ACCEPTED)


class TaskCheck(NamedTuple):
    """The data of a task.

    Args:
        state: Whether its data are `found`, `missing`, or `unreadable`.
        splits: The splits that are published or there; empty unless the data are found.
        problems: Why the data are unreadable.
    """

    state: Literal["found", "missing", "unreadable"]
    splits: dict[Split, SplitCheck]
    problems: tuple[Problem, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of the rows of all splits; empty if there are none."""
        own = [one.fingerprint for one in self.splits.values()]
        return hashlib.sha256("".join(own).encode()).hexdigest() if any(own) else ""


class SuiteCheck(NamedTuple):
    """The data of a suite.

    Args:
        suite: The suite.
        tasks: The check of each task.
    """

    suite: Suite
    tasks: dict[str, TaskCheck]

    @property
    def found(self) -> list[str]:
        """The tasks whose data are found."""
        return [name for name, task in self.tasks.items() if task.state == "found"]

    @property
    def is_complete(self) -> bool:
        """Whether the data of every task are found."""
        return len(self.found) == len(self.tasks)

    @property
    def problems(self) -> list[Problem]:
        """What must change before the suite can run: wrong counts, unreadable data, or no data at all."""
        if any(task.state != "missing" for task in self.tasks.values()):
            unreadable = [problem for task in self.tasks.values() for problem in task.problems]
            tasks = self.suite.spec.tasks
            return unreadable + [
                _wrong_count(f"tasks.{name}.counts.{split}", tasks[name], one)
                for name, splits in self.wrong().items()
                for split, one in splits.items()
            ]
        advice = "Set the environment variable MTL_DATA to the folder of the data sets, or get one of the data sets."
        return [Problem("tasks", f"The data of no task are found, of {len(self.tasks)}.", advice)]

    def missing(self) -> list[Problem]:
        """The tasks whose data are missing, and how to get them."""
        tasks = {name: self.suite.spec.tasks[name] for name, task in self.tasks.items() if task.state == "missing"}
        return [Problem(f"tasks.{name}", "The data are missing.", how_to_get(task)) for name, task in tasks.items()]

    def wrong(self) -> dict[str, dict[Split, SplitCheck]]:
        """The splits with wrong counts, by task."""
        found = {
            name: {split: one for split, one in task.splits.items() if one.status == "wrong"}
            for name, task in self.tasks.items()
        }
        return {name: splits for name, splits in found.items() if splits}

    def acceptable(self) -> Accepted:
        """The wrong counts as counts to accept; a split that is missing cannot be accepted."""
        return {
            name: {
                split: {
                    "found": one.found,
                    "published": one.published,
                    "unit": self.suite.spec.tasks[name].counts.unit,
                    "fingerprint": one.fingerprint,
                }
                for split, one in splits.items()
                if one.found is not None
            }
            for name, splits in self.wrong().items()
        }

    def accepting(self) -> SuiteCheck:
        """The check once these counts are accepted."""
        return SuiteCheck(
            self.suite,
            {
                name: task._replace(splits={split: one.accepted() for split, one in task.splits.items()})
                for name, task in self.tasks.items()
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON types."""
        spec = self.suite.spec
        return {
            "suite": spec.name,
            "revision": spec.revision,
            "ok": not self.problems,
            "complete": self.is_complete,
            "found": len(self.found),
            "total": len(self.tasks),
            "tasks": {name: self._task_dict(name) for name in self.tasks},
            "errors": [problem.to_dict() for problem in self.problems],
        }

    def _task_dict(self, name: str) -> dict[str, Any]:
        task, check = self.suite.spec.tasks[name], self.tasks[name]
        return {
            "title": task.title,
            "state": check.state,
            "variant": task.variant,
            "unit": task.counts.unit,
            "fingerprint": check.fingerprint,
            "splits": {split: one._asdict() for split, one in check.splits.items()},
            "paths": task.paths,
            "access": task.access.model_dump(mode="json"),
        }


def check_suite(suite: Suite, accepted: Accepted, tasks: Collection[str] | None = None) -> SuiteCheck:
    """Reads the available data of tasks, and counts it.

    Args:
        suite: The suite.
        accepted: Counts that the user has accepted.
        tasks: Names of the tasks; None checks all.
    """
    store = Store()
    fields = suite.spec.task_fields()
    return SuiteCheck(
        suite,
        {
            name: _checked(name, task, TaskSpec(**fields[name]), accepted, store)
            for name, task in suite.spec.tasks.items()
            if tasks is None or name in tasks
        },
    )


def _checked(name: str, task: SuiteTaskSpec, spec: TaskSpec, accepted: Accepted, store: Store) -> TaskCheck:
    if not all(Path(path).exists() for path in task.paths):
        return TaskCheck("missing", {}, ())
    try:
        tables = read_rows(spec.data, f"tasks.{name}.data", store)
    except InputError as error:
        return TaskCheck("unreadable", {}, tuple(error.problems))
    head = build_head(spec, hidden_size=8)
    problems = head_problems(name, head, {split: rows for split, (rows, _) in tables.items()}, spec.data)
    if problems:
        return TaskCheck("unreadable", {}, tuple(problems))
    splits: dict[Split, SplitCheck] = {}
    for split, published in task.counts.published().items():
        if split in tables:
            rows, summary = tables[split]
            found = count_units(task.counts.unit, head, [row for row in rows if head.check(row) is None])
            own = accepted.get(name, {}).get(split, {})
            status, because = _status(task, split, found, summary.fingerprint, own)
            splits[split] = SplitCheck(published, found, status, because, summary.fingerprint)
        elif published is not None:
            splits[split] = SplitCheck(published, None, "wrong", "", "")
    return TaskCheck("found", splits, ())


def _status(
    task: SuiteTaskSpec, split: Split, found: int, fingerprint: str, accepted: Mapping[str, Any]
) -> tuple[Status, str]:
    """The status of a count, and why it differs. An accepted count is one of the accepted rows only."""
    published = task.counts.published()[split]
    if published is None:
        return "unpublished", ""
    if found == published:
        return "equal", ""
    known = task.because(split, found)
    if known is not None:
        return "known", known
    if (accepted.get("found"), accepted.get("published")) != (found, published):
        return "wrong", ""
    return ("accepted", _ACCEPTED) if accepted.get("fingerprint") == fingerprint else ("wrong", _OTHER_ROWS)


def _wrong_count(key: str, task: SuiteTaskSpec, check: SplitCheck) -> Problem:
    unit = task.counts.unit.replace("_", " ")
    found = "no such split" if check.found is None else str(check.found)
    places = " and ".join(f"'{path}'" for path in task.paths)
    advice = f"Check that {places} is the data set of {task.access.source}"
    advice += "." if check.found is None else f", or record the difference with {_ACCEPT} of `mtl suite check`."
    because = f" and {check.because}" if check.because else ""
    return Problem(key, f"must be {check.published} {unit} as published, got {found}{because}.", advice)


def how_to_get(task: SuiteTaskSpec) -> str:
    """Where users get the data of a task, under what terms, and where to put them."""
    access = task.access
    kind = "on agreement" if access.agreement else "public"
    parts = [f"{task.title} ({kind}) from {access.source}. Terms: {access.terms}."]
    parts += [f"Put it into {' and '.join(task.paths)}."]
    return " ".join([*parts, *([access.prepare] if access.prepare else [])])
