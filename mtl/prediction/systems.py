"""Systems to score or to compare on the gold rows of a task: runs, and files of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads import Head, Prediction, Row
from mtl.config.mixture import TaskSpec, build_head
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.evaluation.baselines import usable_rows
from mtl.evaluation.metric_variants import scoring_options
from mtl.evaluation.resampling_units import DOCUMENT, Units, units_of
from mtl.evaluation.scoring import score_rows
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.other_corpus import FindTask, read_task
from mtl.prediction.other_systems import import_predictions
from mtl.problems import InputError, Problem, did_you_mean

if TYPE_CHECKING:
    from mtl.evaluation.evaluator import TaskResult


@dataclass(frozen=True)
class Gold:
    """The rows on which systems are scored.

    Args:
        task: Name of the task.
        spec: The task.
        head: Its head, whose weights do not matter.
        split: Name of the split.
        rows: Rows of the split.
        train: Rows of train; empty if there are none.
        dev: Rows of dev; empty if there are none.
        unit: What intervals resample: `document`, or a key of the rows' `meta`.
        units: The unit of each document; None for documents.
    """

    task: str
    spec: TaskSpec
    head: Head
    split: str
    rows: Sequence[Row]
    train: Sequence[Row]
    dev: Sequence[Row]
    unit: str = DOCUMENT
    units: Units | None = None

    @property
    def names(self) -> dict[str, str]:
        """Label of the task for labels that its files call otherwise: by the reader's options, then by `rename`."""
        options = self.spec.data.options
        rename = self.spec.data.rename or {}
        given = [options[name] for name in ("types", "relations") if isinstance(options.get(name), Mapping)]
        of_reader = {str(theirs): str(ours) for names in given for theirs, ours in names.items()}
        return {**rename, **{theirs: rename.get(ours, ours) for theirs, ours in of_reader.items()}}

    @property
    def is_lenient(self) -> bool:
        """Whether a tag that continues no mention begins one: in tasks that say so, and in those without any B."""
        options = self.spec.head_options
        return options.get("spans") == "lenient" or options.get("scheme") == "IO"


@dataclass(frozen=True)
class SystemScores:
    """A system and its scores.

    Args:
        name: Its name: that of its file or of the folder of its run.
        result: Scores and counts per document.
        rows: The rows that were scored.
        predictions: Its predictions by row id.
        left_out: How much of its file makes no prediction, by what it is.
    """

    name: str
    result: TaskResult
    rows: Sequence[Row]
    predictions: Mapping[str, Prediction]
    left_out: Mapping[str, int] = field(default_factory=dict)


def gold_rows(
    task: str | None,
    runs: Sequence[FinishedRun],
    split: str,
    unit: str | None = None,
    *,
    find: FindTask = lambda name: None,
) -> Gold:
    """The gold rows of a task file, of a task of a run, or of a task that is found by name.

    Args:
        task: A task file, or the name of a task of the first run or of one that `find` knows; None takes the only task
            of the run.
        runs: Runs that may have the task.
        split: train, dev or test.
        unit: What intervals resample, as in `evaluation.unit`; None takes that of the first run, or documents.
        find: Finds tasks that are neither files nor tasks of the first run.

    Raises:
        InputError: There is no such task or split, its data is missing or invalid, or its rows have no such units.
    """
    name, spec = _named_task(task, runs, find)
    known = read_rows(spec.data, f"tasks.{name}.data", Store())
    if split not in known:
        message = f"The task '{name}' has no split '{split}'."
        raise InputError(Problem("--split", message, did_you_mean(split, known)))
    train, dev = (known[part][0] if part in known else () for part in ("train", "dev"))
    rows = known[split][0]
    if unit is None:
        unit = runs[0].mixture.evaluation.unit if runs else DOCUMENT
    elif unit != DOCUMENT and not any(row.meta.get(unit) for row in rows):
        message = f"No row of {split} has '{unit}' in its meta."
        raise InputError(Problem("--unit", message, "Name it in the `meta` of the task's reader."))
    units = units_of(rows, unit, f"{name}, {split}")
    head = build_head(spec, hidden_size=8)
    return Gold(name, spec, head, split, rows, train, dev, DOCUMENT if units is None else unit, units)


@dataclass(frozen=True)
class FileOptions:
    """How files of predictions are read.

    Args:
        format: Name of the format; None decides by the suffix.
        names: Label of the task for labels that the files call otherwise, besides those that its data has.
        ignored: Types of mentions and relations that are not read.
    """

    format: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()


def scored_file(path: Path, gold: Gold, options: FileOptions = FileOptions()) -> SystemScores:
    """The scores of a file of predictions.

    Args:
        path: The file.
        gold: The gold rows.
        options: How the file is read.

    Raises:
        InputError: The file is malformed, or does not have the rows of the split.
    """
    found = import_predictions(
        path,
        gold.task,
        gold.head,
        gold.rows,
        names={**gold.names, **options.names},
        ignored=options.ignored,
        format=options.format,
        lenient=gold.is_lenient,
    )
    rows = usable_rows(gold.head, found.rows)
    result = score_rows(gold.head, ((row, found.predictions[row.id]) for row in rows))
    return SystemScores(path.name, result, rows, found.predictions, found.left_out)


def scored_run(run: FinishedRun, gold: Gold) -> SystemScores:
    """The scores of a run on the gold rows.

    Args:
        run: The run.
        gold: The gold rows.

    Raises:
        InputError: The run has no such task, or its task has another head, labels or metrics.
    """
    run.require(gold.task)
    head = build_head(run.mixture.tasks[gold.task], hidden_size=8)
    theirs, ours = (_kind(one) for one in (head, gold.head))
    if theirs != ours:
        message = f"The task '{gold.task}' of {run.folder.path} has another head, other labels or other metrics."
        raise InputError(Problem("--task", message, "Compare runs of the same task."))
    specs = run.mixture.tasks[gold.task], gold.spec
    counted, wanted = (scoring_options(spec.head, spec.head_options) for spec in specs)
    if counted != wanted:
        differing = [name for name in wanted if counted[name] != wanted[name]]
        variants = ", ".join(f"{name} {counted[name]} instead of {wanted[name]}" for name in differing)
        message = f"The task '{gold.task}' of {run.folder.path} is scored by another variant: {variants}."
        raise InputError(Problem("--task", message, "Compare runs that count alike."))
    scored = run.score(gold.task, run.split(gold.task, gold.split, gold.spec.data))
    return SystemScores(run.folder.path.name, scored.result, gold.rows, scored.predictions)


def _named_task(task: str | None, runs: Sequence[FinishedRun], find: FindTask) -> tuple[str, TaskSpec]:
    """The name of a task, and the task."""
    if task is not None and Path(task).is_file():
        return Path(task).stem, read_task(Path(task))
    if task is not None and not (runs and task in runs[0].mixture.tasks):
        found = find(task)
        if found is not None:
            return task, found
    if not runs:
        what = "is missing" if task is None else f"'{task}' is neither a file nor a task of a suite"
        raise InputError(Problem("--task", f"The task {what}.", "Write --task FILE, or give a run and its task."))
    name = _task_of(runs[0], task)
    return name, runs[0].mixture.tasks[name].model_copy(update={"same_rows_as": None})


def _task_of(run: FinishedRun, task: str | None) -> str:
    names = list(run.mixture.tasks)
    if task is None and len(names) > 1:
        raise InputError(Problem("--task", f"The run has {len(names)} tasks.", f"Choose one of {', '.join(names)}."))
    name = names[0] if task is None else task
    run.require(name)
    return name


def _kind(head: Head) -> Any:
    return type(head), head.labels, head.metrics, head.primary_metric
