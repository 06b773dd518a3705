"""`mtl suite check|run|report|page`: a published benchmark, its data, our scores, and its page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands.arguments import with_json_errors
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from rich.table import Table

    from mtl.suites.checking import SuiteCheck, TaskCheck
    from mtl.suites.suite_spec import Split, SuiteTaskSpec

DESCRIPTION = """Published benchmarks: tasks bound to splits, counts, metric variants and an aggregation.

  check   compare the data with the published counts; say which are missing, where they are from and where they go
  run     train the missing runs of a model on the tasks with data, then report; the same command resumes
  report  compare all models that were run with the published scores of the same metric variant
  page    print the page of the suite in Markdown, generated from its files

check exits with 0 if the tasks with data could run, even if others are missing, and with 2 if a count is wrong, data
cannot be read, or no task has data. run exits with 1 if runs are missing at the end.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl suite …`; returns 2 if the data have problems.

    Raises:
        InputError: There is no such suite, or its file is invalid.
    """
    options = _parse(arguments[1:])
    return with_json_errors(_act, options)


def _act(options: argparse.Namespace) -> int:
    _refuse_unused(options)
    return {"check": _check, "run": _run, "report": _report, "page": _page}[options.action](options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    from mtl.config.mixture import EncoderSpec
    from mtl.suites.suite_studies import WAYS

    parser = argparse.ArgumentParser(
        prog="mtl suite", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["check", "run", "report", "page"], help="see above")
    parser.add_argument("suite", help="name of a suite in experiments/suites, such as blurb, or a suite file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="overrides, such as tasks.blurb_hoc.data.path=FOLDER"
    )
    parser.add_argument("--encoder", help=f"run: name, hub name or folder (default {EncoderSpec().name})")
    parser.add_argument(
        "--as",
        dest="way",
        choices=WAYS,
        help="run: each task alone (the default), all together, or together and then alone",
    )
    parser.add_argument("--tasks", metavar="A,B", help="check, run: some of the tasks, separated by commas")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="run: number of seeds of each task (default: the suite's)"
    )
    parser.add_argument("--out", type=Path, help="run, report: folder of the report (default ROOT/suites/SUITE/report)")
    parser.add_argument("--json", action="store_true", help="check, run, report: print JSON")
    parser.add_argument(
        "--accept-counts",
        action="store_true",
        help="check: accept the counts that differ from the published ones, and record them for the reports",
    )
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of all results (default runs)")
    return parser.parse_intermixed_args(arguments)


_USED = {
    "check": {"overrides", "tasks", "json", "accept_counts"},
    "run": {"overrides", "encoder", "way", "tasks", "seeds", "out", "json"},
    "report": {"out", "json"},
    "page": {"overrides"},
}
"""The options that each action reads, apart from `--root`."""


def _refuse_unused(options: argparse.Namespace) -> None:
    """Refuses options that the action would ignore.

    Raises:
        InputError: There are some.
    """
    named = {"way": "--as", "accept_counts": "--accept-counts", "overrides": "key=value"}
    problems = []
    for name in sorted(set().union(*_USED.values()) - _USED[options.action]):
        if getattr(options, name):
            readers = " and ".join(action for action, used in _USED.items() if name in used)
            message = f"is not an option of `mtl suite {options.action}`."
            problems.append(Problem(named.get(name, f"--{name}"), message, f"Omit it; {readers} reads it."))
    if problems:
        raise InputError(problems)


def _names(options: argparse.Namespace) -> list[str]:
    """The names that `--tasks` gives."""
    return [name for name in (options.tasks or "").split(",") if name]


def _check(options: argparse.Namespace) -> int:
    from mtl.suites.accepted import accepted_file, read_accepted, write_accepted
    from mtl.suites.checking import check_suite
    from mtl.suites.suite_file import load_suite
    from mtl.suites.suite_studies import chosen_tasks

    suite = load_suite(options.suite, options.overrides)
    file = accepted_file(options.root, suite.spec.name)
    check = check_suite(suite, read_accepted(file), chosen_tasks(suite.spec, _names(options)))
    if options.accept_counts and check.wrong():
        write_accepted(file, check.acceptable())
        print(f"mtl: suite: The counts that differ are accepted in {file}.", file=sys.stderr)
        check = check.accepting()
    if options.json:
        print(json.dumps(check.to_dict(), indent=2))
    else:
        _print(check)
    return 2 if check.problems else 0


def _run(options: argparse.Namespace) -> int:
    from mtl.config.mixture import EncoderSpec
    from mtl.study.running.completion import StoppedError
    from mtl.suites.accepted import accepted_file, read_accepted
    from mtl.suites.checking import check_suite
    from mtl.suites.suite_file import load_suite
    from mtl.suites.suite_run import run_suite
    from mtl.suites.suite_studies import WAYS, SuiteOrder, chosen_tasks, split_overrides

    of_suite, changes = split_overrides(options.overrides)
    suite = load_suite(options.suite, of_suite)
    wanted = chosen_tasks(suite.spec, _names(options))
    check = check_suite(suite, read_accepted(accepted_file(options.root, suite.spec.name)), wanted)
    if check.problems:
        raise InputError([*check.problems, *([] if check.found else check.missing())])
    missing = [name for name in wanted if name not in check.found]
    if missing:
        names, hint = ", ".join(missing), f"`mtl suite check {options.suite}` says where they are from."
        print(f"mtl: suite: Left out, because their data are missing: {names}. {hint}", file=sys.stderr)
    encoder = options.encoder or EncoderSpec().name
    order = SuiteOrder(tuple(check.found), options.way or WAYS[0], encoder, options.seeds, changes)
    try:
        num_missing = run_suite(suite, load_suite(options.suite), check, order, options.root)
    except StoppedError as stopped:
        print(f"mtl: suite: {stopped}", file=sys.stderr)
        return 1
    _report(options)
    return 1 if num_missing else 0


def _report(options: argparse.Namespace) -> int:
    from mtl.suites.model_results import models_folder
    from mtl.suites.suite_file import load_suite
    from mtl.suites.suite_report import note, notes, report_metrics, score_columns, suite_means, write_report
    from mtl.suites.suite_run import known_models
    from mtl.suites.suite_tracker import SuiteTracker

    suite = load_suite(options.suite)
    tracker = SuiteTracker(suite.spec.name)
    models = known_models(suite, options.root, tracker)
    metrics, columns = report_metrics(suite, models), score_columns(suite, models)
    means = suite_means(suite, models)
    files = write_report(suite, models, options.out or models_folder(options.root, suite.spec.name).parent / "report")
    tracker.report(metrics, columns, means, files, models, note=note(suite, models))
    tracker.close()
    if options.json:
        found = {"suite": suite.spec.name, "metrics": metrics, "means": means, "scores": columns}
        print(json.dumps(found, indent=2))
        return 0
    _print_scores(columns)
    for sentence in notes(suite, models):
        print(sentence)
    print(f"Report: {files[0]}")
    print(f"See it in MLflow: {tracker.ui_hint()}")
    return 0


def _page(options: argparse.Namespace) -> int:
    from mtl.suites.suite_file import load_suite
    from mtl.suites.suite_page import page

    print(page(load_suite(options.suite, options.overrides)), end="")
    return 0


def _print(check: SuiteCheck) -> None:
    from rich.console import Console

    from mtl.suites.checking import how_to_get

    spec = check.suite.spec
    console = Console(highlight=False)
    console.width = max(console.width, 120)

    def show(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, soft_wrap=True)

    show(f"{spec.name} ({spec.revision}): {spec.title}", "bold")
    console.print(_count_table(check))
    for name, task in check.tasks.items():
        for because in dict.fromkeys(one.because for one in task.splits.values() if one.because):
            counts = [
                f"{split} has {one.found} instead of {one.published}"
                for split, one in task.splits.items()
                if one.because == because
            ]
            show(f"{name}: {', '.join(counts)}: {because}")
    missing = [name for name, task in check.tasks.items() if task.state == "missing"]
    if missing:
        show("\nMissing data", "bold")
        for name in missing:
            show(f"{name}: {how_to_get(spec.tasks[name])}")
    if check.problems:
        show(f"\n{len(check.problems)} {'problem' if len(check.problems) == 1 else 'problems'}", "bold red")
        for problem in check.problems:
            show(f"  {problem}")
    show(f"\n{_state(check)}", "bold")


def _print_scores(columns: Mapping[str, Sequence[Any]]) -> None:
    """Prints the scores of our models; those of others are in the report."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False)
    console.width = max(console.width, 120)
    numbers = ("mean", "sd", "seeds", "trivial", "mean_without_overlap")
    headers = [Column(name.replace("_", " "), justify="right") for name in numbers]
    table = Table("model", Column("task", no_wrap=True), Column("variant", no_wrap=True), *headers)
    names = ("source", "model", "task", "variant", *numbers)
    for source, *cells in zip(*(columns[name] for name in names), strict=True):
        if source is None:
            table.add_row(*(_shown(cell) for cell in cells))
    console.print(table)


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _count_table(check: SuiteCheck) -> Table:
    from rich.table import Column, Table

    numbers = [Column(split, justify="right", no_wrap=True) for split in ("train", "dev", "test")]
    caption = "in parentheses: the published number, if another one or none is there"
    table = Table(Column("task", no_wrap=True), "data", "counted", *numbers, "fingerprint", caption=caption)
    for name, task in check.tasks.items():
        spec = check.suite.spec.tasks[name]
        cells = [_count(task, spec, split) for split in ("train", "dev", "test")]
        unit = spec.counts.unit.replace("_", " ")
        table.add_row(name, task.state, unit, *cells, task.fingerprint[:12])
    return table


def _count(task: TaskCheck, spec: SuiteTaskSpec, split: Split) -> str:
    """The number of units that was found, with the published one if it is another."""
    one = task.splits.get(split)
    published = spec.counts.published()[split]
    if one is None:
        return "" if published is None else f"({published})"
    if one.status in ("equal", "unpublished"):
        return str(one.found)
    return f"{'none' if one.found is None else one.found} ({published}){' !' * (one.status == 'wrong')}"


def _state(check: SuiteCheck) -> str:
    found, total = len(check.found), len(check.tasks)
    if check.is_complete:
        return f"Data for all {total} tasks is available."
    return f"Incomplete: data for {found} of {total} tasks is available; the suite's score needs all."
