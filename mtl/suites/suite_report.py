"""The report of a suite: our models and published ones by task, in Markdown, as rows of a table, and as metrics.

Published scores are next to ours only with the same variant (`mtl.suites.comparison`), and the score of the suite is
given only to models with a score of every task. Scores are in percent.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtl.markdown import code, table
from mtl.suites.aggregate import PartialMean
from mtl.suites.comparison import ModelScores, ScoreCell, ScoreColumn, SuiteComparison, columns_of, compare
from mtl.suites.model_results import SURFACE_METRICS, ModelResults, TaskResults
from mtl.suites.suite_file import Suite

FILES = ("report.md", "scores.csv")
"""Files of a report."""

COLUMNS = (
    *("model", "source", "task", "variant", "mean", "sd", "seeds", "secondary", "trivial", "trivial_predictor"),
    *("mean_without_overlap", "overlapping", "undertrained", "seen_share", "ambiguous_share", *SURFACE_METRICS),
    *("other_test", "deviations"),
)
"""Columns of the table of all scores."""


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
    whole, rest = _compared(suite, models), _compared(suite, models, without_overlap=True)
    others = {line.model: line.cells for line in rest.ours}
    results = {(one.label, task): found for one in models for task, found in one.tasks.items()}
    rows = []
    for line in whole.ours:
        for column, cell in line.cells.items():
            other = others.get(line.model, {}).get(column)
            own = _facts(results[line.model, column.task], column.variant == suite.spec.tasks[column.task].variant)
            rows.append({**_row(line, column, cell), **own, "mean_without_overlap": other and other.mean})
    for line in whole.published:
        rows += [{**_row(line, column, cell), "secondary": cell.secondary} for column, cell in line.cells.items()]
    return {name: [row.get(name) for row in rows] for name in COLUMNS}


def _row(line: ModelScores, column: ScoreColumn, cell: ScoreCell) -> dict[str, Any]:
    score = {"mean": cell.mean, "sd": cell.sd, "seeds": cell.seeds}
    return {"model": line.model, "source": line.source, **column._asdict(), **score}


def _facts(results: TaskResults, is_own_variant: bool) -> dict[str, Any]:
    """What a row says of a task besides its score; some of it is known in the task's own variant only."""
    found: dict[str, Any] = {"overlapping": results.overlapping, "undertrained": len(results.undertrained)}
    found |= {"other_test": results.other_test, "deviations": "; ".join(results.deviations)}
    if is_own_variant and results.baseline is not None:
        found |= {"trivial": 100 * results.baseline[1], "trivial_predictor": results.baseline[0]}
    return {**found, **_surface_facts(results)} if is_own_variant else found


def _surface_facts(results: TaskResults) -> dict[str, float]:
    """The shares of seen and of ambiguous mentions, and the mean F1 on seen and on unseen ones, in percent."""
    counts = results.surfaces or {"mentions": 0}
    shares = ("seen", "ambiguous") if counts["mentions"] else ()
    found = {f"{name}_share": 100 * counts[name] / counts["mentions"] for name in shares}
    means = {name: list(results.surface_scores.get(name, {}).values()) for name in SURFACE_METRICS}
    return found | {name: 100 * statistics.fmean(values) for name, values in means.items() if values}


def report_metrics(suite: Suite, models: Sequence[ModelResults]) -> dict[str, float]:
    """Metrics of MLflow for each model.

    - `<model>/<task>`: the score in the task's own variant; `<model>/trivial/<task>`: that of the best trivial
      predictor; `<model>/seen_f1/<task>`, `<model>/unseen_f1/<task>`: F1 on seen and on unseen mentions
    - `<model>/mean/<suite or group>`: the means that are complete
    - `<model>/incomplete_mean/<group>`: the means of the tasks that have scores
    """
    found = {}
    for line in _compared(suite, models).ours:
        for column, cell in line.cells.items():
            if column.variant == suite.spec.tasks[column.task].variant:
                found[f"{line.model}/{column.task}"] = cell.mean
        means = {suite.spec.name: line.suite.score, **line.suite.groups}
        for name, mean in means.items():
            if mean.mean is not None:
                found[f"{line.model}/{'mean' if mean.is_complete else 'incomplete_mean'}/{name}"] = float(mean.mean)
    for one in models:
        for task, results in one.tasks.items():
            known = _facts(results, is_own_variant=True)
            for name in ("trivial", *SURFACE_METRICS):
                if name in known:
                    found[f"{one.label}/{name}/{task}"] = known[name]
    return found


def suite_means(suite: Suite, models: Sequence[ModelResults]) -> dict[str, dict[str, Any]]:
    """For each model `score`, `found` and `total` of the suite, and `groups` with `mean`, `found` and `total`."""
    return {
        line.model: {
            "score": _number(line.suite.score),
            "found": line.suite.score.found,
            "total": line.suite.score.total,
            "groups": {
                name: {"mean": _number(mean), "found": mean.found, "total": mean.total}
                for name, mean in line.suite.groups.items()
            },
        }
        for line in _compared(suite, models).ours
    }


def notes(suite: Suite, models: Sequence[ModelResults]) -> list[str]:
    """The score of each model or how much of it is missing, the means of its groups, and its deviations."""
    found = []
    for line in _compared(suite, models).ours:
        groups = [f"{name} {_mean(mean)}" for name, mean in line.suite.groups.items()]
        found.append("; ".join([f"{line.model}: score {_mean(line.suite.score)}", *groups]))
    for label, tasks, deviations in _deviations(models):
        if deviations:
            found.append(f"{label}, {', '.join(tasks)}: {'; '.join(deviations)}")
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
    yield from _surface_table(models)
    yield from _deviation_lines(models)
    yield from _apart_lines(suite, found)
    missing = missing_seeds(suite, models)
    if missing:
        yield "## Missing\n"
        yield "\n".join(f"- {sentence}" for sentence in missing) + "\n"


def _main_table(suite: Suite, models: Sequence[ModelResults], found: SuiteComparison) -> Iterator[str]:
    """Tasks as rows, because a suite has more tasks than fit side by side."""
    lines = [*found.ours, *found.published]
    marks = {(one.label, task): _marks(own) for one in models for task, own in one.tasks.items()}
    header = ["task", "variant", "trivial", *(line.model for line in found.ours)]
    header += [f"{line.model} ({suite.spec.sources[str(line.source)].citation})" for line in found.published]
    rows = [
        [
            code(column.task),
            column.variant,
            _trivial(suite, models, column),
            *(_cell(line.cells.get(column), marks.get((line.model, column.task), "")) for line in found.ours),
            *(_cell(line.cells.get(column)) for line in found.published),
        ]
        for column in found.columns
    ]
    rows.append(["**score**", suite.spec.aggregation.rule, "", *(_mean(line.suite.score) for line in lines)])
    yield from table(header, rows)
    yield "`trivial` is the best predictor without fine-tuning. ‡: secondary, not from the paper that measured it.\n"
    shown = "".join(marks.values())
    if "†" in shown:
        yield "†: our test set has another size than the published one, so published scores are on other rows.\n"
    if "*" in shown:
        yield "\\*: at least one seed was still improving at its last evaluation (undertrained).\n"


def _marks(results: TaskResults) -> str:
    """What a score of ours is marked with; the table says what each mark means."""
    return ("†" if results.other_test else "") + (" *" if results.undertrained else "")


def _trivial(suite: Suite, models: Sequence[ModelResults], column: ScoreColumn) -> str:
    """The best trivial predictors of a task, which are known in the task's own variant.

    There are several if models were tested on different rows.
    """
    if column.variant != suite.spec.tasks[column.task].variant:
        return ""
    found = [one.tasks[column.task].baseline for one in models if column.task in one.tasks]
    known = dict.fromkeys(f"{100 * one[1]:.2f} ({one[0]})" for one in found if one is not None)
    return ", ".join(known) or "-"


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


def _surface_table(models: Sequence[ModelResults]) -> Iterator[str]:
    shown = ("seen_share", "ambiguous_share", *SURFACE_METRICS)
    rows = []
    for one in models:
        for task, results in one.tasks.items():
            if results.surfaces is not None:
                facts = _surface_facts(results)
                cells = [f"{facts[name]:.2f}" if name in facts else "-" for name in shown]
                rows.append([one.label, code(task), f"{results.surfaces['mentions']:,}", *cells])
    if rows:
        yield "## Seen and unseen mentions\n"
        yield "Seen: the surface form is a mention in train. Ambiguous: it occurs in train with another type or"
        yield "unlabelled. F1 is a mean over seeds; there is none without such mentions, or if runs did not keep it.\n"
        yield from table(["model", "task", "mentions", "% seen", "% ambiguous", "F1 on seen", "F1 on unseen"], rows)


def _deviation_lines(models: Sequence[ModelResults]) -> Iterator[str]:
    yield "## Deviations from the recipe\n"
    for label, tasks, deviations in _deviations(models):
        yield f"- {label}, {', '.join(map(code, tasks))}: {'; '.join(deviations) or 'none'}"
    yield ""


def _deviations(models: Sequence[ModelResults]) -> Iterator[tuple[str, list[str], tuple[str, ...]]]:
    """The label of a model, tasks with the same deviations, and these."""
    for one in models:
        alike: dict[tuple[str, ...], list[str]] = {}
        for task, results in one.tasks.items():
            alike.setdefault(results.deviations, []).append(task)
        yield from ((one.label, tasks, deviations) for deviations, tasks in alike.items())


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


def _cell(cell: ScoreCell | None, marks: str = "") -> str:
    if cell is None:
        return "-"
    sd = "" if cell.sd is None else f" ± {cell.sd:.2f}"
    seeds = "" if cell.seeds is None else f" ({cell.seeds})"
    return f"{cell.mean:.2f}{sd}{seeds}{'‡' * cell.secondary}{marks}"


def _number(mean: PartialMean) -> float | None:
    return None if mean.mean is None else float(mean.mean)


def _mean(mean: PartialMean) -> str:
    shown = "-" if mean.mean is None else f"{float(mean.mean):.2f}"
    return shown if mean.is_complete else f"{shown}, {mean.label}" if mean.mean is not None else mean.label
