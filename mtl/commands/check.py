"""`mtl check`: checks everything that can be checked without training; prints the plan, or every problem."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl.commands.check_output import print_outcome
from mtl.planning.mixture_check import CheckResult, check
from mtl.planning.training_plan import MixturePlan
from mtl.problems import Problem


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl check FILE… [key=value…] [--json]`; returns 0 if every file is valid, else 2."""
    parser = argparse.ArgumentParser("mtl check", description="Prints what would run, or every problem.")
    parser.add_argument(
        "words", nargs="+", metavar="FILE | KEY=VALUE", help="mixture files, and overrides that apply to all of them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with `ok`, `errors` and `plan` for each file")
    parser.add_argument(
        "--epochs",
        type=_epochs,
        help="number of epochs to plan for (default: as `mtl fit` would train)",
    )
    options = parser.parse_args(arguments[1:])
    files = [word for word in options.words if "=" not in word or Path(word).is_file()]
    overrides = [word for word in options.words if word not in files]
    if not files:
        parser.error("at least one mixture file is required")
    outcomes = [(word, *_outcome(word, overrides, options.epochs)) for word in files]
    if options.json:
        print(json.dumps(_json(outcomes), indent=2))
    else:
        for file, problems, plan in outcomes:
            print_outcome(file, problems, plan)
    return 2 if any(problems for _, problems, _ in outcomes) else 0


def _outcome(word: str, overrides: Sequence[str], epochs: int | None) -> CheckResult:
    """The problems and the plan of an argument that is not an override."""
    if Path(word).is_file():
        return check(word, overrides, epochs=epochs)
    message = "This is neither an existing file nor an override of the form key=value."
    return CheckResult([Problem(word, message, "Check the path, or write KEY=VALUE.")], {})


def _json(outcomes: Sequence[tuple[str, list[Problem], MixturePlan]]) -> dict[str, Any]:
    """The report of one file, or the reports of several files as a list under `files`."""
    reports = [
        {"file": file, "ok": not problems, "errors": [problem.to_dict() for problem in problems], "plan": plan}
        for file, problems, plan in outcomes
    ]
    return reports[0] if len(reports) == 1 else {"ok": all(report["ok"] for report in reports), "files": reports}


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be an integer of at least 1")
    return int(text)
