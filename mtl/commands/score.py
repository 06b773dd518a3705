"""`mtl score`: scores another system's predictions on the gold rows of a task."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mtl.commands.arguments import (
    add_file_options,
    add_gold_options,
    add_import_option,
    file_options,
    import_modules,
    with_json_errors,
)
from mtl.commands.score_notes import left_out_notes, variant_notes
from mtl.evaluation.baselines import fitted_baselines
from mtl.evaluation.intervals import score_intervals
from mtl.evaluation.surfaces import surface_scores
from mtl.files import finite
from mtl.log_filters import filter_logs
from mtl.markdown import MISSING
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.systems import gold_rows, scored_file
from mtl.suites.suite_tasks import suite_task, variants_of_task

DESCRIPTION = """Scores predictions of another system by the code that scores our runs. The file is PubTator, CoNLL,
JSON lines, answers of BioASQ or a DDI submission, and must have a prediction for every row of the split."""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl score PREDICTIONS --task FILE [--split test] [--format F] [--json]`, or with `--run RUN --task T`.

    Raises:
        InputError: The file or the task is invalid, or the file does not have the rows of the split.
    """
    options = _parser().parse_args(arguments[1:])
    import_modules(options.modules)
    filter_logs()
    return with_json_errors(_score, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl score", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("predictions", type=Path, help="file of predictions")
    add_gold_options(parser, "test")
    add_file_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import_option(parser)
    return parser


def _score(options: argparse.Namespace) -> int:
    runs = [FinishedRun(options.run)] if options.run else []
    gold = gold_rows(options.task, runs, options.split, options.unit, find=suite_task)
    system = scored_file(options.predictions, gold, file_options(options))
    head = gold.head
    surfaces = surface_scores(head, gold.train, system.rows, system.predictions) if gold.train else None
    intervals = score_intervals(head, system.result, units=gold.units)
    scores = dict(system.result.scores)
    if surfaces is not None:
        scores |= surfaces.scores()
        intervals |= surfaces.intervals(head, gold.units)
    found = {
        "task": gold.task,
        "split": gold.split,
        "primary_metric": head.primary_metric,
        "variants": variants_of_task(gold.spec, scores),
        "rows": system.result.num_rows,
        "documents": len(system.result.documents),
        "left_out": dict(system.left_out),
        "resampled": gold.unit,
        "scores": finite(scores),
        "intervals": {name: interval._asdict() for name, interval in intervals.items()},
        "baselines": finite(fitted_baselines(head, gold.train, gold.rows, gold.dev)) if gold.train else {},
    }
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found, options.predictions.name)
    return 0


def _print(found: dict[str, Any], name: str) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    counts = f"{found['rows']} rows of {found['documents']} documents"
    console.print(f"{name} on {found['task']}, {found['split']}: {counts}", style="bold", markup=False)
    table = Table("metric")
    for column in ("score", "95% interval", *found["baselines"]):
        table.add_column(column, justify="right")
    for metric, score in found["scores"].items():
        interval = found["intervals"].get(metric)
        span = MISSING if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
        others = [scores.get(metric) for scores in found["baselines"].values()]
        table.add_row(metric, _shown(score), span, *map(_shown, others))
    console.print(table)
    for note in (*variant_notes(found["variants"]), *left_out_notes(name, found["left_out"])):
        console.print(note, markup=False, soft_wrap=True)


def _shown(score: float | None) -> str:
    return MISSING if score is None else f"{score:.3f}"
