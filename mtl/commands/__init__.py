"""The command `mtl`. Heavy libraries are imported only by the commands that need them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from mtl.threads import set_thread_defaults

COMMANDS = {
    "init": ("mtl.commands.init", "Draft a mixture from data files: readers, columns, labels, counts."),
    "check": ("mtl.commands.check", "Check a mixture and its data; print what would run, or report every problem."),
    "fit": ("mtl.commands.fit", "Train a mixture, select checkpoints on dev, and track the run in MLflow."),
    "validate": ("mtl.commands.fit", "Evaluate a checkpoint on dev."),
    "test": ("mtl.commands.fit", "Evaluate a checkpoint on test."),
    "study": ("mtl.commands.study", "Measure which tasks help each other: plan, run, report, verify."),
    "suite": ("mtl.commands.suite", "Check the data of a published benchmark against its published counts."),
    "tune": ("mtl.commands.tune", "Search learning rates and other settings by their score on dev."),
    "calibrate": ("mtl.commands.calibrate", "Calibrate the probabilities of a run on dev, and check them on test."),
    "predict": ("mtl.commands.predict", "Predict on raw text with a checkpoint."),
    "export": ("mtl.commands.export", "Write tasks or the encoder of a run as Hugging Face models."),
    "serve": ("mtl.commands.serve", "Serve a run over HTTP or on a page in the browser, or write it for MLflow."),
    "errors": ("mtl.commands.errors", "List the wrong predictions of a run for one task."),
    "evaluate": ("mtl.commands.evaluate", "Score a task of a run on another corpus of the same type."),
    "score": ("mtl.commands.score", "Score another system's predictions."),
    "agreement": ("mtl.commands.agreement", "Measure how weak labels agree with gold, by source and class."),
    "compare": ("mtl.commands.compare", "Compare two runs, or predictions of other systems, on the same documents."),
    "ids": ("mtl.commands.ids", "Map the hashed ids of a run back to ids, for the holder of the key."),
    "encoders": ("mtl.commands.encoders", "List the catalogue of encoders, or show one with its sources."),
    "vocabulary": ("mtl.commands.vocabulary", "Train a tokenizer on a corpus, or add words to an encoder's own."),
    "cache": ("mtl.commands.cache", "Show the cache of rows and examples, or clear it."),
}

HELP = """usage: mtl COMMAND ...

Multi-task learning for biomedical and clinical text.

commands:
{commands}

Run mtl COMMAND --help for the options of a command.
"""


# Python has not found the module yet, or `sys.argv[0]` would be its path. It would define a command and run nothing.
if sys.argv[:1] == ["-m"] and any(word.removeprefix("-m").startswith(f"{__name__}.") for word in sys.orig_argv):
    print("mtl: Run a command with `mtl COMMAND` or `python -m mtl COMMAND`.", file=sys.stderr)
    sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 on success, 2 if the input is invalid, 1 otherwise."""
    try:
        try:
            code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit as stop:  # as after --help, whose text must be flushed too
            code = stop.code
        except BrokenPipeError:
            raise
        except Exception as error:  # Python would print its message, which may be text of the data
            from mtl.redaction import crash_report

            sys.stderr.write(crash_report(error))
            code = 1
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has read enough
        # Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _dispatch(arguments: Sequence[str]) -> int | str | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
        print(HELP.format(commands="\n".join(lines)), end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"biomtl {version('biomtl')}")
        return 0
    if arguments[0] not in COMMANDS:
        from mtl.problems import did_you_mean

        return _complain([f"There is no command '{arguments[0]}'. {did_you_mean(arguments[0], COMMANDS)}"])
    return run(arguments)


def run(arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit code; problems in the user's input are printed without a traceback."""
    set_thread_defaults()
    from mtl.problems import InputError

    try:
        command: Callable[[Sequence[str]], int | None] = importlib.import_module(COMMANDS[arguments[0]][0]).main
        return command(arguments) or 0
    except InputError as error:
        return _complain([str(problem) for problem in error.problems])
    except KeyboardInterrupt:
        _complain(["Interrupted."])
        return 1


def _complain(lines: Sequence[str]) -> int:
    for line in lines:
        print(f"mtl: {line}", file=sys.stderr)
    return 2
