"""How a gain is shown: its place in a matrix, its mark and its numbers. Figures, pages and terminal share it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mtl.markdown import MISSING
from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.design.designs import ITSELF
from mtl.study.statistics.findings import Family, Findings, Gain
from mtl.study.statistics.learning import Learning
from mtl.study.statistics.significance import Interval, floor

State = Literal["helps", "matched", "hurts", "undecided", "unresolvable", "control", "missing"]

MARKS: Mapping[State, str] = {
    "helps": "▲",
    "matched": "△",
    "hurts": "▼",
    "undecided": "·",
    "unresolvable": "?",
    "control": "",
    "missing": "",
}
CAUTION = "!"
"""Mark of a gain that a collapsed run may explain."""

NOISE_FLOOR = "replicate"
"""The control whose intervals show the seed noise."""

ONE_COLUMN = "gain"
"""Heading of the only column of a matrix in which every target has its own partners."""

_PARTNER_PHRASES = {
    "sequential": "after {}",
    "refine_finetune": "when fine-tuned from the joint encoder instead of its own",
    "arms": "as {}",
    "pretraining": "after {}",
    "pretraining_arms": "after {} instead",
    "leave_one_out": "when {} is added to the others",
    "cross": "when trained on {} instead",
    "replicate": "with other seeds",
    "continued": "when trained alone once more{rest}",
    "sizes": "with {} of its own",
    "shuffled_partner": "with {} (shuffled labels)",
}
"""Phrases for the designs and controls in which the target is not simply trained with a partner."""


class Matrix(NamedTuple):
    """The gains of a family as rows and columns.

    Args:
        rows: Targets.
        columns: Partners, or only `ONE_COLUMN` if every target has its own partners.
        cells: Gain by target and column; pairs that are not part of the design have none.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Gain]

    @property
    def has_one_column(self) -> bool:
        return self.columns == (ONE_COLUMN,)


def matrix_of(findings: Findings, family: Family) -> Matrix:
    """The matrix of a family, with tasks in the order of the study."""
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
    """The family of a design or control.

    Raises:
        InputError: If the study has no design or control of this name.
    """
    family = findings.family(design)
    if family is None:
        names = [family.design for family in findings.families]
        message = f"The study has no design or control '{design}'."
        raise InputError(Problem("design", message, did_you_mean(design, names)))
    return family


def partner_phrase(family: Family, partner: str) -> str:
    """How the target is trained, as a phrase that follows "gad gains 3.00 points of f1" or "gad"."""
    return _PARTNER_PHRASES.get(family.design, "with {}").format(partner, rest=partner.removeprefix(ITSELF))


def state(gain: Gain, family: Family) -> State:
    """The verdict on a gain, or that it is missing or belongs to a control, which has no verdict.

    A significant positive gain that is not significantly larger than that of further training alone is "matched".
    """
    if not gain.cell.n:
        return "missing"
    if family.is_control:
        return "control"
    is_matched = gain.cell.verdict == "helps" and is_compared(gain) and not exceeds_training(gain)
    return "matched" if is_matched else gain.cell.verdict


def is_compared(gain: Gain) -> bool:
    """Whether the gain could be compared with that of further training alone."""
    return gain.beyond is not None and gain.beyond.n > 0


def exceeds_training(gain: Gain) -> bool:
    """Whether the gain is significantly larger than that of further training alone."""
    return gain.beyond is not None and gain.beyond.verdict == "helps"


def resolution(gain: Gain) -> str:
    """The reason why a gain is unresolvable, such as "n=5, smallest p 0.062"."""
    return f"n={gain.cell.n}, smallest p {p_value(floor(gain.cell.n))}"


def noise_floor(findings: Findings, target: str) -> Interval | None:
    """The range of gains that seed noise alone may produce: the interval of the replicate control, symmetric around 0.

    It reaches as far from 0 as the farther end of that interval. None if the study has no such control.
    """
    family = findings.family(NOISE_FLOOR)
    found = [gain.cell.interval for gain in family.gains if gain.target == target] if family else []
    if not found or not is_known(found[0]):
        return None
    reach = max(abs(found[0].low), abs(found[0].high))
    return Interval(-reach, reach)


def is_known(interval: Interval | None) -> bool:
    """Whether the interval exists and both ends are finite."""
    return interval is not None and math.isfinite(interval.low) and math.isfinite(interval.high)


def holds(interval: Interval | None, value: float = 0.0) -> bool:
    """Whether the interval contains the value; False if its ends are unknown."""
    return interval is not None and interval.low <= value <= interval.high


def nearer_bound(interval: Interval) -> float:
    """The bound of an interval that is nearer to 0; 0 if the interval includes 0 or is unknown.

    It colours a gain: however large its mean, a gain is pale if its interval reaches 0.

    >>> nearer_bound(Interval(0.01, 0.05)), nearer_bound(Interval(-0.05, -0.01)), nearer_bound(Interval(-0.01, 0.05))
    (0.01, -0.01, 0.0)
    """
    if not is_known(interval) or holds(interval):
        return 0.0
    return interval.low if interval.low > 0 else interval.high


def level(findings: Findings) -> str:
    """The level of the confidence intervals, such as 95%."""
    return f"{100 * (1 - findings.alpha):g}%"


# --- numbers ----------------------------------------------------------------------------------------------------------


def points(value: float, digits: int = 2, *, signed: bool = True) -> str:
    """A difference of scores × 100.

    >>> points(0.0213), points(-0.004, 1), points(-0.0001, 1), points(float("nan"))
    ('+2.13', '−0.4', '0.0', '–')
    """
    if not math.isfinite(value):
        return MISSING
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    return _plain(text)


def span(interval: Interval | None, digits: int = 2) -> str:
    """The ends of an interval × 100.

    >>> span(Interval(-0.004, 0.0213)), span(None)
    ('−0.40 to +2.13', '–')
    """
    if interval is None or not is_known(interval):
        return MISSING
    return f"{points(interval.low, digits)} to {points(interval.high, digits)}"


def score(value: float, digits: int = 4) -> str:
    """A score, rounded.

    >>> score(0.81234), score(-0.5, 2), score(float("nan"))
    ('0.8123', '−0.50', '–')
    """
    return _plain(f"{value:.{digits}f}") if math.isfinite(value) else MISSING


def p_value(p: float) -> str:
    """A p or q value, never rounded down to 0.

    >>> p_value(0.0078125), p_value(0.0005), p_value(float("nan"))
    ('0.008', '< 0.001', '–')
    """
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_statement(p: float) -> str:
    """A p value as an equation.

    >>> p_statement(0.0078125), p_statement(0.0005), p_statement(float("nan"))
    ('p = 0.008', 'p < 0.001', 'p –')
    """
    text = p_value(p)
    return f"p = {text}" if text[0].isdigit() else f"p {text}"


def undertrained(learning: Learning) -> str:
    """The number of undertrained runs of a cell.

    >>> undertrained(Learning(num_runs=8, undertrained=("a, seed 1",))), undertrained(Learning())
    ('1 of 8', '–')
    """
    number = len(learning.undertrained)
    return f"{number} of {learning.num_runs}" if learning.num_runs else MISSING


def settled(learning: Learning) -> str:
    """The number of runs whose best evaluation is before the last fifth.

    >>> settled(Learning(num_runs=8, num_settled=6)), settled(Learning(num_runs=8))
    ('6 of 8', '–')
    """
    known = learning.num_runs and learning.num_settled is not None
    return f"{learning.num_settled} of {learning.num_runs}" if known else MISSING


def short(name: str, length: int = 28) -> str:
    """A name cut to at most `length` characters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _plain(text: str) -> str:
    """The number with a typographic minus sign, and without a sign if it is zero."""
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
