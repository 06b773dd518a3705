"""`mtl calibrate`: calibrated probabilities of a finished run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from mtl.calibration.saved import FILE
from mtl.calibration.task_calibration import TaskCalibration
from mtl.commands.arguments import add_import_option, import_modules, trainer_options, with_json_errors
from mtl.files import finite
from mtl.log_filters import filter_logs
from mtl.markdown import MISSING
from mtl.prediction.calibrating import calibrate
from mtl.prediction.finished_run import FinishedRun

DESCRIPTION = """Fits on dev one temperature per task, by which its logits are divided, and shows on test how well
calibrated the probabilities are, before and after. Predictions stay as they are; from now on, mtl predict gives
calibrated probabilities. docs/calibration.md describes it."""


_NUMBERS = ("ECE", "Brier", "NLL", "AURC")


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl calibrate RUN [--task T…] [--json]`.

    Raises:
        InputError: There is no such run or task, or a task has no probabilities or no gold on dev.
    """
    trainer, rest = trainer_options(arguments[1:])
    parser = argparse.ArgumentParser("mtl calibrate", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run, whose best checkpoint is calibrated, or a checkpoint in it")
    parser.add_argument("--task", nargs="+", action="extend", help="tasks to calibrate (default: all that can be)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import_option(parser)
    options = parser.parse_args(rest)
    options.trainer = trainer
    import_modules(options.modules)
    filter_logs()
    return with_json_errors(_calibrate, options)


def _calibrate(options: argparse.Namespace) -> int:
    run = FinishedRun(options.run, options.trainer)
    found = calibrate(run, options.task)
    if options.json:
        content = {
            "checkpoint": run.model.checkpoint.name,
            "tasks": {name: one.to_dict() for name, one in found.items()},
        }
        sys.stdout.write(json.dumps(finite(content), indent=2) + "\n")
    else:
        _print(found, str(run.folder.path / FILE))
    return 0


def _print(found: Mapping[str, TaskCalibration], place: str) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    console.print(_reliability_table(found))
    if any(one.conformal for one in found.values()):
        console.print(_sets_table(found))
    for task, one in found.items():
        if one.note is not None:
            console.print(f"Warning: {task}: {one.note}.", markup=False, soft_wrap=True)
    console.print(f"Kept in {place}", markup=False, soft_wrap=True)


def _reliability_table(found: Mapping[str, TaskCalibration]) -> Table:
    table = Table("task", "counted", title="probabilities on test, before and after calibration on dev")
    for name in ("n", "temperature", *_NUMBERS):
        table.add_column(name, justify="right")
    for task, one in found.items():
        for name, temperature, state in ((task, 1.0, one.before), ("", one.temperature, one.after)):
            numbers = [MISSING] * 4 if state is None else [f"{value:.3f}" for value in state.numbers().values()]
            table.add_row(
                name, one.unit if name else "", str(one.num_test) if name else "", f"{temperature:.3f}", *numbers
            )
        if "change" in one.intervals:
            spans = one.intervals["change"].values()
            table.add_row("", "", "", "change, 95%", *(f"{low:+.3f} to {high:+.3f}" for low, high in spans))
    return table


def _sets_table(found: Mapping[str, TaskCalibration]) -> Table:
    table = Table("task", title="conformal sets of labels")
    for name in ("coverage", "on test", "95% interval", "labels per set"):
        table.add_column(name, justify="right")
    for task, one in found.items():
        for coverage, check in one.conformal.items():
            share, size = (MISSING if value is None else f"{value:.3f}" for value in (check.coverage, check.size))
            interval = MISSING if check.interval is None else f"{check.interval[0]:.3f} to {check.interval[1]:.3f}"
            table.add_row(task if coverage == next(iter(one.conformal)) else "", coverage, share, interval, size)
    return table
