"""`mtl errors`: the wrong predictions of a run for one task, by row id.

Texts, and ids that are hashed elsewhere, appear on a terminal only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from heads import Prediction, Row, row_to_dict
from mtl.commands.arguments import add_import_option, import_modules
from mtl.evaluation.surfaces import SurfaceScores, surface_scores
from mtl.hashed_ids import shown_id, without_texts
from mtl.log_filters import filter_logs
from mtl.prediction.finished_run import FinishedRun


class Wrong(NamedTuple):
    """A row whose prediction differs from its gold, the size of the error (see `Head.error`), and the task's labels."""

    row: Row
    prediction: Prediction
    error: float
    labels: Sequence[str]


class TaskErrors(NamedTuple):
    """The wrong rows of a split, largest error first, and the scores on seen and unseen mentions if there are any."""

    wrong: list[Wrong]
    surfaces: SurfaceScores | None


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl errors RUN --task T [--split dev] [--limit 20]`."""
    parser = argparse.ArgumentParser("mtl errors", description="Lists the wrong predictions of a run for one task.")
    parser.add_argument("run", help="folder of a run, or a checkpoint in it")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument(
        "--split", default="dev", choices=("train", "dev", "test"), help="split to predict (default dev)"
    )
    parser.add_argument("--limit", type=int, default=20, help="number of rows to show (default 20)")
    parser.add_argument("--no-text", action="store_true", help="show only ids and labels, even on a terminal")
    add_import_option(parser)
    options = parser.parse_args(arguments[1:])
    import_modules(options.modules)
    show_text = sys.stdout.isatty() and not options.no_text
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    filter_logs()
    found, surfaces = task_errors(options.run, options.task, options.split)
    for wrong in found[: options.limit]:
        _print(console, wrong, show_text=show_text)
    more = max(0, len(found) - options.limit)
    console.print(f"{len(found)} wrong in {options.split} of {options.task}" + (f", {more} not shown" if more else ""))
    if surfaces is not None:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in surfaces.scores().items() if name.endswith("f1"))
        console.print(". ".join([surfaces.overlap.described(options.split), *([scores] if scores else [])]))
    if not show_text:
        console.print("Texts are shown only on a terminal.")


def task_errors(run: str | Path, task: str, split: str = "dev") -> TaskErrors:
    """Returns what the best checkpoint of a run gets wrong in a split.

    Args:
        run: Folder of a run, or a checkpoint in it.
        task: Name of the task.
        split: train, dev or test.

    Raises:
        InputError: There is no such run, task or split, or the data is missing.
    """
    finished = FinishedRun(run, {"accelerator": "cpu"})
    finished.require(task)
    content = finished.split(task, split)
    predictions, head = finished.score(task, content).predictions, finished.head(task)
    found = [
        Wrong(row, predictions[row.id], head.error(predictions[row.id], row), head.labels)
        for row in content.rows
        if row.id in predictions
    ]
    wrong = sorted((one for one in found if one.error > 0), key=lambda one: -one.error)
    train = finished.split(task, "train").rows if head.mention_types else []
    return TaskErrors(wrong, surface_scores(head, train, content.rows, predictions))


def _print(console: Console, wrong: Wrong, *, show_text: bool) -> None:
    gold = {key: value for key, value in row_to_dict(wrong.row).items() if key in ("label", "relations")}
    if isinstance(gold.get("label"), str) and not wrong.labels:
        gold = {"text": gold["label"]}  # where there are no labels to choose from, it is a text
    entities = row_to_dict(wrong.row).get("entities")
    if entities is not None:
        shown = ("id", "type", "spans", "attributes")
        gold["entities"] = [{key: e[key] for key in shown if key in e} for e in entities]
    console.print(wrong.row.id if show_text else shown_id(wrong.row.id), style="bold", markup=False)
    if show_text:
        for text in (wrong.row.text, wrong.row.text_pair):
            if text is not None:
                console.print(f"  {text}", markup=False)
    for name, value in (("gold", gold), ("predicted", wrong.prediction)):
        content = value if show_text else without_texts(value, wrong.labels)
        console.print(f"  {name:9}  {json.dumps(content, ensure_ascii=False)}", markup=False)
