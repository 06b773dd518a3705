"""Scores a task of a finished run on another corpus, next to trivial predictors fitted on the run's own training data.

The result is kept in the folder of the run, apart from the run's own scores:

    on/<corpus>/metrics.json             {split: {task: {metric: value}}}
    on/<corpus>/evaluations.json         {split: {task: …}}, all of `CrossScores`
    on/<corpus>/counts/<split>/<task>.npz

In MLflow, the metrics of the run are called ``on/<corpus>/<split>/<task>/<metric>``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtl.data.leakage_gate import shared_with_train
from mtl.evaluation.baselines import trivial_baselines
from mtl.evaluation.counts_files import write_counts
from mtl.evaluation.frozen import FrozenBaseline
from mtl.evaluation.intervals import ScoreInterval, score_intervals
from mtl.evaluation.resampling_units import units_of
from mtl.evaluation.summary import score_table
from mtl.evaluation.surfaces import surface_scores
from mtl.files import finite, read_json
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.other_corpus import Corpus
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import RunFolder
from mtl.tracking.tracker import MLflowTracker
from mtl.training.surface_report import with_surfaces, write_surface_counts

if TYPE_CHECKING:
    from mtl.data.examples import SplitData
    from mtl.evaluation.evaluator import TaskResult
    from mtl.evaluation.surfaces import SurfaceScores


@dataclass(frozen=True)
class CrossScores:
    """The scores of a task of a run on another corpus.

    Args:
        task: Name of the task.
        corpus: Name of the corpus.
        split: Split of the corpus.
        primary: Primary metric of the task.
        result: Scores and counts per document.
        intervals: 95% intervals of the scores.
        baselines: Scores of the trivial predictors, by predictor. They were fitted on train of the run, and chose
            thresholds, if the task has any, on its dev.
        own: Scores of the run on test of its own corpus; empty if it was not tested.
        shared: What the split shares with train of the run, in words.
        surfaces: Scores on the mentions that train of the run knows, and on the others; None without mentions.
        record: What was evaluated: the data, its fingerprint, and the checkpoint.
    """

    task: str
    corpus: str
    split: str
    primary: str
    result: TaskResult
    intervals: Mapping[str, ScoreInterval]
    baselines: Mapping[str, Mapping[str, float]]
    own: Mapping[str, float]
    shared: tuple[str, ...]
    surfaces: SurfaceScores | None
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the counts as JSON types."""
        overlap = {} if self.surfaces is None else {"surfaces": self.surfaces.overlap._asdict()}
        return {
            "task": self.task,
            "on": self.corpus,
            "split": self.split,
            "primary_metric": self.primary,
            "rows": self.result.num_rows,
            "documents": len(self.result.documents),
            "scores": finite(self.result.scores),
            "intervals": {name: interval._asdict() for name, interval in self.intervals.items()},
            "baselines": finite(self.baselines),
            "own_test": finite(self.own),
            "shared_with_train": list(self.shared),
            **overlap,
            **self.record,
        }


def evaluate_on(run: FinishedRun, task: str, corpus: Corpus, split: str = "test") -> CrossScores:
    """Scores a task of a run on another corpus, and keeps the result in the folder of the run and in MLflow.

    Args:
        run: The run.
        task: Name of the task.
        corpus: The corpus.
        split: Split of the corpus to score.

    Raises:
        InputError: The corpus has no such split, or its rows are missing or invalid.
    """
    head, train, content = run.head(task), run.split(task, "train"), _content(run, task, corpus, split)
    units = units_of(content.rows, run.mixture.evaluation.unit, f"{corpus.name}, {split}")
    scored = run.score(task, content)
    surfaces = surface_scores(head, train.rows, content.rows, scored.predictions)
    named = {} if surfaces is None else {task: surfaces}
    result = with_surfaces({task: scored.result}, named)[task]
    frozen = FrozenBaseline(run.model.trained_mixture, run.trainer.strategy.root_device)
    own = {"train": train, **({"dev": run.split(task, "dev")} if head.is_tuned else {})}
    data = {task: {**own, "corpus": content}}
    found = CrossScores(
        task=task,
        corpus=corpus.name,
        split=split,
        primary=head.primary_metric,
        result=result,
        intervals=score_intervals(head, result, units=units)
        | ({} if surfaces is None else surfaces.intervals(head, units)),
        baselines=trivial_baselines({task: head}, data, "corpus", frozen).get(task, {}),
        own=run.folder.metrics.get("test", {}).get(task, {}),
        shared=tuple(shared_with_train(_rows(task, train, corpus.name, split, content), corpus.name)),
        surfaces=surfaces,
        record={
            "checkpoint": run.model.checkpoint.name,
            "data": corpus.data.model_dump(mode="json", exclude_none=True),
            "fingerprint": content.row_summary.fingerprint,
        },
    )
    _record(run.folder, found)
    _track(run.folder, found)
    return found


def _content(run: FinishedRun, task: str, corpus: Corpus, split: str) -> SplitData:
    """The rows to score; problems of the corpus name it instead of the task."""
    try:
        return run.split(task, split, corpus.data)
    except InputError as error:
        own, map_advice = f"tasks.{task}", "Map labels with other names: --map THEIRS=OURS."
        raise InputError(
            [
                Problem(
                    problem.key.replace(own, corpus.name, 1),
                    problem.message,
                    map_advice if problem.key == f"{own}.labels" else problem.suggestion,
                )
                for problem in error.problems
            ]
        ) from None


def _record(folder: RunFolder, found: CrossScores) -> None:
    place = RunFolder(folder.path / "on" / found.corpus)
    write_counts(place.path / "counts" / found.split / f"{found.task}.npz", found.result)
    write_surface_counts(
        place.path / "counts" / found.split, {} if found.surfaces is None else {found.task: found.surfaces}
    )
    place.write_metrics(found.split, {found.task: found.result.scores})
    before = read_json(place.path / "evaluations.json")
    now = {found.split: {**before.get(found.split, {}), found.task: found.to_dict()}}
    place.write_json("evaluations.json", {**before, **now})


def _rows(task: str, train: SplitData, corpus: str, split: str, content: SplitData) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {task: {"train": (train.rows, train.row_summary)}}
    rows.setdefault(corpus, {})[split] = (content.rows, content.row_summary)
    return rows


def _track(folder: RunFolder, found: CrossScores) -> None:
    """Adds the scores to the run in MLflow, if it was tracked; its status stays."""
    tracker = MLflowTracker.reopened(folder)
    if tracker is None:
        return
    prefix = f"on/{found.corpus}/{found.split}/{found.task}"
    metrics = {f"{prefix}/{name}": value for name, value in found.result.scores.items() if math.isfinite(value)}
    for predictor, scores in found.baselines.items():
        metrics[f"{prefix}/{predictor}/{found.primary}"] = scores[found.primary]
    tracker.log_metrics(metrics, step=0)
    tracker.log_table(score_table(found.result.scores, found.intervals), f"{prefix}/intervals.json")
    tracker.finalize("success")
