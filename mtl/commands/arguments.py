"""Preprocesses command-line arguments for Lightning's parser: extracts, resolves and validates the mixture.

Lightning's parser rejects a task that is included and partly overridden, and reports one problem at a time.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mtl.config.config_file import REFUSED, Config, read_config, refused_problem
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.config.yaml_files import read_yaml
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS
from mtl.redaction import reason

if TYPE_CHECKING:
    from mtl.prediction.systems import FileOptions

_FLAGS = frozenset({"-h", "--help", "--print_config", "--print_shtab", "--profile", "--end-to-end"})
"""Options of Lightning's parser that take no value."""


def take_mixture(arguments: Sequence[str]) -> tuple[Mixture | None, list[str]]:
    """Splits the arguments of `mtl fit` into the mixture and the arguments for Lightning's parser.

    The mixture comes from `--mixture`, otherwise from the key `mixture` of a config file (a path next to that file, or
    the mixture itself); the last config file with a mixture wins. ``--mixture.key value`` overrides its fields,
    ``--seed_everything`` its seed. A ``FILE.yaml`` without an option is a mixture or a config file, by its keys.
    ``key=value`` is read as ``--key=value``, ``--profile`` as ``--run.profile=true``, ``--end-to-end`` as
    ``--run.end_to_end=true``, and ``--mentions`` as an entry of ``--run.mentions``.

    Returns:
        The mixture (None if none was given) and the other arguments.

    Raises:
        InputError: The mixture or a config file has problems.
    """
    source, folder = None, None
    overrides: list[str] = []
    configs: list[Config] = []
    rest: list[str] = []
    refused: list[Problem] = []
    for name, value in _pairs(arguments):
        if name == "--mixture":
            source = _needed(name, value)
        elif name.startswith("--mixture."):
            overrides.append(f"{name.removeprefix('--mixture.')}={_needed(name, value)}")
        elif name == "--seed_everything":
            overrides.append(f"seed={_needed(name, value)}")
        elif name == "--trainer.precision" and value == "auto":
            continue  # our default, which Lightning does not accept as a value
        elif name.removeprefix("--").partition(".")[0] in REFUSED and name.startswith("--"):
            refused.append(refused_problem(name))
        elif name == "--profile":
            rest.append("--run.profile=true")
        elif name == "--end-to-end":
            rest.append("--run.end_to_end=true")
        elif name == "--mentions":
            rest.append(f"--run.mentions+={_needed(name, value)}")
        elif name in ("--config", "-c"):
            configs.append(read_config(Path(_needed(name, value))))
        elif value is None and _is_file(name):  # as `mtl check` takes it
            if "tasks" in (content := read_yaml(Path(name))) or "mixture" not in content:
                source = name
            else:
                configs.append(read_config(Path(name)))
        else:
            rest += [name] if value is None else [f"{name}={value}"] if name.startswith("--") else [name, value]
    if refused:
        raise InputError(refused)
    named = [config for config in configs if config.mixture is not None]
    if source is None and named:
        source, folder = named[-1].mixture, named[-1].folder
    overrides = [override for config in configs for override in config.overrides] + overrides
    rest = [argument for config in configs for argument in ("--config", json.dumps(config.rest))] + rest
    return (None if source is None else load_mixture(source, overrides, folder=folder)), rest


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--import MODULE`, for checkpoints that name classes of the user's own code."""
    parser.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        nargs="+",
        action="extend",
        default=[],
        help="modules with your own classes that the checkpoint names, such as lab.heads; their code runs",
    )


def import_modules(names: Sequence[str]) -> None:
    """Imports modules.

    Raises:
        InputError: Modules cannot be imported; the error lists all of them.
    """
    problems = []
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, ValueError, TypeError) as error:
            message = f"'{name}' cannot be imported: {reason(error).rstrip('.')}."
            problems.append(Problem("--import", message, "Write --import package.module."))
    if problems:
        raise InputError(problems)


def add_gold_options(parser: argparse.ArgumentParser, split: str) -> None:
    """Adds the options that name the gold labels of a file: `--task`, `--run`, `--split` and `--unit`.

    Args:
        parser: The parser.
        split: The default split.
    """
    parser.add_argument("--task", help="task file, or name of a task of a suite; with --run, of the run")
    parser.add_argument("--run", help="run that provides the task and data")
    parser.add_argument("--split", default=split, choices=SPLITS, help=f"split with the gold labels (default {split})")
    add_unit_option(parser)


def add_unit_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--unit`."""
    unit_help = "what intervals resample: document, or a key of the rows' meta (default: as in the run, or document)"
    parser.add_argument("--unit", metavar="KEY", help=unit_help)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of files of predictions: `--format`, `--map` and `--ignore`."""
    parser.add_argument("--format", help="pubtator, conll, jsonl, bioasq or ddi, if the suffix is ambiguous")
    map_help = "labels with other names in the file, such as GENE=Gene"
    parser.add_argument(
        "--map", dest="names", metavar="THEIRS=OURS", nargs="+", action="extend", default=[], help=map_help
    )
    ignore_help = "types of mentions and relations in the file that are not read"
    parser.add_argument(
        "--ignore", dest="ignored", metavar="TYPE", nargs="+", action="extend", default=[], help=ignore_help
    )


def file_options(options: argparse.Namespace) -> FileOptions:
    """What the options of `add_file_options` say.

    Raises:
        InputError: `--map` has another form.
    """
    from mtl.prediction.other_corpus import parse_names
    from mtl.prediction.systems import FileOptions

    return FileOptions(options.format, parse_names(options.names), options.ignored)


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Options with their values; flags and positional arguments have None."""
    pairs: list[tuple[str, str | None]] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") and "=" in word:
            word = f"--{word}"
        name, equals, value = word.partition("=")
        if equals:
            pairs.append((name, value))
        elif word.startswith("-") and word not in _FLAGS and waiting and not waiting[0].startswith("--"):
            pairs.append((name, waiting.pop(0)))
        else:
            pairs.append((word, None))
    return pairs


def _is_file(word: str) -> bool:
    return not word.startswith("-") and word.endswith((".yaml", ".yml")) and Path(word).is_file()


def _needed(name: str, value: str | None) -> str:
    if value is None:
        raise InputError(Problem(name, "The option needs a value.", f"Write {name} VALUE."))
    return value


def trainer_options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Arguments of the trainer, from ``--trainer.NAME VALUE`` and ``--trainer.NAME=VALUE``, and the other words.

    Raises:
        InputError: There is no such option, or it has no value.
    """
    import pytorch_lightning as pl

    known = [f"--trainer.{name}" for name in inspect.signature(pl.Trainer).parameters]
    options: dict[str, Any] = {}
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--trainer"):
            others.append(word)
            continue
        if name not in known:
            raise InputError(Problem(name, f"There is no option '{name}'.", did_you_mean(name, known)))
        if not equals and not waiting:
            raise InputError(Problem(name, "The option needs a value.", f"Write {name} VALUE."))
        options[name.removeprefix("--trainer.")] = yaml.safe_load(value if equals else waiting.pop(0))
    return options, others


def with_json_errors(act: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Runs a command with `--json`: problems of the input are JSON too, with exit code 2.

    Args:
        act: Runs the command and returns its exit code.
        options: Its options, of which `json` decides.

    Raises:
        InputError: The input is invalid, and the output is not JSON.
    """
    try:
        return act(options)
    except InputError as error:
        if not options.json:
            raise
        found = {"ok": False, "errors": [problem.to_dict() for problem in error.problems]}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 2
