"""What intervals resample: documents, or what several documents share, such as a patient.

Two notes of one patient are not independent, so resampling notes gives intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heads import Row
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.data.examples import SplitData

DECIDES_RESULTS = False

DOCUMENT = "document"

KEY = "evaluation.unit"

Units = Mapping[str, str]
"""The unit of each document of a split."""


def units_of(rows: Iterable[Row], unit: str, place: str) -> Units | None:
    """The unit of each document of a split; None if documents are the units.

    They also are if no row has the key, as in the tasks of a mixture whose data does not tell patients apart.

    Args:
        rows: Rows of the split.
        unit: `document`, or a key of the rows' `meta`.
        place: Task and split, for errors.

    Raises:
        InputError: Some rows have a value and others have none, or rows of one document have different values.

    >>> from heads import TextRow
    >>> rows = [TextRow(f"{n}", f"{n}", "Fever.", meta={"patient": f"P{n // 2}"}) for n in range(3)]
    >>> units_of(rows, "patient", "notes, test")
    {'0': 'P0', '1': 'P0', '2': 'P1'}
    """
    if unit == DOCUMENT:
        return None
    found: dict[str, str] = {}
    without: list[str] = []
    divided: dict[str, None] = {}
    for row in rows:
        value = row.meta.get(unit, "")
        if not value:
            without.append(row.id)
        elif found.setdefault(row.document, value) != value:
            divided[row.document] = None
    if not found:
        return None
    problems = []
    if without:
        message = f"{len(without)} rows of {place} have no '{unit}' in their meta, first {quoted_id(without[0])}."
        problems.append(Problem(KEY, message, f"Give every row a value, or use the unit '{DOCUMENT}'."))
    if divided:
        first = quoted_id(next(iter(divided)))
        message = f"{len(divided)} documents of {place} have rows with different values of '{unit}', first {first}."
        problems.append(Problem(KEY, message, "Give the rows of a document one value, or choose another unit."))
    if problems:
        raise InputError(problems)
    return found


def units_of_split(tasks: Mapping[str, Mapping[str, SplitData]], split: str, unit: str) -> dict[str, Units | None]:
    """The units of a split of each task that has it; see `units_of`.

    Raises:
        InputError: The units of a task are incomplete or ambiguous.
    """
    return {
        task: units_of(splits[split].rows, unit, f"{task}, {split}")
        for task, splits in tasks.items()
        if split in splits
    }


def unit_problems(tasks: Mapping[str, Mapping[str, SplitData]], unit: str) -> list[Problem]:
    """The problems with the units of dev and test of all tasks; one if no row has the key."""
    problems, known = [], False
    for task, splits in tasks.items():
        for split in splits.keys() - {"train"}:
            try:
                known |= units_of(splits[split].rows, unit, f"{task}, {split}") is not None
            except InputError as error:
                problems += error.problems
    if unit != DOCUMENT and not known and not problems:
        message = f"No row of dev or test has '{unit}' in its meta."
        problems.append(Problem(KEY, message, "Name it in the `meta` of a task's reader."))
    return problems


class UnitCounts(NamedTuple):
    """The units of a split.

    Args:
        units: Number of units.
        in_train: Number of them that train has too.
    """

    units: int
    in_train: int


def unit_counts(splits: Mapping[str, SplitData], unit: str) -> dict[str, UnitCounts]:
    """The units of dev and test of a task, without splits in which documents are the units."""
    if unit == DOCUMENT:
        return {}
    found = {split: {row.meta[unit] for row in one.rows if row.meta.get(unit)} for split, one in splits.items()}
    train = found.pop("train", set())
    return {split: UnitCounts(len(units), len(units & train)) for split, units in found.items() if units}


def unit_numbers(documents: Sequence[str], units: Units | None) -> NDArray[np.intp]:
    """The number of the unit of each document, from 0, [D]; a document may occur several times.

    >>> unit_numbers(["b", "c", "a"], {"a": "P2", "b": "P1", "c": "P2"}).tolist()
    [0, 1, 1]
    >>> unit_numbers(["b", "a", "b"], None).tolist()
    [1, 0, 1]
    """
    names = [document if units is None else units[document] for document in documents]
    numbers: NDArray[np.intp] = np.unique(np.array(names, dtype=str), return_inverse=True)[1]
    return numbers
