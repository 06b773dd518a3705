"""`mtl compare`: two systems, each a run or a file of predictions, on the same documents."""

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
    add_import_option,
    add_unit_option,
    file_options,
    import_modules,
    trainer_options,
    with_json_errors,
)
from mtl.commands.score_notes import left_out_notes, variant_notes
from mtl.evaluation.resampling_units import unit_numbers
from mtl.evaluation.units import unit_of
from mtl.log_filters import filter_logs
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.systems import Gold, SystemScores, gold_rows, scored_file, scored_run
from mtl.problems import InputError, Problem
from mtl.readers import SPLITS
from mtl.study.statistics.paired_systems import differences, exchange_p
from mtl.suites.suite_tasks import suite_task, variants_of_task

DESCRIPTION = """Compares two systems on the same documents: the difference in each metric with its interval over
documents (or --unit), and whether the difference in the primary metric is significant, by the sign flips of studies
with documents in place of seeds. It says nothing about other seeds of a training; studies do."""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl compare A B [--task T] [--split test] [--format F] [--json]`.

    Raises:
        InputError: A system or the task is invalid, or a system does not have the rows of the split.
    """
    trainer, rest = trainer_options(arguments[1:])
    options = _parser().parse_args(rest)
    options.trainer = trainer
    import_modules(options.modules)
    filter_logs()
    return with_json_errors(_compare, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl compare", description=DESCRIPTION, allow_abbrev=False)
    for name in ("first", "second"):
        parser.add_argument(name, help="a run (folder or checkpoint), or a file of predictions")
    parser.add_argument("--task", help="task of the run or of a suite, or a task file (default: the only task)")
    parser.add_argument("--split", default="test", choices=SPLITS, help="split to compare on (default test)")
    add_unit_option(parser)
    add_file_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import_option(parser)
    return parser


def _compare(options: argparse.Namespace) -> int:
    given = [Path(options.first), Path(options.second)]
    missing = [path for path in given if not path.exists()]
    if missing:
        raise InputError([Problem(str(path), "The path does not exist.", "Check the path.") for path in missing])
    runs = {path: FinishedRun(path, options.trainer) for path in given if path.is_dir() or path.suffix == ".ckpt"}
    gold = gold_rows(options.task, list(runs.values()), options.split, options.unit, find=suite_task)
    first, second = (
        scored_run(runs[path], gold) if path in runs else scored_file(path, gold, file_options(options))
        for path in given
    )
    found = _report(gold, first, second)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found)
    return 0


def _report(gold: Gold, first: SystemScores, second: SystemScores) -> dict[str, Any]:
    counts = [system.result.stacked_counts() for system in (first, second)]
    units = unit_numbers(first.result.documents, gold.units)
    found = differences(gold.head, counts[0], counts[1], units=units)
    unit = unit_of(gold.head, gold.rows)
    return {
        "task": gold.task,
        "split": gold.split,
        "documents": len(first.result.documents),
        "resampled": gold.unit,
        "systems": [first.name, second.name],
        "left_out": [dict(system.left_out) for system in (first, second)],
        "primary_metric": gold.head.primary_metric,
        "variants": variants_of_task(gold.spec, found),
        "p": exchange_p(gold.head, counts[0], counts[1], units=units, unit=unit),
        "unit": unit,
        "metrics": {
            name: {
                "first": one.first,
                "second": one.second,
                "difference": one.difference,
                "low": one.interval.low,
                "high": one.interval.high,
            }
            for name, one in found.items()
        },
    }


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    first, second = found["systems"]
    table = Table("metric", title=f"{found['task']}, {found['split']}: {found['documents']} documents")
    for column in (first, second, "difference", "95% interval"):
        table.add_column(column, justify="right")
    for name, one in found["metrics"].items():
        span = f"{one['low']:+.3f} to {one['high']:+.3f}"
        table.add_row(name, f"{one['first']:.3f}", f"{one['second']:.3f}", f"{one['difference']:+.3f}", span)
    console.print(table)
    below = abs(found["metrics"][found["primary_metric"]]["difference"]) < found["unit"]
    note = ", because the difference is below one unit of the split" if below else ""
    console.print(
        f"{found['primary_metric']}: p = {found['p']:.4f}, two-sided, by exchange of {found['resampled']}s{note}"
    )
    systems = zip(found["systems"], found["left_out"], strict=True)
    left_out = (note for name, own in systems for note in left_out_notes(name, own))
    for one in (*variant_notes(found["variants"]), *left_out):
        console.print(one, markup=False, soft_wrap=True)
