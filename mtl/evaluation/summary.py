"""Results for people: the table at the end of a run, and the scores and errors of a task by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.markdown import MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table
    from rich.text import Text

    from heads import ClassReport
    from mtl.evaluation.intervals import ScoreInterval


class Baseline(NamedTuple):
    """A trivial predictor and its score."""

    name: str
    value: float


class ResultLine(NamedTuple):
    """The scores of a run on a task.

    `baseline` was scored on the split with which it is compared: test, or dev if the task has no test split.
    `interval` is that of `test`, or of `dev` if there is no `test`. `is_undertrained` says that the task was still
    improving on dev when training ended.
    """

    task: str
    metric: str
    dev: float | None = None
    test: float | None = None
    baseline: Baseline | None = None
    interval: ScoreInterval | None = None
    is_undertrained: bool = False

    @property
    def marked_task(self) -> str:
        """Name of the task, with a star if it is undertrained."""
        return f"{self.task} *" if self.is_undertrained else self.task

    @property
    def is_beaten(self) -> bool | None:
        """Whether the model is better than the baseline; None if there is nothing to compare.

        >>> ResultLine("gad", "f1", dev=0.9, test=0.5, baseline=Baseline("majority", 0.5)).is_beaten
        False
        >>> ResultLine("gad", "f1", dev=0.9, baseline=Baseline("majority", 0.5)).is_beaten
        True
        """
        score = self.dev if self.test is None else self.test
        return None if score is None or self.baseline is None else score > self.baseline.value


def strongest_baseline(scores: Mapping[str, Mapping[str, float]], metric: str) -> Baseline | None:
    """The trivial predictor to beat: the best by the primary metric, and the first among equals.

    Args:
        scores: ``{predictor: {metric: value}}``.
        metric: The task's primary metric; higher is better.

    >>> strongest_baseline({"majority": {"f1": 0.4}, "tfidf": {"f1": 0.6}}, "f1")
    Baseline(name='tfidf', value=0.6)
    """
    baselines = [Baseline(name, values[metric]) for name, values in scores.items() if metric in values]
    return max((b for b in baselines if not math.isnan(b.value)), key=lambda b: b.value, default=None)


def result_table(results: Iterable[ResultLine], title: str | None = None) -> Table:
    """A table for the terminal: task, primary metric, dev, test, and the trivial predictor that is beaten, or is not.

    It fits into 80 columns unless names are long.

    Args:
        results: One line per task.
        title: Title of the table; None shows none.
    """
    from rich.table import Table

    results = list(results)
    marked = any(result.is_undertrained for result in results)
    grid = Table(title=title, caption="* undertrained: still improving at the last evaluation" if marked else None)
    grid.add_column("task", no_wrap=True)
    grid.add_column("metric", no_wrap=True)
    grid.add_column("dev", justify="right")
    grid.add_column("test", justify="right")
    grid.add_column("beats")
    for result in results:
        dev, test = _number(result.dev), _number(result.test)
        if result.test is None:
            dev += _interval(result.interval)
        else:
            test += _interval(result.interval)
        grid.add_row(result.marked_task, result.metric, dev, test, _baseline(result))
    return grid


def scores_table(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, list[str | float | None]]:
    """All scores of a run as columns: a line for each task and metric, a column for each split.

    Args:
        metrics: ``{split: {task: {metric: value}}}``, where the strongest trivial predictor counts as a split.

    >>> scores_table({"dev": {"gad": {"f1": 0.5, "loss": 0.7}}, "baseline": {"gad": {"f1": 0.4}}})
    {'task': ['gad', 'gad'], 'metric': ['f1', 'loss'], 'dev': [0.5, 0.7], 'baseline': [0.4, None]}
    """
    names = dict.fromkeys(
        (task, metric) for tasks in metrics.values() for task, scores in tasks.items() for metric in scores
    )
    columns: dict[str, list[str | float | None]] = {
        "task": [task for task, _ in names],
        "metric": [metric for _, metric in names],
    }
    for split, tasks in metrics.items():
        columns[split] = [tasks.get(task, {}).get(metric) for task, metric in names]
    return columns


def per_class_table(report: ClassReport) -> dict[str, list[str | float | None]]:
    """The scores by class as columns; a score that a class does not have is None.

    >>> from heads import ClassReport
    >>> per_class_table(ClassReport({"yes": {"f1": 0.5, "support": 4.0}}, ("yes",), None))
    {'class': ['yes'], 'f1': [0.5], 'support': [4.0]}
    """
    metrics = list(dict.fromkeys(metric for values in report.per_class.values() for metric in values))
    columns: dict[str, list[str | float | None]] = {"class": list(report.per_class)}
    for metric in metrics:
        columns[metric] = [values.get(metric) for values in report.per_class.values()]
    return columns


def score_table(scores: Mapping[str, float], intervals: Mapping[str, ScoreInterval]) -> dict[str, list[Any]]:
    """The metrics of a task and their intervals as columns; None where there is no interval.

    >>> from mtl.evaluation.intervals import ScoreInterval
    >>> score_table({"f1": 0.5}, {"f1": ScoreInterval(0.25, 0.75, "bootstrap")})
    {'metric': ['f1'], 'value': [0.5], 'low': [0.25], 'high': [0.75], 'method': ['bootstrap']}
    """
    columns: dict[str, list[Any]] = {"metric": list(scores), "value": list(scores.values())}
    for place, name in enumerate(("low", "high", "method")):
        columns[name] = [intervals[metric][place] if metric in intervals else None for metric in scores]
    return columns


def confusion_figure(report: ClassReport, title: str) -> Figure:
    """A figure of the confusion matrix: counts, coloured by their share of the gold class.

    Readable for up to about 20 classes. Only names of classes and counts are shown.

    Args:
        report: Report that has a confusion matrix.
        title: Title of the figure, such as task and split.
    """
    import numpy as np
    from matplotlib.figure import Figure

    assert report.confusion is not None, "this report has no confusion matrix"
    counts = np.array(report.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = 3.0 + 0.55 * len(report.classes)
    figure = Figure(figsize=(width + 1.0, width), layout="constrained")  # not pyplot: it keeps every figure open
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    _label(axes, report.classes, title)
    for i, line in enumerate(report.confusion):
        for j, count in enumerate(line):
            _write(axes, i, j, count, is_dark=bool(shares[i, j] > 0.5))
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the gold class")
    return figure


def _label(axes: Axes, classes: Iterable[str], title: str) -> None:
    names = [_short(name) for name in classes]
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)  # a class may be called @CHEMICAL$


def _write(axes: Axes, gold: int, predicted: int, count: int, *, is_dark: bool) -> None:
    """Writes a count into its cell; zeros are light, so that errors stand out."""
    colour = "white" if is_dark else "black" if count else "lightgrey"
    size = 9 if count < 10_000 else 7
    axes.text(predicted, gold, f"{count:d}", ha="center", va="center", color=colour, fontsize=size)


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _interval(interval: ScoreInterval | None) -> str:
    return "" if interval is None else f" \\[{interval.low:.2f}, {interval.high:.2f}]"  # \\[ is no markup


def _baseline(result: ResultLine) -> str | Text:
    from rich.text import Text

    if result.baseline is None:
        return MISSING
    shown = f"{result.baseline.name} {result.baseline.value:.3f}"
    if result.is_beaten is None:
        return Text(f"({shown})")
    return Text(shown, style="green") if result.is_beaten else Text(f"not {shown}", style="red")
