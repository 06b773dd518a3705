"""How a gain is shown: its place in a matrix, its mark, its numbers. Pictures, pages and terminal share it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.statistics.findings import Family, Findings, Gain
from mtl.study.statistics.significance import Interval, floor

State = Literal["helps", "hurts", "undecided", "unresolvable", "control", "missing"]

MISSING = "–"
MARKS: Mapping[State, str] = {
    "helps": "▲",
    "hurts": "▼",
    "undecided": "·",
    "unresolvable": "?",
    "control": "",
    "missing": "",
}
NOISE_FLOOR = "replicate"
"""The control whose interval tells what mere seeds give."""

ONE_COLUMN = "its company"

_COMPANIES = {
    "sequential": "after {}",
    "refine_finetune": "fine-tuned from the joint encoder rather than from its own",
    "leave_one_out": "when {} joins all others",
    "replicate": "with other seeds",
    "continued": "trained alone once more",
    "shuffled_partner": "with {}, labels permuted",
}
"""Of designs in which a partner isn't simply trained with the target."""


class Matrix(NamedTuple):
    """The gains of a family as rows and columns.

    Args:
        rows: Targets.
        columns: Partners; `ONE_COLUMN` alone where every target has a company of its own.
        cells: By target and column; a pair that isn't part of the design has none.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Gain]

    @property
    def has_one_column(self) -> bool:
        return self.columns == (ONE_COLUMN,)


def matrix_of(findings: Findings, family: Family) -> Matrix:
    """The matrix of a family, tasks in the order of the study."""
    found = {gain.target for gain in family.gains}
    rows = tuple(task for task in findings.targets if task in found)
    partners = dict.fromkeys(gain.partner for gain in family.gains)
    num_pairs = sum(row != partner for row in rows for partner in partners)
    if len(family.gains) == len(found) < num_pairs:
        return Matrix(rows, (ONE_COLUMN,), {(gain.target, ONE_COLUMN): gain for gain in family.gains})
    tasks = [task for task in findings.targets if task in partners]
    columns = (*tasks, *(partner for partner in partners if partner not in findings.targets))
    return Matrix(rows, columns, {(gain.target, gain.partner): gain for gain in family.gains})


def family_of(findings: Findings, design: str) -> Family:
    """The gains of a design or control.

    Raises:
        InputError: Where the study has none of this name.
    """
    family = findings.family(design)
    if family is None:
        names = [family.design for family in findings.families]
        message = f"The study has no design or control '{design}'."
        raise InputError(Problem("design", message, did_you_mean(design, names)))
    return family


def company(family: Family, partner: str) -> str:
    """The partner as a part of a sentence, after "gad gains" or "gad"."""
    return _COMPANIES.get(family.design, "with {}").format(partner)


def state(gain: Gain, family: Family) -> State:
    """What may be said of a gain: its verdict in a design; nothing is claimed from a control."""
    if not gain.cell.n:
        return "missing"
    return "control" if family.is_control else gain.cell.verdict


def resolution(gain: Gain) -> str:
    """Why a gain is unresolvable, in place of a p: such as "n=5, floor 0.062"."""
    return f"n={gain.cell.n}, floor {p_value(floor(gain.cell.n))}"


def noise_floor(findings: Findings, target: str) -> Interval | None:
    """As far from 0, to either side, as the interval of what a second set of single-task seeds gives reaches.

    None where the study didn't ask.
    """
    family = findings.family(NOISE_FLOOR)
    found = [gain.cell.interval for gain in family.gains if gain.target == target] if family else []
    if not found or not is_known(found[0]):
        return None
    reach = max(abs(found[0].low), abs(found[0].high))
    return Interval(-reach, reach)


def is_known(interval: Interval | None) -> bool:
    """Whether both ends are numbers."""
    return interval is not None and math.isfinite(interval.low) and math.isfinite(interval.high)


def holds(interval: Interval | None, value: float = 0.0) -> bool:
    """Whether the value lies within; False where the ends aren't known."""
    return interval is not None and interval.low <= value <= interval.high


def level(findings: Findings) -> str:
    """Of the intervals, such as 95%."""
    return f"{100 * (1 - findings.alpha):g}%"


# --- numbers ----------------------------------------------------------------------------------------------------------


def points(value: float, digits: int = 2, *, signed: bool = True) -> str:
    """A difference of scores times 100.

    >>> points(0.0213), points(-0.004, 1), points(-0.0001, 1), points(float("nan"))
    ('+2.13', '−0.4', '0.0', '–')
    """
    if not math.isfinite(value):
        return MISSING
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    return _plain(text)


def span(interval: Interval | None, digits: int = 2) -> str:
    """Two ends times 100.

    >>> span(Interval(-0.004, 0.0213)), span(None)
    ('−0.40 to +2.13', '–')
    """
    if interval is None or not is_known(interval):
        return MISSING
    return f"{points(interval.low, digits)} to {points(interval.high, digits)}"


def score(value: float, digits: int = 4) -> str:
    """A score in its metric.

    >>> score(0.81234), score(-0.5, 2), score(float("nan"))
    ('0.8123', '−0.50', '–')
    """
    return _plain(f"{value:.{digits}f}") if math.isfinite(value) else MISSING


def p_value(p: float) -> str:
    """A p or q, never rounded down to 0.

    >>> p_value(0.0078125), p_value(0.0005), p_value(float("nan"))
    ('0.008', '< 0.001', '–')
    """
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def short(name: str, length: int = 28) -> str:
    """A name cut to a length."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _plain(text: str) -> str:
    """With the sign of minus, and none before a zero."""
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
