"""`mtl tune FILE`: searches settings of a mixture and of its training by their score on dev."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands.arguments import with_json_errors
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.tuning.search import TrialSearch
    from mtl.tuning.tuning_file import Tuning

DESCRIPTION = """Searches learning rates and other settings by their score on dev; test is never evaluated.

The file names a mixture and the values to try. An interrupted search resumes with the same command, and the same
command in several terminals shares the trials. The best values are printed as arguments of `mtl fit`.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl tune …`; returns 1 if the search stopped early or no trial is finished.

    Raises:
        InputError: The file, its mixture, its data or a searched value is invalid.
    """
    options = _parse(arguments[1:])
    return with_json_errors(_tune, options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mtl tune", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="tuning file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="overrides of the file, such as trials=40 or seeds=3"
    )
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of all results (default runs)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_intermixed_args(arguments)


def _tune(options: argparse.Namespace) -> int:
    _require_optuna()
    from mtl.log_filters import filter_logs
    from mtl.training.signals import StopSignals
    from mtl.tuning.search import TrialSearch
    from mtl.tuning.tuning_tracker import TuningTracker

    filter_logs()
    tuning = load(options.file, options.overrides)
    search = TrialSearch(tuning, options.root)
    search.tracker = TuningTracker(tuning.spec.name, search.folder, tuning.spec.experiment)
    with StopSignals():  # SIGTERM stops like Ctrl-C
        return _run(search, options)


def load(file: Path | str, overrides: Sequence[str] = ()) -> Tuning:
    """Reads a tuning file, and checks its mixture, data and values as `mtl check` and `mtl fit` do.

    Raises:
        InputError: As for `load_tuning`.
    """
    from mtl.commands.fit_options import option_problems
    from mtl.log_filters import quiet_lightning
    from mtl.planning.mixture_check import check
    from mtl.tuning.tuning_file import Checks, load_tuning

    with quiet_lightning():
        return load_tuning(file, overrides, Checks(check, option_problems))


def _run(search: TrialSearch, options: argparse.Namespace) -> int:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from mtl.tuning.search import SearchStoppedError
    from mtl.tuning.tuning_report import search_json, summary_lines, write_search_report

    tracker = search.tracker
    assert tracker is not None
    tracker.begin({"file": str(options.file), **_params(search)})
    try:
        search.run()
        record = search.record(with_importance=True)
        files = write_search_report(record, search.folder)
        tracker.report(record, "\n\n".join(summary_lines(record)), files)
    except BaseException as error:  # Ctrl-C too must end the run in MLflow
        is_stopped = isinstance(error, KeyboardInterrupt | SystemExit | SIGTERMException | SearchStoppedError)
        tracker.end("KILLED" if is_stopped else "FAILED")
        if not is_stopped:
            raise
        record = search.record()
        write_search_report(record, search.folder)
        counts = record.counts
        done = counts["finished"] + counts["pruned"] + counts["failed"]
        why = f"{error} " if isinstance(error, SearchStoppedError) else ""
        message = f"{why}Stopped after {done} of {record.wanted} trials. Repeat the command to resume."
        print(f"mtl: tune: {message}", file=sys.stderr)
        return 1
    finally:
        tracker.close()
    if options.json:
        print(json.dumps({**search_json(record), "folder": str(search.folder)}, indent=2))
    else:
        _show(search, record)
    return 0 if record.best is not None else 1


def _show(search: TrialSearch, record: Any) -> None:
    from mtl.tuning.tuning_report import command, summary_lines

    for line in summary_lines(record):
        print(line)
    if record.best is not None:
        print(f"Train with the best values: {command(record)}")
    print(f"Report: {search.folder / 'report.md'}")
    assert search.tracker is not None
    print(f"See it in MLflow: {search.tracker.ui_hint()}")


def _params(search: TrialSearch) -> dict[str, Any]:
    description = search.tuning.description()
    kept = ("options", "search", "seeds", "objective", "sampler", "prune")
    return {**{key: description[key] for key in kept}, "trials": search.tuning.num_trials}


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401  # only whether it is there
    except ImportError:
        advice = "Install the extra: pip install 'biomtl[tune]'."
        raise InputError(Problem("optuna", "is not installed, and `mtl tune` needs it.", advice)) from None
