"""What is wrong with the rows of a task for its head: told once for each kind, however many rows share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heads import Head, Row, SpanRow, TextRow
from mtl.faults import Fault
from mtl.reading import LISTED

if TYPE_CHECKING:
    from mtl.mixture import DataSpec
    from mtl.store import RowTable

SHOWN_ROWS = 5
"""Ids that a fault of many rows names."""

SHOWN_LABELS = 10
"""Unknown labels that a fault of `labels` names. More different ones look like another column, and aren't shown."""


class Problem(NamedTuple):
    """A row that its head can't read.

    Args:
        split: Of the row.
        row: Its id.
        rule: What is wrong, in the words of `Head.check`.
        labels: What `Head.unknown_labels` says of it.
    """

    split: str
    row: str
    rule: str
    labels: tuple[str, ...]


def row_type_fault(key: str, head: Head, row: Row) -> Fault | None:
    """What is wrong where the reader gives other rows than the head reads."""
    if isinstance(row, head.row_type):
        return None
    wanted = head.row_type if isinstance(head.row_type, tuple) else (head.row_type,)
    message = f"This head reads {' or '.join(_ROWS[kind] for kind in wanted)}; the reader gives {_ROWS[type(row)]}."
    return Fault(f"{key}.head", message, "Choose another head or reader; in jsonl the key `entities` makes mentions.")


_ROWS: dict[type[Row], str] = {TextRow: "texts with a label", SpanRow: "texts with mentions"}


def row_faults(task: str, head: Head, rows: Mapping[str, RowTable], data: DataSpec) -> list[Fault]:
    """Every kind of fault of a task's rows, with how many rows share it and the first of them.

    Where most rows have a label that the head doesn't know, the fault is that of `labels`, and told as one.

    Args:
        task: Its name.
        head: Its head.
        rows: Its rows by split.
        data: Where they are from.
    """
    problems = [
        Problem(split, row.id, rule, tuple(head.unknown_labels(row)))
        for split, table in rows.items()
        for row in table
        if isinstance(row, head.row_type) and (rule := head.check(row)) is not None
    ]
    outside = [problem for problem in problems if problem.labels]
    faults = []
    if 2 * len(outside) > sum(map(len, rows.values())):
        faults.append(_labels_fault(task, outside, sum(map(len, rows.values())), data))
        problems = [problem for problem in problems if not problem.labels]
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.rule, []).append(problem)
    faults += [_kind_fault(task, alike, data) for alike in list(kinds.values())[:LISTED]]
    more = sum(map(len, list(kinds.values())[LISTED:]))
    return [*faults, Fault(f"tasks.{task}", f"{more} more rows break a rule like these.")] if more else faults


def _labels_fault(task: str, problems: Sequence[Problem], num_rows: int, data: DataSpec) -> Fault:
    found = Counter(label for problem in problems for label in dict.fromkeys(problem.labels))
    named = ", ".join(f"{label} in {_counted(count)}" for label, count in found.most_common())
    first = problems[0]
    return Fault(
        f"tasks.{task}.labels",
        f"Most rows have a label that isn't among them: {len(problems)} of {_counted(num_rows)}, first "
        f"{_named(first, data)} of {first.split}; found "
        f"{named if len(found) <= SHOWN_LABELS else f'{len(found)} different ones'}.",
        "Mend `labels` in the mixture, or check what the reader takes for the label.",
    )


def _kind_fault(task: str, problems: Sequence[Problem], data: DataSpec) -> Fault:
    """One fault of rows that are alike wrong."""
    first, several = problems[0], len(problems) > 1
    key = f"tasks.{task}.{first.split} (row {_named(first, data)})"
    ways = [f"Mend the {'rows' if several else 'row'}"] + ["add the label to `labels`"] * bool(several and first.labels)
    advice = f"{', '.join(ways)}, or set data.refuse_bad_rows: true."
    if not several:
        return Fault(key, f"{first.rule}.", advice)
    by_split = Counter(problem.split for problem in problems)
    counts = ", ".join(f"{count} of {split}" for split, count in by_split.items())
    ids = [problem.row for problem in problems[:SHOWN_ROWS]] + ["…"] * (len(problems) > SHOWN_ROWS)
    return Fault(key, f"{first.rule}; the same in {len(problems)} rows ({counts}): {', '.join(ids)}.", advice)


def _named(problem: Problem, data: DataSpec) -> str:
    """A row's id, and where that reads like one of another split, the split it was cut from."""
    cut = data.split
    if cut is None or problem.split not in cut.fractions or problem.split == cut.source:
        return problem.row
    return f"{problem.row}, cut from {cut.source}"


def _counted(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
