"""How weak labels agree with gold, by their source: the same rows labelled twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from heads import Head, Row
from mtl.config.mixture import TaskSpec, build_head
from mtl.evaluation.baselines import usable_rows
from mtl.evaluation.intervals import score_intervals
from mtl.evaluation.resampling_units import Units
from mtl.evaluation.scoring import score_rows
from mtl.files import finite
from mtl.importers import FoundRow, importer_of
from mtl.prediction.other_systems import Conversion
from mtl.prediction.systems import FileOptions, Gold
from mtl.problems import InputError
from mtl.redaction import shown


class WeakAgreement(NamedTuple):
    """The agreement of weak labels with gold.

    Args:
        sources: For each source `rows`, `documents`, `scores`, `intervals` and `per_class`, with the weak label in the
            place of the prediction.
        unknown: Number of weakly labelled rows whose ids are not in the split.
    """

    sources: dict[str, dict[str, Any]]
    unknown: int


def agreement(path: Path, gold: Gold, options: FileOptions) -> WeakAgreement:
    """The agreement of the labels in a file with gold, on the rows that both have.

    The scores are the task's, with Cohen's kappa where the head has it. Mentions have no kappa, because the texts
    without a mention cannot be counted; their F1 takes its place (Hripcsak and Rothschild 2005).

    Args:
        path: File of weak labels: rows of the reader `jsonl` or lines of `mtl predict`, in any format of `mtl score`.
            Rows without a source have the file's name as source.
        gold: The gold rows.
        options: How the file is read.

    Raises:
        InputError: The file is malformed, a source has an id twice, no id is in the split, or a label is unknown.
    """
    head = _with_kappa(gold.spec, gold.head)
    rows = {row.id: row for row in usable_rows(head, gold.rows)}
    importer = importer_of(path, gold.task, options.format, lenient=gold.is_lenient)
    by_source: defaultdict[str, list[FoundRow]] = defaultdict(list)
    unknown = 0
    for found in importer.read(gold.rows):
        unknown += found.id not in rows
        if found.id in rows:
            by_source[found.source or path.stem].append(found)
    for of_source in by_source.values():
        seen = Counter(found.id for found in of_source)
        importer.bad_ids("an id must occur once in a source", sorted(name for name, n in seen.items() if n > 1))
    if not by_source:
        importer.bad_ids(f"the file must have rows of {gold.split}", [*rows][:1])
    conversion = Conversion(head, {**gold.names, **options.names}, options.ignored)
    pairs = {
        source: [conversion.of(_comparable(rows[found.id], found), found) for found in of_source]
        for source, of_source in sorted(by_source.items())
    }
    for rule, ids in conversion.broken.items():
        importer.bad_ids(rule, ids)
    if importer.problems:
        raise InputError(importer.problems)
    reports: dict[str, dict[str, Any]] = {}
    for source, of in pairs.items():
        name = shown(source, "a source")  # several sources may be shown by the same words
        reports[name if name not in reports else f"{name} ({len(reports) + 1})"] = _summary(head, of, gold.units)
    return WeakAgreement(reports, unknown)


def _with_kappa(spec: TaskSpec, head: Head) -> Head:
    """The head with the metric `kappa`; unchanged if it has no such metric."""
    metrics = [*spec.options.get("metrics", ()), "kappa"]
    try:
        found: Head = build_head(spec.model_copy(update={"options": {**spec.options, "metrics": metrics}}), 8)
    except (InputError, ValueError, TypeError):
        return head
    return found


def _comparable(row: Row, found: FoundRow) -> Row:
    """The gold row with the labels only for which the weak one was annotated."""
    if found.annotated is None:
        return row
    known = found.annotated if row.annotated is None else tuple(n for n in row.annotated if n in found.annotated)
    return replace(row, annotated=known)


def _summary(head: Head, pairs: Sequence[tuple[Row, Mapping[str, Any]]], units: Units | None) -> dict[str, Any]:
    result = score_rows(head, ((row, dict(prediction)) for row, prediction in pairs))
    intervals = score_intervals(head, result, units=units)
    return {
        "rows": result.num_rows,
        "documents": len(result.documents),
        "scores": finite(result.scores),
        "intervals": {name: interval._asdict() for name, interval in intervals.items()},
        "per_class": finite(result.report.per_class),
    }
