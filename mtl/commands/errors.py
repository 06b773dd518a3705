"""`mtl errors`: the wrong predictions of a run for one task, by row id.

Texts, and ids that are hashed elsewhere, appear on a terminal only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from heads import Prediction, Row, row_to_dict
from mtl.batching.loaders import EvaluationLoader
from mtl.commands.arguments import add_import_option, import_modules
from mtl.data.examples import prepare
from mtl.evaluation.evaluator import Evaluator
from mtl.hashed_ids import shown_id
from mtl.log_filters import filter_logs
from mtl.problems import InputError, Problem, did_you_mean
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_data, build_module
from mtl.training.checkpoints import checkpoint_mixture, checkpoint_precision, located, read_checkpoint


class Wrong(NamedTuple):
    """A row whose prediction differs from its gold, and the size of the error (see `Head.error`)."""

    row: Row
    prediction: Prediction
    error: float


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
    found = wrong_predictions(options.run, options.task, options.split)
    for wrong in found[: options.limit]:
        _print(console, wrong, show_text=show_text)
    more = max(0, len(found) - options.limit)
    console.print(f"{len(found)} wrong in {options.split} of {options.task}" + (f", {more} not shown" if more else ""))
    if not show_text:
        console.print("Texts are shown only on a terminal.")


def wrong_predictions(run: str | Path, task: str, split: str = "dev") -> list[Wrong]:
    """Returns the rows of a split that the best checkpoint of a run gets wrong, largest error first.

    Args:
        run: Folder of a run, or a checkpoint in it.
        task: Name of the task.
        split: train, dev or test.

    Raises:
        InputError: There is no such run, task or split, or the data is missing.
    """
    folder = RunFolder.open(run)
    path = folder.resolve_checkpoint("best" if Path(run).is_dir() else Path(run))
    mixture = located(checkpoint_mixture(path), path)
    if task not in mixture.tasks:
        raise InputError(Problem("--task", f"There is no task '{task}'.", did_you_mean(task, mixture.tasks)))
    module = build_module(mixture, weights=False)
    module.load_state_dict(read_checkpoint(path)["state_dict"])
    data = build_data(mixture)
    data.mixture = mixture.only([task])
    data.tasks = prepare(data.mixture, data.heads, data.tokenizer, splits=(split,))
    if split not in data.tasks[task]:
        raise InputError(Problem("--split", f"The task '{task}' has no split '{split}'."))
    content = data.tasks[task][split]
    predictions: dict[str, Prediction] = {}
    head = module.head(task)
    evaluator = Evaluator(
        {task: head}, {task: content}, tune=False, on_prediction=lambda _, row, made: predictions.update({row: made})
    )
    _run(module, EvaluationLoader(data, split), evaluator, checkpoint_precision(path))
    found = [
        Wrong(row, predictions[row.id], head.error(predictions[row.id], row))
        for row in content.rows
        if row.id in predictions
    ]
    return sorted((wrong for wrong in found if wrong.error > 0), key=lambda wrong: -wrong.error)


def _run(module: Any, loader: EvaluationLoader, evaluator: Evaluator, precision: str) -> None:
    """Evaluates once on the CPU, in the precision of the run if a CPU supports it."""
    module.eval()
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"),
    ):
        for batch in loader:
            evaluator.add(batch, module(batch))
    evaluator.finish()


def _print(console: Console, wrong: Wrong, *, show_text: bool) -> None:
    gold = {key: value for key, value in row_to_dict(wrong.row).items() if key in ("label", "relations")}
    entities = row_to_dict(wrong.row).get("entities")
    if entities is not None:
        shown = ("id", "type", "spans", "attributes")
        gold["entities"] = [{key: e[key] for key in shown if key in e} for e in entities]
    console.print(wrong.row.id if show_text else shown_id(wrong.row.id), style="bold", markup=False)
    if show_text:
        for text in (wrong.row.text, wrong.row.text_pair):
            if text is not None:
                console.print(f"  {text}", markup=False)
    console.print(f"  gold       {json.dumps(gold, ensure_ascii=False)}", markup=False)
    console.print(f"  predicted  {json.dumps(wrong.prediction, ensure_ascii=False)}", markup=False)
