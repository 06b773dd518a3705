"""What is wrong with the rows of a task for its head: told once for each kind, however many rows share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heads import Head, Row, SpanRow, TextRow
from mtl.data.reading import LISTED
from mtl.problems import Problem

if TYPE_CHECKING:
    from mtl.config.mixture import DataSpec
    from mtl.data.store import RowTable

DECIDES_RESULTS = False

SHOWN_ROWS = 5
"""Ids that a problem of many rows names."""

SHOWN_LABELS = 10
"""Unknown labels that a problem of `labels` names. More different ones look like another column, and aren't shown."""


class UnusableRow(NamedTuple):
    """A row that its head cannot use.

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


def row_type_problem(key: str, head: Head, row: Row) -> Problem | None:
    """What is wrong where the reader gives other rows than the head reads."""
    if isinstance(row, head.row_type):
        return None
    wanted = head.row_type if isinstance(head.row_type, tuple) else (head.row_type,)
    message = f"This head reads {' or '.join(_ROWS[kind] for kind in wanted)}; the reader gives {_ROWS[type(row)]}."
    return Problem(f"{key}.head", message, "Choose another head or reader; in jsonl the key `entities` makes mentions.")


_ROWS: dict[type[Row], str] = {TextRow: "texts with a label", SpanRow: "texts with mentions"}


def row_problems(task: str, head: Head, rows: Mapping[str, RowTable], data: DataSpec) -> list[Problem]:
    """Every kind of problem of a task's rows, with how many rows share it and the first of them.

    Where most rows have a label that the head doesn't know, the problem is that of `labels`, and told as one.

    Args:
        task: Its name.
        head: Its head.
        rows: Its rows by split.
        data: Where they are from.
    """
    unusable = [
        UnusableRow(split, row.id, rule, tuple(head.unknown_labels(row)))
        for split, table in rows.items()
        for row in table
        if isinstance(row, head.row_type) and (rule := head.check(row)) is not None
    ]
    outside = [row for row in unusable if row.labels]
    problems = []
    if 2 * len(outside) > sum(map(len, rows.values())):
        problems.append(_labels_problem(task, outside, sum(map(len, rows.values())), data))
        unusable = [row for row in unusable if not row.labels]
    kinds: dict[str, list[UnusableRow]] = {}
    for row in unusable:
        kinds.setdefault(row.rule, []).append(row)
    problems += [_kind_problem(task, alike, data) for alike in list(kinds.values())[:LISTED]]
    more = sum(map(len, list(kinds.values())[LISTED:]))
    return [*problems, Problem(f"tasks.{task}", f"{more} more rows break a rule like these.")] if more else problems


def _labels_problem(task: str, unusable: Sequence[UnusableRow], num_rows: int, data: DataSpec) -> Problem:
    found = Counter(label for row in unusable for label in dict.fromkeys(row.labels))
    named = ", ".join(f"{label} in {_counted(count)}" for label, count in found.most_common())
    first = unusable[0]
    return Problem(
        f"tasks.{task}.labels",
        f"Most rows have a label that isn't among them: {len(unusable)} of {_counted(num_rows)}, first "
        f"{_named(first, data)} of {first.split}; found "
        f"{named if len(found) <= SHOWN_LABELS else f'{len(found)} different ones'}.",
        "Mend `labels` in the mixture, or check what the reader takes for the label.",
    )


def _kind_problem(task: str, unusable: Sequence[UnusableRow], data: DataSpec) -> Problem:
    """One problem of rows that are alike wrong."""
    first, several = unusable[0], len(unusable) > 1
    key = f"tasks.{task}.{first.split} (row {_named(first, data)})"
    ways = [f"Fix the {'rows' if several else 'row'}"] + ["add the label to `labels`"] * bool(several and first.labels)
    advice = f"{', '.join(ways)}, or set `data.on_bad_row: skip`."
    if not several:
        return Problem(key, f"{first.rule}.", advice)
    by_split = Counter(row.split for row in unusable)
    counts = ", ".join(f"{count} of {split}" for split, count in by_split.items())
    ids = [row.row for row in unusable[:SHOWN_ROWS]] + ["…"] * (len(unusable) > SHOWN_ROWS)
    return Problem(key, f"{first.rule}; the same in {len(unusable)} rows ({counts}): {', '.join(ids)}.", advice)


def _named(row: UnusableRow, data: DataSpec) -> str:
    """A row's id, and where that reads like one of another split, the split it was cut from."""
    cut = data.split
    if cut is None or row.split not in cut.fractions or row.split == cut.source:
        return row.row
    return f"{row.row}, cut from {cut.source}"


def _counted(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
