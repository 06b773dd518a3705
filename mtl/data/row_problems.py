"""Problems of rows that a head rejects, reported once for each kind with the number of rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heads import Head, Row, SpanRow, TextRow, row_to_dict
from mtl.data.reading import LISTED
from mtl.hashed_ids import shown_id
from mtl.messages import counted
from mtl.problems import Problem
from mtl.redaction import repeats, strings, without

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
        row: Id of the row, as it is shown.
        rule: The rule that it breaks, from `row_rule`, without text of the row.
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


def row_rule(head: Head, row: Row, *, training: bool) -> str | None:
    """The rule that a row of the right type breaks, without text of the row; None if its head can use it.

    Args:
        head: The head.
        row: The row.
        training: Whether the row is to be trained on, and not only scored or predicted.
    """
    if row.weight != 1 and not head.weighs_rows:
        return f"the weight must be 1, because the head weighs no rows, got {row.weight:g}"
    if isinstance(row, TextRow) and row.probabilities is not None and not head.soft_labels:
        return "the row must have no probabilities, because the head learns from no soft labels"
    if isinstance(row, TextRow) and row.annotated is not None and not head.masks_labels:
        return "the row must not name annotated labels, because the head masks no labels of texts"
    problem = head.check(row)
    return head.training_problem(row) if problem is None and training else problem


def head_problems(
    task: str, head: Head, rows: Mapping[str, RowTable], data: DataSpec, *, shared: bool = False
) -> list[Problem]:
    """Problems of rows that a head cannot read: their type, otherwise those of `row_problems`, unless they are skipped.

    Args:
        task: Name of the task.
        head: Head of the task.
        rows: Rows of the task by split.
        data: Where the rows come from.
        shared: As in `row_problems`.
    """
    of_type = (row_type_problem(f"tasks.{task}", head, row) for table in rows.values() for row in table)
    wrong_type = next((problem for problem in of_type if problem is not None), None)
    if wrong_type is not None:
        return [wrong_type]
    return [] if data.skips_bad_rows else row_problems(task, head, rows, data, shared=shared)


def row_problems(
    task: str, head: Head, rows: Mapping[str, RowTable], data: DataSpec, *, shared: bool = False
) -> list[Problem]:
    """One problem for each rule that rows of a task break, with the number of rows and the first of them.

    If most rows have a label that the head does not know, one problem of `labels` is reported instead.

    Args:
        task: Name of the task.
        head: Head of the task.
        rows: Rows of the task by split.
        data: Where the rows come from.
        shared: Whether another task reads the same rows, so that none can be skipped for this task alone.
    """
    shown: dict[str, str] = {}
    unusable = []
    found: set[str] = set()
    for split, table in rows.items():
        for row in table:
            rule = row_rule(head, row, training=split == "train") if isinstance(row, head.row_type) else None
            if rule is None and head.is_labelled(row):
                found.update(label for label, count in head.label_counts(row).items() if count)
            elif rule is not None:
                if rule not in shown:  # often the same for all rows
                    shown[rule] = shown_rule(rule, row)
                unusable.append(UnusableRow(split, shown_id(row.id), shown[rule], tuple(head.unknown_labels(row))))
    outside = [row for row in unusable if row.labels]
    absent = [label for label in head.labels if label not in found]
    problems = []
    if 2 * len(outside) > sum(map(len, rows.values())):
        problems.append(_labels_problem(task, outside, sum(map(len, rows.values())), data))
        unusable = [row for row in unusable if not row.labels]
    kinds: dict[str, list[UnusableRow]] = {}
    for one in unusable:
        kinds.setdefault(_cause(one.rule), []).append(one)
    problems += [
        _kind_problem(task, same_rule, data, absent, shared=shared) for same_rule in list(kinds.values())[:LISTED]
    ]
    problems = [_with_class_advice(problem, head.labels) for problem in problems]
    more = sum(map(len, list(kinds.values())[LISTED:]))
    return [*problems, Problem(f"tasks.{task}", f"{more} more rows break similar rules.")] if more else problems


def shown_rule(rule: str, row: Row) -> str:
    """A rule from `row_rule` without text of the row, whatever the head quotes.

    >>> row = TextRow("1", "1", "The fever was high.", label="Seen by the nurse")
    >>> shown_rule("the label must be one of: a, b; got 'Seen by the nurse'", row)
    'the label must be one of: a, b; got a text of 17 characters'
    """
    rule = without(rule, strings(row_to_dict(row)))
    if any(repeats(rule, text) for text in (row.text, row.text_pair or "")):
        return f"a rule of its head (the message of {len(rule)} characters repeats text of the row)"
    return rule


def shown_refusals(refused: Sequence[str], rows: RowTable) -> list[str]:
    """Bad rows of `ExampleSummary.refused`, each "row ID: RULE", with the id and the rule as they are shown."""
    if not refused:
        return []
    indices = {row_id: index for index, row_id in enumerate(rows.ids().tolist())}
    lines = []
    for line in refused:
        parts = line.removeprefix("row ").split(": ")  # an id may contain a colon too
        cuts = [cut for cut in range(1, len(parts)) if ": ".join(parts[:cut]) in indices]
        row = rows[indices[": ".join(parts[: cuts[-1]])]]
        lines.append(f"row {shown_id(row.id)}: {shown_rule(': '.join(parts[cuts[-1] :]), row)}")
    return lines


def _labels_problem(task: str, unusable: Sequence[UnusableRow], num_rows: int, data: DataSpec) -> Problem:
    found = Counter(label for row in unusable for label in dict.fromkeys(row.labels))
    named = ", ".join(f"{label} in {counted(count, 'row')}" for label, count in found.most_common())
    first = unusable[0]
    return Problem(
        f"tasks.{task}.labels",
        f"Most rows have an unknown label ({len(unusable)} of {counted(num_rows, 'row')}, first "
        f"{_named(first, data)} of {first.split}), got "
        f"{named if len(found) <= SHOWN_LABELS else f'{len(found)} distinct labels'}.",
        "Fix `labels` in the mixture, or check which column the reader uses as the label.",
    )


def _kind_problem(
    task: str, unusable: Sequence[UnusableRow], data: DataSpec, absent: Sequence[str], *, shared: bool
) -> Problem:
    """The problem of rows that break the same rule; `absent` are the labels of the task that no row has."""
    first, several = unusable[0], len(unusable) > 1
    key = f"tasks.{task}.{first.split} (row {_named(first, data)})"
    fixes = [f"Fix the {'rows' if several else 'row'}"]
    if several and first.labels:
        unused = [name for name in absent if any(f"'{name}'" in label for label in first.labels)]  # "did you mean …"
        fixes += [f"correct `labels`, since no row has '{unused[0]}'" if unused else "add the label to `labels`"]
    last = "leave the label empty" if shared else "set `data.on_bad_row: skip`"
    advice = f"{', '.join(fixes)}, or {last}."
    if not several:
        return Problem(key, f"{first.rule}.", advice)
    by_split = Counter(row.split for row in unusable)
    counts = ", ".join(f"{count} of {split}" for split, count in by_split.items())
    ids = [row.row for row in unusable[:SHOWN_ROWS]] + ["…"] * (len(unusable) > SHOWN_ROWS)
    others = f"The same rule is broken in {len(unusable)} rows ({counts}): {', '.join(ids)}."
    return Problem(key, f"{_with_all_findings(unusable)}. {others}", advice)


def _with_class_advice(problem: Problem, labels: Sequence[str]) -> Problem:
    """The problem with advice on a class such as 1 that was saved as 1.0, as pandas does if a column has gaps."""
    found = re.search(r"got (?:the number |')(\d+)\.0\b", problem.message)
    if found is None or found[1] not in labels:
        return problem
    advice = f"The class {found[1]} must be written {found[1]}, not {found[1]}.0."
    return Problem(problem.key, problem.message, f"{problem.suggestion} {advice}")


def _with_all_findings(unusable: Sequence[UnusableRow]) -> str:
    """The rule that several rows break, with what was found in them, or in the first of them if that is too much."""
    rule = unusable[0].rule
    found = Counter(row.rule.removeprefix(_cause(rule))[len(", got ") :] for row in unusable)
    if len(found) == 1:
        return rule
    if len(found) > SHOWN_LABELS:
        return f"{rule}, and {len(found) - 1} other values"
    named = ", ".join(f"{value} in {counted(count, 'row')}" for value, count in found.most_common())
    return f"{_cause(rule)}; got {named}"


def _cause(rule: str) -> str:
    """The rule without what was found, so that rows with one cause are one problem.

    >>> _cause("the label must be one of: a, b; got 'x'")
    'the label must be one of: a, b'
    """
    return re.split(r"[,;] got ", rule, maxsplit=1)[0]


def _named(row: UnusableRow, data: DataSpec) -> str:
    """A row's id, with the source split if the id looks like one of another split."""
    cut = data.split
    if cut is None or row.split not in cut.splits or row.split == cut.source:
        return row.row
    return f"{row.row}, cut from {cut.source}"
