"""`mtl study plan|run|report|verify`: plans a study, trains its missing runs, and reports the results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands.arguments import with_json_errors
from mtl.files import finite
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.study.design.study_file import Study
    from mtl.study.running.session import Session
    from mtl.study.statistics.findings import Findings

DESCRIPTION = """Measures which tasks help each other.

  plan    list the runs, estimate their cost, and show the smallest gains that the seeds can detect
  run     train the missing runs, then report; an interrupted study resumes with the same command
  report  write the tables, figures and report.html again, from MLflow alone
  verify  train the groups that the pairs predict to be best, and compare predicted with measured gains
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl study …`; returns 1 if runs are missing at the end.

    Raises:
        InputError: The study, its mixture or its data is invalid.
    """
    options = _parse(arguments[1:])
    act = {"plan": _plan, "run": _run, "report": _report, "verify": _verify}[options.action]
    return with_json_errors(act, options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mtl study", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["plan", "run", "report", "verify"], help="see above")
    parser.add_argument("study", help="file of the study; for report, its name is enough")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="overrides, such as seeds=8 or launcher.workers=4"
    )
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of all results (default runs)")
    parser.add_argument(
        "--out", type=Path, help="folder for report.html and the figures (default ROOT/studies/NAME/report)"
    )
    parser.add_argument(
        "--verify-old",
        type=int,
        metavar="N",
        help="run, verify: after a code change, train N finished runs again, and take over the others if the results"
        " are identical",
    )
    parser.add_argument("--no-probe", action="store_true", help="plan: do not time a few updates of each task")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_intermixed_args(arguments)
    if options.verify_old is not None and (options.verify_old < 1 or options.action not in ("run", "verify")):
        parser.error("--verify-old N requires run or verify, and N must be at least 1")
    return options


def _plan(options: argparse.Namespace) -> int:
    from mtl.study.running.estimate import estimate, estimate_lines

    session = _session(options)
    session.bring_known_runs()
    estimated = estimate(session, probes=not options.no_probe)
    if options.json:
        print(json.dumps(estimated, indent=2))
    else:
        print("\n".join(estimate_lines(estimated, options.study)))
    return 0


def _run(options: argparse.Namespace) -> int:
    return _train_and_report(_session(options), options)


def _verify(options: argparse.Namespace) -> int:
    """Adds the predicted groups to the designs, so that the report compares predicted and measured gains."""
    from mtl.study.running.session import Session
    from mtl.study.statistics.grouping import MAX_TASKS

    study = _load(options)
    if len(study.mixture.tasks) > MAX_TASKS:
        message = f"Groups can be predicted for at most {MAX_TASKS} tasks, got {len(study.mixture.tasks)}."
        raise InputError(
            Problem("tasks", message, "Choose fewer tasks, or list the groups yourself with the design groups.")
        )
    session = _session(options)
    session.bring_known_runs()
    grouping = session.findings().grouping
    if grouping is None:
        message = "Groups are predicted from a complete matrix of pairs, which this study does not have yet."
        raise InputError(Problem("designs", message, "Run the study with the design pairwise first."))
    again = Session(study, options.root, proposal=grouping.groups, tracker=session.tracker)
    return _train_and_report(again, options)


def _session(options: argparse.Namespace) -> Session:
    """The session of the study, with groups that were proposed earlier, so that they stay in its report."""
    from mtl.study.running.session import Session
    from mtl.study.running.study_tracker import StudyTracker

    study = _load(options)
    tracker = StudyTracker(study.spec.name, study.spec.experiment)
    proposal = tracker.known_description().get("proposal", ())
    return Session(study, options.root, proposal=proposal, tracker=tracker)


def _report(options: argparse.Namespace) -> int:
    from mtl.study.report.outcome import write_report
    from mtl.study.running.read_back import read_study

    name = _load(options).spec.name if Path(options.study).is_file() else options.study
    findings = read_study(name)
    folder = options.out or options.root / "studies" / name / "report"
    write_report(findings, folder)
    return _show(findings, options, folder)


def _train_and_report(session: Session, options: argparse.Namespace) -> int:
    from mtl.study.running.completion import StoppedError, complete

    folder = options.out or session.folder / "report"
    try:
        findings = complete(session, folder, verify_old=options.verify_old or 0)
    except StoppedError as stopped:
        print(f"mtl: study: {stopped}", file=sys.stderr)
        return 1
    return _show(findings, options, folder, hint=session.tracker.ui_hint())


def _show(findings: Findings, options: argparse.Namespace, folder: Path, *, hint: str = "") -> int:
    """Prints the findings; returns 1 if runs are missing."""
    from mtl.study.report.page import gains_text

    if options.json:
        print(json.dumps(finite(findings.to_dict()), indent=2))
    else:
        from rich.console import Console

        console = Console()
        for part in gains_text(findings):
            console.print(part)
        console.print(f"Report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
        if hint:
            console.print(f"See it in MLflow: {hint}", soft_wrap=True, highlight=False)
    for sentence in findings.missing:
        print(f"mtl: study: {sentence}", file=sys.stderr)
    return 1 if findings.missing else 0


def _load(options: argparse.Namespace) -> Study:
    from mtl.study.design.study_file import load_study

    return load_study(options.study, options.overrides)
