"""`mtl agreement`: how weak labels agree with gold, by source and class."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
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
from mtl.log_filters import filter_logs
from mtl.markdown import MISSING
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.systems import gold_rows
from mtl.prediction.weak_agreement import agreement
from mtl.suites.suite_tasks import suite_task

DESCRIPTION = """Measures how weak labels agree with gold on the rows that have both, for each source: the task's
metrics with intervals, Cohen's kappa, and scores by class. The weak label takes the place of the prediction."""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl agreement WEAK --task FILE [--split dev] [--json]`, or with `--run RUN --task T`.

    Raises:
        InputError: The file or the task is invalid, or no row of the file is in the split.
    """
    options = _parser().parse_args(arguments[1:])
    import_modules(options.modules)
    filter_logs()
    return with_json_errors(_agreement, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl agreement", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("weak", type=Path, help="file of weak labels: rows as JSON lines, or lines of mtl predict")
    add_gold_options(parser, "dev")
    add_file_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import_option(parser)
    return parser


def _agreement(options: argparse.Namespace) -> int:
    runs = [FinishedRun(options.run)] if options.run else []
    gold = gold_rows(options.task, runs, options.split, options.unit, find=suite_task)
    found = agreement(options.weak, gold, file_options(options))
    report = {
        "task": gold.task,
        "split": gold.split,
        "primary_metric": gold.head.primary_metric,
        "rows": len(gold.rows),
        "not_in_split": found.unknown,
        "sources": found.sources,
    }
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)
    return 0


def _print(report: Mapping[str, Any]) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    split = f"{report['task']}, {report['split']}: {report['rows']} rows with gold"
    outside = f"; {report['not_in_split']} rows of the file are not among them" if report["not_in_split"] else ""
    console.print(f"{split}{outside}", style="bold", markup=False)
    for source, found in report["sources"].items():
        console.print(f"{source}: {found['rows']} rows of {found['documents']} documents", markup=False)
        table = Table("metric", "agreement", "95% interval")
        for metric, score in found["scores"].items():
            interval = found["intervals"].get(metric)
            span = MISSING if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
            table.add_row(metric, _shown(score), span)
        console.print(table)
        if found["per_class"]:
            console.print(_classes(found["per_class"]))


def _classes(per_class: Mapping[str, Mapping[str, float | None]]) -> Table:
    columns = list(next(iter(per_class.values())))
    table = Table("class", *columns)
    for name, values in per_class.items():
        table.add_row(name, *(_shown(values.get(column)) for column in columns))
    return table


def _shown(score: float | None) -> str:
    if score is None:
        return MISSING
    return f"{score:.0f}" if score > 1 else f"{score:.3f}"
