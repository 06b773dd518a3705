"""Published scores of a suite: a CSV file with one score in each line.

Columns: `source` (a key of the suite's `sources`), `model`, `task` (or the name of the suite for its printed score),
`variant`, `score` (in percent, as printed), `sd` and `seeds` (empty if not stated), `secondary` (yes if the score was
not read where those who measured it print it: in their paper, README or model card), and perhaps `apart` (why the score
must not be compared with ours although the variant is the same, such as other data; empty if it may).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from mtl.evaluation.metric_variants import VARIANTS, unknown_variant
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import quoted, reason
from mtl.suites.suite_spec import SuiteSpec

COLUMNS = ("source", "model", "task", "variant", "score", "sd", "seeds", "secondary")
APART = "apart"
"""A further column, which a file may have."""


class PublishedScore(NamedTuple):
    """A published score of one model.

    Args:
        source: Key of its publication.
        model: Name of the model.
        task: Name of the task, or of the suite.
        variant: Metric variant, or the aggregation of the suite.
        score: The score in percent.
        sd: Its standard deviation over seeds; None if not stated.
        seeds: Number of seeds; None if not stated.
        secondary: Whether it was not read where those who measured it print it.
        apart: Why it must not be compared with ours although the variant is the same, a phrase; empty if it may.
    """

    source: str
    model: str
    task: str
    variant: str
    score: Decimal
    sd: Decimal | None
    seeds: int | None
    secondary: bool
    apart: str = ""


def read_published(path: Path, spec: SuiteSpec, tasks: Collection[str]) -> list[PublishedScore]:
    """The published scores of a suite.

    Args:
        path: The CSV file.
        spec: The suite.
        tasks: Names of its tasks, malformed ones included.

    Raises:
        InputError: The file is missing or has bad lines; the error lists all of them.
    """
    found: list[PublishedScore] = []
    problems: list[Problem] = []
    first: dict[tuple[str, str, str, str], int] = {}
    for number, fields in _lines(path):
        place = f"{path}:{number}"
        own = _line_problems(place, fields, spec, tasks)
        problems += own
        if own:
            continue
        score = _score_of(fields)
        line = first.setdefault((score.source, score.model, score.task, score.variant), number)
        if line != number:
            message = f"A score must be listed once, got the score of line {line} again."
            problems.append(Problem(place, message, "Remove one of the lines."))
        found.append(score)
    if problems:
        raise InputError(problems)
    return found


def _lines(path: Path) -> list[tuple[int, dict[str | Any, str | Any]]]:
    """The fields of each line below the header, with its number."""
    if not path.is_file():
        raise InputError(Problem("published", f"The file '{path}' does not exist.", "Check the path."))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            found = [(lines.line_num, fields) for fields in lines]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(Problem(str(path), f"The file must be CSV in UTF-8: {reason(error)}.")) from None
    if tuple(lines.fieldnames or ()) not in (COLUMNS, (*COLUMNS, APART)):
        message = f"The header must be {','.join(COLUMNS)}, got {len(lines.fieldnames or ())} columns."
        raise InputError(Problem(f"{path}:1", message, "Correct the header."))
    return found


def _line_problems(
    place: str, fields: Mapping[str | None, str | None], spec: SuiteSpec, tasks: Collection[str]
) -> list[Problem]:
    if None in fields or None in fields.values():
        return [Problem(place, f"A line must have {len(COLUMNS)} columns.", "Add or remove commas.")]
    source, model, task, variant = (str(fields[name]) for name in ("source", "model", "task", "variant"))
    problems = [] if model else [Problem(place, "The column model must not be empty.", "Name the model.")]
    if source not in spec.sources:
        problems.append(Problem(place, f"There is no source '{source}'.", did_you_mean(source, spec.sources)))
    if task != spec.name and task not in tasks:
        problems.append(Problem(place, f"There is no task '{task}'.", did_you_mean(task, [*tasks, spec.name])))
    problems += _variant_problems(place, task, variant, spec)
    return problems + _number_problems(place, fields)


def _variant_problems(place: str, task: str, variant: str, spec: SuiteSpec) -> list[Problem]:
    if not variant:
        advice = "A name such as F1 stands for several metrics: name the variant, or write f1_averaging_unclear."
        return [Problem(place, "The column variant must not be empty.", advice)]
    if task == spec.name:
        rule = spec.aggregation.rule
        message = f"The variant of the suite's own score must be {rule}, got {quoted(variant)}."
        return [] if variant == rule else [Problem(place, message, "Correct the variant.")]
    return [] if variant in VARIANTS else [unknown_variant(place, variant)]


def _number_problems(place: str, fields: Mapping[str | None, str | None]) -> list[Problem]:
    problems = []
    for name, is_needed in (("score", True), ("sd", False)):
        text = str(fields[name])
        if (text or is_needed) and _number(text) is None:
            rule = f"The column {name} must be a number from -100 to 100{'' if is_needed else ' or empty'}"
            problems.append(Problem(place, f"{rule}, got {quoted(text)}.", "Correct the number."))
    seeds, secondary = str(fields["seeds"]), str(fields["secondary"])
    if seeds and not (seeds.isdecimal() and int(seeds) > 0):
        message = f"The column seeds must be a number above 0 or empty, got {quoted(seeds)}."
        problems.append(Problem(place, message, "Correct the number."))
    if secondary not in ("", "yes"):
        problems.append(Problem(place, f"The column secondary must be yes or empty, got {quoted(secondary)}."))
    return problems


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value) <= 100 else None


def _score_of(fields: Mapping[str, str]) -> PublishedScore:
    score = _number(fields["score"])
    assert score is not None, "a line is checked first"
    return PublishedScore(
        fields["source"],
        fields["model"],
        fields["task"],
        fields["variant"],
        score,
        _number(fields["sd"]),
        int(fields["seeds"]) if fields["seeds"] else None,
        fields["secondary"] == "yes",
        fields.get(APART, ""),
    )
