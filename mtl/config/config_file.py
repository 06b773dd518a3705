"""Config files of Lightning's command line: the mixture that they name, and what is left for Lightning's parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from mtl.config.yaml_files import find_file, read_yaml, require_known_key, resolve, with_numbers
from mtl.problems import InputError, Problem
from mtl.redaction import quoted_code

REFUSED = ("optimizer", "lr_scheduler")
"""Options of Lightning's command line that would replace our optimiser, with its parameter groups and schedule."""


_SECTIONS = (
    *("mixture", "trainer", "model", "run", "guard", "early_stopping", "seed_everything", "ckpt_path", "verbose"),
    *REFUSED,
)
"""Keys of a config file."""


class _TrainerNumbers(BaseModel):
    model_config = ConfigDict(strict=True)
    max_epochs: int | None = None
    max_steps: int | None = None
    accumulate_grad_batches: int | None = None


class _ModelNumbers(BaseModel):
    model_config = ConfigDict(strict=True)
    learning_rate: float | None = None


class _Numbers(BaseModel):
    """Numbers of a config file that are read before Lightning's parser reads it."""

    model_config = ConfigDict(strict=True)
    seed_everything: int | bool | None = None
    trainer: _TrainerNumbers | None = None
    model: _ModelNumbers | None = None


class Config(NamedTuple):
    """The parts of a Lightning config file.

    Args:
        mixture: Path of a mixture, or its fields; None if the file has no mixture.
        folder: Folder in which paths in the fields are looked up first.
        overrides: Overrides of the mixture set elsewhere in the file, that is, its seed.
        rest: The remaining fields for Lightning's parser, with interpolation resolved.
    """

    mixture: Any
    folder: Path
    overrides: list[str]
    rest: dict[str, Any]


def read_config(path: Path) -> Config:
    """Reads a Lightning config file; the path of its mixture may be relative to the file.

    Raises:
        InputError: The file is missing or not valid YAML, or an interpolation fails.
    """
    fields = read_yaml(path)
    require_known_key(path, fields, _SECTIONS)
    mixture = fields.pop("mixture", None)
    rest = with_numbers(resolve(fields), fields, _Numbers)
    if not (mixture is None or isinstance(mixture, str | dict)):
        message = "must be the path of a mixture file, or the fields of a mixture."
        raise InputError(Problem(f"{path}: mixture", message, "Write mixture: FILE."))
    if isinstance(mixture, str):
        mixture = str(resolve({"mixture": mixture})["mixture"])
        mixture = str(find_file(mixture, path.parent, f"{path}: mixture", "config"))
    refused = [refused_problem(f"{path}: {name}") for name in REFUSED if name in rest]
    if refused:
        raise InputError(refused)
    seed = rest.pop("seed_everything", None)
    trainer = rest.get("trainer")
    if isinstance(trainer, dict) and trainer.get("precision") == "auto":
        trainer.pop("precision")
    if seed is not None and not isinstance(seed, int):
        raise InputError(Problem(f"{path}: seed_everything", f"must be an integer, got {quoted_code(str(seed))}."))
    has_seed = seed is not None and not isinstance(seed, bool)
    return Config(mixture, path.parent.absolute(), [f"seed={seed}"] if has_seed else [], rest)


def refused_problem(key: str) -> Problem:
    """The problem of an option of Lightning's command line that would replace our optimiser."""
    message = (
        "is not available: the optimiser has parameter groups for the encoder, each head and the balancing method,"
        " skips heads in steps that do not train them, and resumes its schedule exactly."
    )
    advice = "Use model.learning_rate, model.head_learning_rate, model.weight_decay, model.warmup and model.schedule."
    return Problem(key, message, advice)
