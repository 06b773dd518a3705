"""The design `sizes`: the gain from each partner when only some of the target's own training rows are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtl.problems import did_you_mean
from mtl.study.design.runs import Comparison, Run

SIZES = "sizes"
"""The design whose gains form a learning curve of transfer."""

ALL = "all"
"""The size that stands for all training rows of the target."""

EXAMPLE = "{rows: [100, 300, all]}"


def at_sizes(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    """Each target with some of its rows and each partner with all of its rows, compared with the same rows alone."""
    for target, sizes in sizes_of(tasks, options).items():
        for partner in options.get("partners", tasks):
            pair = tuple(task for task in tasks if task in (target, partner))
            for size in sizes if partner != target else ():
                data = variant(target, size)
                treated, reference = (Run(trained, seed, data=data) for trained in (pair, (target,)))
                yield Comparison(SIZES, target, f"{partner}{_at(size)}", seed, treated, reference)


def sizes_of(tasks: Sequence[str], options: Any) -> dict[str, list[Any]]:
    """The sizes of each target: numbers of training rows, and perhaps `ALL`."""
    rows = options["rows"]
    return (
        {task: rows[task] for task in tasks if task in rows}
        if isinstance(rows, Mapping)
        else dict.fromkeys(tasks, rows)
    )


def variant(target: str, size: Any) -> str:
    """The name of the data of a run in which a target has a given number of training rows; empty for all."""
    return "" if size == ALL else f"{target}{_at(size)}"


def option_problems(options: Any, tasks: Sequence[str]) -> list[str]:
    """Problems with the options, each as a message."""
    if not isinstance(options, Mapping) or "rows" not in options or not set(options) <= {"rows", "partners"}:
        return [f"must have the option rows and may have partners, such as {EXAMPLE}."]
    rows, partners = options["rows"], options.get("partners", list(tasks))
    problems = []
    if not isinstance(partners, list) or not partners:
        problems.append("partners must be a list of tasks, such as partners: [a, b].")
        partners = []
    named = [*(rows if isinstance(rows, Mapping) else ()), *partners]
    problems += [f"There is no task '{name}'. {did_you_mean(str(name), tasks)}" for name in named if name not in tasks]
    for sizes in rows.values() if isinstance(rows, Mapping) and rows else [rows]:
        if not isinstance(sizes, list) or not sizes or not all(map(_is_size, sizes)):
            problems.append(f"rows must list numbers of rows above 0 or {ALL}, in total or by target, got {sizes!r}.")
        elif len(set(sizes)) < len(sizes):
            problems.append(f"Each size must be listed only once, got {sizes}.")
    return problems


def _is_size(value: Any) -> bool:
    return value == ALL or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _at(size: Any) -> str:
    return f" at {size} rows"
