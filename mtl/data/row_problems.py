"""Problems of rows that a head rejects, reported once for each kind with the number of rows."""

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
"""Maximum number of rows that an error names."""

SHOWN_LABELS = 10
"""Maximum number of unknown labels that an error names. More suggest a wrong column, whose text is not shown."""


class UnusableRow(NamedTuple):
    """A row that its head cannot use.

    Args:
        split: Split of the row.
        row: Id of the row.
        rule: The rule that it breaks, from `Head.check`.
        labels: Its unknown labels, from `Head.unknown_labels`.
    """

    split: str
    row: str
    rule: str
    labels: tuple[str, ...]


def row_type_problem(key: str, head: Head, row: Row) -> Problem | None:
    """The problem of a head that does not accept the reader's type of rows; None if it does."""
    if isinstance(row, head.row_type):
        return None
    wanted = head.row_type if isinstance(head.row_type, tuple) else (head.row_type,)
    message = f"The head needs {' or '.join(_ROWS[kind] for kind in wanted)}, but the reader yields {_ROWS[type(row)]}."
    advice = "Choose another head or reader. In jsonl files, rows with mentions have a key `entities`."
    return Problem(f"{key}.head", message, advice)


_ROWS: dict[type[Row], str] = {TextRow: "texts with a label", SpanRow: "texts with mentions"}


def row_problems(task: str, head: Head, rows: Mapping[str, RowTable], data: DataSpec) -> list[Problem]:
    """One problem for each rule that rows of a task break, with the number of rows and the first of them.

    If most rows have a label that the head does not know, one problem of `labels` is reported instead.

    Args:
        task: Name of the task.
        head: Head of the task.
        rows: Rows of the task by split.
        data: Where the rows come from.
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
    problems += [_kind_problem(task, same_rule, data) for same_rule in list(kinds.values())[:LISTED]]
    more = sum(map(len, list(kinds.values())[LISTED:]))
    return [*problems, Problem(f"tasks.{task}", f"{more} more rows break similar rules.")] if more else problems


def _labels_problem(task: str, unusable: Sequence[UnusableRow], num_rows: int, data: DataSpec) -> Problem:
    found = Counter(label for row in unusable for label in dict.fromkeys(row.labels))
    named = ", ".join(f"{label} in {_counted(count)}" for label, count in found.most_common())
    first = unusable[0]
    return Problem(
        f"tasks.{task}.labels",
        f"Most rows have an unknown label ({len(unusable)} of {_counted(num_rows)}, first "
        f"{_named(first, data)} of {first.split}), got "
        f"{named if len(found) <= SHOWN_LABELS else f'{len(found)} distinct labels'}.",
        "Fix `labels` in the mixture, or check which column the reader uses as the label.",
    )


def _kind_problem(task: str, unusable: Sequence[UnusableRow], data: DataSpec) -> Problem:
    """The problem of rows that break the same rule."""
    first, several = unusable[0], len(unusable) > 1
    key = f"tasks.{task}.{first.split} (row {_named(first, data)})"
    fixes = [f"Fix the {'rows' if several else 'row'}"] + ["add the label to `labels`"] * bool(several and first.labels)
    advice = f"{', '.join(fixes)}, or set `data.on_bad_row: skip`."
    if not several:
        return Problem(key, f"{first.rule}.", advice)
    by_split = Counter(row.split for row in unusable)
    counts = ", ".join(f"{count} of {split}" for split, count in by_split.items())
    ids = [row.row for row in unusable[:SHOWN_ROWS]] + ["…"] * (len(unusable) > SHOWN_ROWS)
    return Problem(key, f"{first.rule}. Same problem in {len(unusable)} rows ({counts}): {', '.join(ids)}.", advice)


def _named(row: UnusableRow, data: DataSpec) -> str:
    """A row's id, with the source split if the id looks like one of another split."""
    cut = data.split
    if cut is None or row.split not in cut.fractions or row.split == cut.source:
        return row.row
    return f"{row.row}, cut from {cut.source}"


def _counted(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
