"""The description of a run in MLflow: its scores, and the commands that use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.evaluation.summary import ResultLine
from mtl.markdown import MISSING, table
from mtl.training.undertrained import undertrained_caution

DECIDES_RESULTS = False


MOST_TASKS = 50
"""Maximum number of tasks in the table: MLflow cuts a long description, whose cautions come after it."""


def training_cautions(info: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """What a training has left in the folder of its run that everyone who relies on its scores should know.

    Args:
        info: Content of `run.json`.
        metrics: Content of `metrics.json`.

    >>> training_cautions({"guard": {"not_finite": 2}}, {})
    ['Updates that were withheld or clipped: 2 not finite; see guard.jsonl.']
    """
    cautions = []
    if guard := info.get("guard"):
        named = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in guard.items())
        cautions.append(f"Updates that were withheld or clipped: {named}; see guard.jsonl.")
    if risen := info.get("risen_losses"):
        named = ", ".join(f"{task} {loss:.3g}" for task, loss in risen.items())
        cautions.append(
            f"Training losses ended far above their start, or above 100: {named}. Lower model.learning_rate."
        )
    if info.get("not_averaged"):
        cautions.append("The weights were never averaged: the training ended before the average starts.")
    if tasks := [task for task, values in metrics.get("train", {}).items() if values.get("undertrained")]:
        cautions.append(undertrained_caution(tasks))
    return cautions


def run_description(
    lines: Sequence[ResultLine], folder: Path, split: str, cautions: Sequence[str] = (), *, best: str | None = None
) -> str:
    """Markdown of a few lines: scores next to the strongest trivial predictors, and the commands that use the run.

    Args:
        lines: The scores of each task.
        folder: Folder of the run. Only its path below the working folder, or its last two parts, are shown: a path can
            contain the name of a user.
        split: Split on which the trivial predictors were scored.
        cautions: What to know before relying on the scores.
        best: File of the best checkpoint, relative to the folder; None if there is none.
    """
    where = shlex.quote(_shown(folder))
    header = ["task", "metric", "dev", "test", f"trivial predictor on {split}"]
    rows = [
        (line.marked_task, line.metric, _number(line.dev), _number(line.test), _baseline(line))
        for line in lines[:MOST_TASKS]
    ]
    scores = list(table(header, rows))
    if len(lines) > MOST_TASKS:
        scores += [f"{len(lines) - MOST_TASKS} more tasks are in `scores.json`.", ""]
    commands = [
        *([] if best is None else [f"- Best checkpoint: `{best}`"]),
        f"- Test the best checkpoint: `mtl test --config {where}/config.yaml --ckpt_path {where}`",
        f"- Resume: `mtl fit --config {where}/config.yaml --ckpt_path {where}`",
        f"- Predict: `mtl predict {where} --input notes.jsonl --output predictions.jsonl`",
    ]
    return "\n".join([*scores, *(f"**Caution:** {caution}\n" for caution in cautions), *commands])


def _shown(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else f"…/{folder.parent.name}/{folder.name}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _baseline(line: ResultLine) -> str:
    if line.baseline is None:
        return MISSING
    verdict = {True: "beaten", False: "not beaten", None: ""}[line.is_beaten]
    return f"{line.baseline.name} {line.baseline.value:.4f} {verdict}".rstrip()
