"""Command-line arguments before Lightning's parser sees them: the mixture is taken out, resolved and checked whole.

Lightning's parser refuses a task that is included and partly overridden, and reports one problem at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.config.yaml_files import read_yaml, resolve
from mtl.problems import InputError, Problem

_FLAGS = frozenset({"-h", "--help", "--print_config", "--print_shtab", "--profile"})
"""Options of Lightning's parser that need no value."""


_REFUSED = ("optimizer", "lr_scheduler")
"""Options of Lightning's command line that would take the place of ours, with all that hangs on it."""


class Config(NamedTuple):
    """A Lightning config file, taken apart.

    Args:
        mixture: A path, or the content of a mixture; None where the file names none.
        folder: Where paths in a content are looked for first.
        overrides: What the file says of the mixture elsewhere: its seed.
        rest: What Lightning's parser reads, interpolation resolved.
    """

    mixture: Any
    folder: Path
    overrides: list[str]
    rest: dict[str, Any]


def take_mixture(arguments: Sequence[str]) -> tuple[Mixture | None, list[str]]:
    """Splits the arguments of `mtl fit` into the mixture and what Lightning's parser reads.

    The mixture is what `--mixture` names, else the key `mixture` of a config file (a path beside that file, or the
    mixture itself); of several config files the last one wins. ``--mixture.key value`` overrides its fields,
    ``--seed_everything`` its seed. ``key=value`` is read as ``--key=value``, ``--profile`` as ``--run.profile=true``.

    Returns:
        The mixture, None where none was named, and the other arguments.

    Raises:
        InputError: The mixture or a config file has problems.
    """
    source, folder = None, None
    overrides: list[str] = []
    configs: list[Config] = []
    rest: list[str] = []
    for name, value in _pairs(arguments):
        if name == "--mixture":
            source = _needed(name, value)
        elif name.startswith("--mixture."):
            overrides.append(f"{name.removeprefix('--mixture.')}={_needed(name, value)}")
        elif name == "--seed_everything":
            overrides.append(f"seed={_needed(name, value)}")
        elif name == "--trainer.precision" and value == "auto":
            continue  # which is our default, and no word of Lightning's
        elif name.removeprefix("--").partition(".")[0] in _REFUSED and name.startswith("--"):
            raise InputError(_refused(name))
        elif name == "--profile":
            rest.append("--run.profile=true")
        elif name in ("--config", "-c"):
            configs.append(read_config(Path(_needed(name, value))))
        else:
            rest += [name] if value is None else [f"{name}={value}"] if name.startswith("--") else [name, value]
    named = [config for config in configs if config.mixture is not None]
    if source is None and named:
        source, folder = named[-1].mixture, named[-1].folder
    overrides = [override for config in configs for override in config.overrides] + overrides
    rest = [argument for config in configs for argument in ("--config", json.dumps(config.rest))] + rest
    return (None if source is None else load_mixture(source, overrides, folder=folder)), rest


def read_config(path: Path) -> Config:
    """A Lightning config file; a mixture that lies beside it is found there.

    Raises:
        InputError: The file is missing or no YAML, or an interpolation fails.
    """
    fields = read_yaml(path)
    mixture = fields.pop("mixture", None)
    rest = resolve(fields)
    if isinstance(mixture, str):
        mixture = str(resolve({"mixture": mixture})["mixture"])
        places = [place for place in (path.parent / mixture, Path(mixture)) if place.is_file()]
        if not places:
            advice = "Check the path; it is looked for beside the config, then in the working folder."
            raise InputError(Problem(f"{path}: mixture", f"The file '{mixture}' doesn't exist.", advice))
        mixture = str(places[0])
    refused = [_refused(f"{path}: {name}") for name in _REFUSED if name in rest]
    if refused:
        raise InputError(refused)
    seed = rest.pop("seed_everything", None)
    trainer = rest.get("trainer")
    if isinstance(trainer, dict) and trainer.get("precision") == "auto":
        trainer.pop("precision")
    if seed is not None and not isinstance(seed, int):
        raise InputError(Problem(f"{path}: seed_everything", f"It must be a whole number; found {seed!r}."))
    has_seed = seed is not None and not isinstance(seed, bool)
    return Config(mixture, path.parent.absolute(), [f"seed={seed}"] if has_seed else [], rest)


def _refused(key: str) -> Problem:
    message = (
        "is not available: the optimiser has parameter groups for the encoder, each head and the balancing, leaves a"
        " head alone in steps that do not train it, and its schedule is resumed exactly."
    )
    advice = "Use model.learning_rate, model.head_learning_rate, model.weight_decay, model.warmup and model.schedule."
    return Problem(key, message, advice)


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Options with their values; a flag or a bare word has None."""
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


def _needed(name: str, value: str | None) -> str:
    if value is None:
        raise InputError(Problem(name, "It needs a value.", f"Write {name} VALUE."))
    return value
