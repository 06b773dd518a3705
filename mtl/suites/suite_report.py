"""The report of a suite: our models and published ones by task, in Markdown, as rows of a table, and as metrics.

Published scores stand beside ours only with the same variant (`mtl.suites.comparison`), and the score of the suite is
given only to models with a score of every task. Scores are in percent.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtl.suites.aggregate import PartialMean
from mtl.suites.comparison import ModelScores, ScoreCell, ScoreColumn, SuiteComparison, columns_of, compare
from mtl.suites.markdown import code, table
from mtl.suites.model_results import ModelResults
from mtl.suites.suite_file import Suite

FILES = ("report.md", "scores.csv")
"""Files of a report."""


def report(suite: Suite, models: Sequence[ModelResults]) -> str:
    """The report of a suite as Markdown.

    Args:
        suite: The suite.
        models: Results of our models, those of other revisions of the suite left out.
    """
    return "\n".join(_lines(suite, models)) + "\n"


def write_report(suite: Suite, models: Sequence[ModelResults], folder: Path) -> list[Path]:
    """Writes the files of a report, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in FILES]
    paths[0].write_text(report(suite, models), encoding="utf-8")
    columns = score_columns(suite, models)
    with paths[1].open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return paths


def score_columns(suite: Suite, models: Sequence[ModelResults]) -> dict[str, list[Any]]:
    """All scores as columns of a table, one row for each model, task and variant; ours first."""
    names = ["model", "source", "task", "variant", "mean", "sd", "seeds"]
    names += ["mean_without_overlap", "overlapping", "undertrained"]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    whole, rest = _compared(suite, models), _compared(suite, models, without_overlap=True)
    others = {line.model: line.cells for line in rest.ours}
    results = {(one.label, task): found for one in models for task, found in one.tasks.items()}
    for line in (*whole.ours, *whole.published):
        for column, cell in line.cells.items():
            other = others.get(line.model, {}).get(column) if line.source is None else None
            own = results.get((line.model, column.task)) if line.source is None else None
            counted = (own and own.overlapping, own and len(own.undertrained))
            found = (line.model, line.source, *column, cell.mean, cell.sd, cell.seeds, other and other.mean, *counted)
            for name, value in zip(names, found, strict=True):
                columns[name].append(value)
    return columns


def report_metrics(suite: Suite, models: Sequence[ModelResults]) -> dict[str, float]:
    """Metrics of MLflow: `<model>/<task>` in the task's own variant, and the means that are complete."""
    found = {}
    for line in _compared(suite, models).ours:
        for column, cell in line.cells.items():
            if column.variant == suite.spec.tasks[column.task].variant:
                found[f"{line.model}/{column.task}"] = cell.mean
        means = {suite.spec.name: line.suite.score, **line.suite.groups}
        for name, mean in means.items():
            if mean.is_complete and mean.mean is not None:
                found[f"{line.model}/mean/{name}"] = float(mean.mean)
    return found


def note(suite: Suite, models: Sequence[ModelResults]) -> str:
    """The description of the suite in MLflow: the score of each model, and where the rest is."""
    scores = [f"- {line.model}: {_mean(line.suite.score)}" for line in _compared(suite, models).ours]
    rule = suite.spec.aggregation.rule.replace("_", " ")
    return "\n".join(
        [f"{suite.spec.title}, {rule}:", "", *scores, "", "The artifact `report.md` has the scores by task."]
    )


def missing_seeds(suite: Suite, models: Sequence[ModelResults]) -> list[str]:
    """What is missing in the results of our models, as sentences."""
    found = []
    for one in models:
        for task, results in one.tasks.items():
            done = len(results.scores.get(suite.spec.tasks[task].variant, {}))
            if done < results.seeds:
                found.append(f"{one.label}: {task} has {done} of {results.seeds} seeds.")
    return found


def _compared(suite: Suite, models: Sequence[ModelResults], *, without_overlap: bool = False) -> SuiteComparison:
    known = set(columns_of(suite.spec))
    scores = [
        score
        for one in models
        for score in one.seed_scores(without_overlap=without_overlap)
        if ScoreColumn(score.task, score.variant) in known
    ]
    return compare(suite.spec, scores, suite.published)


# --- the page ---------------------------------------------------------------------------------------------------------


def _lines(suite: Suite, models: Sequence[ModelResults]) -> Iterator[str]:
    spec = suite.spec
    found = _compared(suite, models)
    yield f"# {spec.title}: scores\n"
    yield f"Revision `{spec.revision}`. Test scores in percent: mean ± standard deviation over seeds, with the"
    yield "number of seeds in parentheses. Published scores are listed only where their metric variant is ours.\n"
    yield from _main_table(suite, models, found)
    yield from _mean_table(found)
    yield from _overlap_table(suite, models)
    yield from _deviation_lines(models)
    yield from _apart_lines(suite, found)
    missing = missing_seeds(suite, models)
    if missing:
        yield "## Missing\n"
        yield "\n".join(f"- {sentence}" for sentence in missing) + "\n"


def _main_table(suite: Suite, models: Sequence[ModelResults], found: SuiteComparison) -> Iterator[str]:
    """Tasks as rows, because a suite has more tasks than fit side by side."""
    lines = [*found.ours, *found.published]
    unfinished = {(one.label, task) for one in models for task, own in one.tasks.items() if own.undertrained}
    header = ["task", "variant", "trivial", *(line.model for line in found.ours)]
    header += [f"{line.model} ({suite.spec.sources[str(line.source)].citation})" for line in found.published]
    rows = [
        [
            code(column.task),
            column.variant,
            _trivial(suite, models, column),
            *(_cell(line.cells.get(column), marked=(line.model, column.task) in unfinished) for line in found.ours),
            *(_cell(line.cells.get(column)) for line in found.published),
        ]
        for column in found.columns
    ]
    rows.append(["**score**", suite.spec.aggregation.rule, "", *(_mean(line.suite.score) for line in lines)])
    yield from table(header, rows)
    yield "`trivial` is the best predictor without fine-tuning. ‡: quoted by the source, which did not measure it.\n"
    if unfinished:
        yield "\\*: at least one seed was still improving at its last evaluation (undertrained).\n"


def _trivial(suite: Suite, models: Sequence[ModelResults], column: ScoreColumn) -> str:
    """The best trivial predictor of a task, which is known in the task's own variant."""
    if column.variant != suite.spec.tasks[column.task].variant:
        return ""
    found = [one.tasks[column.task].baseline for one in models if column.task in one.tasks]
    known = [one for one in found if one is not None]
    return f"{100 * known[0][1]:.2f} ({known[0][0]})" if known else "-"


def _mean_table(found: SuiteComparison) -> Iterator[str]:
    lines: list[ModelScores] = [*found.ours, *found.published]
    groups = list(lines[0].suite.groups) if lines else []
    if not groups:
        return
    yield "## Means of groups\n"
    rows = [[line.model, *(_mean(line.suite.groups[group]) for group in groups)] for line in lines]
    yield from table(["model", *groups], rows)


def _overlap_table(suite: Suite, models: Sequence[ModelResults]) -> Iterator[str]:
    rest = {line.model: line.cells for line in _compared(suite, models, without_overlap=True).ours}
    whole = {line.model: line.cells for line in _compared(suite, models).ours}
    rows = []
    for one in models:
        for task, results in one.tasks.items():
            column = ScoreColumn(task, suite.spec.tasks[task].variant)
            if results.overlapping:
                shared = f"{results.overlapping} of {results.documents}"
                cells = [_cell(cells.get(one.label, {}).get(column)) for cells in (whole, rest)]
                rows.append([one.label, code(task), shared, *cells])
    yield "## Test documents that overlap train\n"
    if not rows:
        yield "None.\n"
        return
    yield "Documents of test that are also in train, or have a row with the same text as one of train.\n"
    yield from table(["model", "task", "overlapping", "score", "score without them"], rows)


def _deviation_lines(models: Sequence[ModelResults]) -> Iterator[str]:
    yield "## Deviations from the recipe\n"
    for one in models:
        alike: dict[tuple[str, ...], list[str]] = {}
        for task, results in one.tasks.items():
            alike.setdefault(results.deviations, []).append(task)
        for deviations, tasks in alike.items():
            names = ", ".join(map(code, tasks))
            yield f"- {one.label}, {names}: {'; '.join(deviations) or 'none'}"
    yield ""


def _apart_lines(suite: Suite, found: SuiteComparison) -> Iterator[str]:
    if not found.apart:
        return
    yield "## Published scores that cannot be compared\n"
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for one in found.apart:
        reasons.setdefault((one.score.source, one.score.task, one.reason), []).append(one.score.model)
    for (source, task, reason), names in reasons.items():
        yield f"- {code(task)} in {suite.spec.sources[source].citation} ({len(names)} models): {reason}"
    yield ""


def _cell(cell: ScoreCell | None, *, marked: bool = False) -> str:
    if cell is None:
        return "-"
    sd = "" if cell.sd is None else f" ± {cell.sd:.2f}"
    seeds = "" if cell.seeds is None else f" ({cell.seeds})"
    return f"{cell.mean:.2f}{sd}{seeds}{'‡' * cell.secondary}{' *' * marked}"


def _mean(mean: PartialMean) -> str:
    shown = "-" if mean.mean is None else f"{float(mean.mean):.2f}"
    return shown if mean.is_complete else f"{shown}, {mean.label}" if mean.mean is not None else mean.label
