"""Command-line arguments before Lightning's parser sees them: the mixture is taken out, resolved and checked whole.

Lightning's parser refuses a task that is included and partly overridden, and reports one fault at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl.faults import Fault, InputError
from mtl.loading import read_yaml
from mtl.mixture import Mixture, load_mixture


def take_mixture(arguments: Sequence[str]) -> tuple[Mixture | None, list[str]]:
    """Splits the arguments of `mtl fit` into the mixture and what Lightning's parser reads.

    The mixture is what `--mixture` names, else the key `mixture` of a config file (a path beside that file, or the
    mixture itself). ``--mixture.key value`` overrides its fields, ``--seed_everything`` its seed. ``key=value`` is
    read as ``--key=value``.

    Returns:
        The mixture, None where none was named, and the other arguments.

    Raises:
        InputError: The mixture or a config file has faults.
    """
    source: Any = None
    overrides: list[str] = []
    configs: list[dict[str, Any]] = []
    rest: list[str] = []
    for name, value in _pairs(arguments):
        if name == "--mixture":
            source = value
        elif name.startswith("--mixture."):
            overrides.append(f"{name.removeprefix('--mixture.')}={value}")
        elif name == "--seed_everything":
            overrides.append(f"seed={value}")
        elif name in ("--config", "-c"):
            configs.append(_read_config(Path(str(value))))
        else:
            rest += [name] if value is None else [f"{name}={value}" if name.startswith("--") else f"{name} {value}"]
    for config in configs:
        in_file = config.pop("mixture", None)
        seed = config.pop("seed_everything", None)
        source = in_file if source is None else source
        overrides = [f"seed={seed}", *overrides] if isinstance(seed, int) and not isinstance(seed, bool) else overrides
    rest = [argument for config in configs for argument in ("--config", json.dumps(config))] + rest
    return (None if source is None else load_mixture(source, overrides)), rest


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
        elif word.startswith("-") and waiting and not waiting[0].startswith("--") and "=" not in waiting[0]:
            pairs.append((name, waiting.pop(0)))
        else:
            pairs.append((word, None))
    return pairs


def _read_config(path: Path) -> dict[str, Any]:
    """A Lightning config file, interpolation resolved and `mixture` found beside it."""
    fields = read_yaml(path)
    try:
        config = OmegaConf.to_container(OmegaConf.create(fields), resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(Fault(str(path), f"Interpolation fails: {' '.join(str(error).split())}.")) from None
    assert isinstance(config, dict)
    mixture = config.get("mixture")
    if isinstance(mixture, str) and (path.parent / mixture).exists():
        config["mixture"] = str(path.parent / mixture)
    trainer = config.get("trainer")
    if isinstance(trainer, dict) and trainer.get("precision") == "auto":
        trainer.pop("precision")
    return {str(key): value for key, value in config.items()}
