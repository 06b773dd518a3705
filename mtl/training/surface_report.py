"""Scores on mentions that train knows and on those that it does not, at the end of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mtl.evaluation.counts_files import write_counts
from mtl.evaluation.summary import ResultLine
from mtl.evaluation.surfaces import METRICS, SurfaceScores, surface_scores

if TYPE_CHECKING:
    from pathlib import Path

    from mtl.batching.data_module import MixtureData
    from mtl.evaluation.evaluator import TaskResult
    from mtl.evaluation.intervals import ScoreInterval
    from mtl.evaluation.predictions import PredictionFiles

DECIDES_RESULTS = False


def surfaces_of(data: MixtureData, split: str, kept: PredictionFiles | None) -> dict[str, SurfaceScores]:
    """The scores on seen and unseen mentions of each task that predicts mentions.

    Args:
        data: The data of the run, with train.
        split: Split that was evaluated.
        kept: The predictions of this evaluation; None if they were not kept, which gives no scores.
    """
    found: dict[str, SurfaceScores] = {}
    for task, head in data.heads.items():
        splits = data.tasks[task]
        if kept is not None and head.mention_types and split in splits:
            scores = surface_scores(head, splits["train"].rows, splits[split].rows, dict(kept.records(task)))
            found |= {} if scores is None else {task: scores}
    return found


def with_surfaces(results: Mapping[str, TaskResult], surfaces: Mapping[str, SurfaceScores]) -> dict[str, TaskResult]:
    """The results of an evaluation with the scores on seen and unseen mentions added to those of their tasks."""
    return {
        task: replace(result, scores={**result.scores, **surfaces[task].scores()}) if task in surfaces else result
        for task, result in results.items()
    }


def write_surface_counts(folder: Path, surfaces: Mapping[str, SurfaceScores]) -> None:
    """Writes the counts per document of both parts as ``TASK.seen.npz`` and ``TASK.unseen.npz``."""
    for task, scores in surfaces.items():
        for part, result in scores.parts.items():
            write_counts(folder / f"{task}.{part}.npz", result)


def surface_lines(
    split: str,
    surfaces: Mapping[str, SurfaceScores],
    intervals: Mapping[str, Mapping[str, ScoreInterval]],
) -> list[ResultLine]:
    """Lines of the table of results with the F1 of both parts, which no trivial predictor is compared with."""
    lines = []
    for task, scores in surfaces.items():
        values = {name: value for name, value in scores.scores().items() if name.endswith(f"_{METRICS[0]}")}
        for name, value in values.items():
            dev, test = (value, None) if split == "dev" else (None, value)
            lines.append(ResultLine(task, name, dev, test, interval=intervals[task].get(name)))
    return lines
