"""The command `mtl`. Heavy libraries load only with the command that needs them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

COMMANDS = {
    "check": ("mtl.check", "Read a mixture and its data, print what would run, and every fault at once."),
    "fit": ("mtl.lightning", "Train a mixture, select on dev, track in MLflow."),
    "validate": ("mtl.lightning", "Score a checkpoint on dev."),
    "test": ("mtl.lightning", "Score a checkpoint on test."),
    "study": ("mtl.study.command", "Find out which task helps which: plan, run, report, verify."),
    "predict": ("mtl.predict", "Predict for raw text with a checkpoint."),
    "errors": ("mtl.errors", "List a run's wrong predictions for one task."),
}

HELP = """usage: mtl COMMAND ...

Multi-task learning for biomedical and clinical text.

commands:
{commands}

mtl COMMAND --help tells what a command takes.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 2 the input is at fault, 1 anything else."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()]
        print(HELP.format(commands="\n".join(lines)), end="")
        sys.exit(0 if arguments else 2)
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"biomtl {version('biomtl')}")
        sys.exit(0)
    if arguments[0] not in COMMANDS:
        from mtl.faults import did_you_mean

        sys.exit(_complain([f"There is no command '{arguments[0]}'. {did_you_mean(arguments[0], COMMANDS)}"]))
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command and gives its exit code; faults of the user's input are printed without a traceback."""
    calm()
    from mtl.faults import InputError

    try:
        command: Callable[[Sequence[str]], int | None] = importlib.import_module(COMMANDS[arguments[0]][0]).main
        return command(arguments) or 0
    except InputError as error:
        return _complain([str(fault) for fault in error.faults])
    except KeyboardInterrupt:
        _complain(["Interrupted."])
        return 1


def _complain(lines: Sequence[str]) -> int:
    for line in lines:
        print(f"mtl: {line}", file=sys.stderr)
    return 2


def calm() -> None:
    """Settings that must stand before the heavy libraries load."""
    # OpenMP threads that spin for long starve those of another process on the machine; ones that never spin are slow to
    # wake. A short spin (GNU's runtime; others only wait) is nearly as quick as a long one, alone or in company.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # Said in so many words, or tokenizers complain when a process is forked; ours tokenise in none that is.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
