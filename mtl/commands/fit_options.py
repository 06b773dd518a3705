"""The options of `mtl fit`, `validate` and `test`, and their checks before a run has a folder."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser

from mtl.config.schema import checked, keys_of
from mtl.distributed import launched_processes
from mtl.problems import InputError, Problem, did_you_mean
from mtl.training.guard import Guard
from mtl.training.hyperparameters import Optimisation
from mtl.training.precision import precision_problems


@dataclasses.dataclass
class RunOptions:
    """Where a run goes and what it records.

    Args:
        root: Folder of all runs; the folder of a run is ROOT/MIXTURE/TIME-sSEED.
        track: Whether to track the run in MLflow.
        experiment: Name of the MLflow experiment.
        metrics: Which metrics MLflow gets: `main` for primary and requested metrics, losses, the strongest trivial
            predictors and the learning rate; `all` also for other metrics, counts of rows, all trivial predictors and
            the load of the machine. The folder of the run has them either way.
        baselines: Whether to score trivial predictors at the end.
        frozen: Whether to score `frozen` among them: a linear model on the states of the encoder without fine-tuning,
            which needs a pass over the training rows unless its scores are in the cache.
        save_every: Number of updates after which `last` is saved within an epoch, to resume with `--ckpt_path last`;
            None does not count updates. `last` is always saved at the end of each epoch.
        save_minutes: Minutes after which `last` is saved within an epoch; None does not count minutes.
        keep: Number of checkpoints to keep as `last`: the newest, and those to use if it is damaged.
        best_per_task: Whether to save the best checkpoint of each task; None does so for up to 10 tasks.
        predictions: Whether to keep predictions by row id, in the folder of the run and in MLflow. They contain
            labels and offsets, but no text.
        profile: Whether to profile training steps and write the times to the folder of the run: `profile.md` by
            operator, `fit-phases.txt` by phase. `--profile` is short for `--run.profile=true`.
        end_to_end: Whether `mtl test` also scores relations and attributes of the mentions that entity tasks find.
            `--end-to-end` is short for `--run.end_to_end=true`.
        mentions: Entity tasks that find the mentions of a task, each NAME=TASK[,TASK]; needed if several tasks find the
            same type. `--mentions` is short for an entry.
    """

    root: str = "runs"
    track: bool = True
    experiment: str = "biomtl"
    metrics: Literal["main", "all"] = "main"
    baselines: bool = True
    frozen: bool = True
    save_every: int | None = None
    save_minutes: float | None = 5
    keep: int = 2
    best_per_task: bool | None = None
    predictions: bool = False
    profile: bool = False
    end_to_end: bool = False
    mentions: list[str] = dataclasses.field(default_factory=list)

    def folder(self) -> Path:
        """The folder of all runs; `~` and `$NAME` stand for what a shell makes of them."""
        return Path(os.path.expandvars(self.root)).expanduser()


@dataclasses.dataclass
class EarlyStoppingOptions:
    """When to stop before the last epoch.

    Args:
        patience: Number of dev evaluations without improvement; None disables early stopping.
        min_delta: Smallest increase that counts as an improvement.
        per_task: Whether to stop each task by its primary metric, instead of all tasks by the selection score.
    """

    patience: int | None = None
    min_delta: float = 0.0
    per_task: bool = False


TRAINER_DEFAULTS = {
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
}


def add_options(parser: LightningArgumentParser) -> None:
    """Adds the options to a parser, by section: trainer, model, run, guard, early_stopping; and the mixture."""
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    parser.add_class_arguments(Optimisation, "model", instantiate=False)
    compile_help = "Whether to compile the encoder with torch.compile, which takes about a minute at the start."
    parser.add_argument("--model.compile", type=bool, default=False, help=compile_help)
    graphs_help = "Whether to train with CUDA graphs where that is possible. Not yet verified on a GPU."
    parser.add_argument("--model.cuda_graphs", type=bool, default=False, help=graphs_help)
    parser.add_class_arguments(RunOptions, "run")
    parser.add_class_arguments(Guard, "guard", instantiate=False)
    parser.add_class_arguments(EarlyStoppingOptions, "early_stopping")
    parser.add_argument("--mixture", type=str, default=None, help="The mixture file; --mixture.KEY overrides it.")


def option_problems(options: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Every problem of options of `mtl fit` that its parser, or Lightning's trainer, finds before the training.

    Args:
        options: Options by section: model, trainer, early_stopping or guard.
    """
    parser = LightningArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_options(parser)
    known = [name for name in vars(parser.get_defaults().as_flat()) if "." in name]
    problems: list[Problem] = []
    for section, values in options.items():
        names = [name.removeprefix(f"{section}.") for name in known if name.startswith(f"{section}.")]
        wrong = [name for name in values if name not in names]
        problems += [
            Problem(f"{section}.{name}", f"There is no option '{name}'.", did_you_mean(name, names)) for name in wrong
        ]
        for name in (name for name in values if name not in wrong):
            problems += _option_problems(parser, section, name, values[name])
    if not problems and "trainer" in options:
        trainer = parser.instantiate(parser.parse_object({"trainer": dict(options["trainer"])})).trainer
        arguments = {"precision": "32-true", **{k: v for k, v in trainer.as_dict().items() if v is not None}}
        try:
            check_trainer(arguments)
        except InputError as error:
            problems += error.problems
    return problems


def _option_problems(parser: LightningArgumentParser, section: str, name: str, value: Any) -> list[Problem]:
    """The problem of the value of one option; an empty list if it is valid."""
    key = f"{section}.{name}"
    cls = {"model": Optimisation, "guard": Guard}.get(section)
    try:
        if cls is not None and name in keys_of(cls):
            checked(cls, {name: value}, section)
        else:
            parser.parse_object({section: {name: value}})
    except InputError as error:
        return error.problems
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        types = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.(Literal\[.*?\])|(\S+))", str(error))
        names = dict.fromkeys(
            "".join(found).replace("Literal", "one of ").replace("NoneType", "null") for found in types
        )
        rule = f"must be {' or '.join(names)}" if names else "is not valid"
        return [Problem(key, f"{rule}, got {json.dumps(value, default=str)}.")]
    return []


def check_trainer(arguments: dict[str, Any], *, trains: bool = True) -> None:
    """Validates the options of the trainer, by Lightning's checks and ours, before the run has a folder.

    Args:
        arguments: Arguments of the trainer.
        trains: Whether the command trains, and so needs a limit on epochs or steps.

    Raises:
        InputError: Lightning rejects the options, the strategy shards weights, the trainer does not use the processes
            that were launched, training has no limit, or the precision is not available.
    """
    strategy = arguments.get("strategy")
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if any(kind in name.lower() for kind in ("fsdp", "deepspeed", "modelparallel")):
        message = f"must keep all weights on every device, because heads and checkpoints need them whole; got {name}."
        raise InputError(
            Problem("trainer.strategy", message, "Use ddp; for a large encoder, encoder.gradient_checkpointing.")
        )
    # A copy, because a strategy or plugin object is bound to the first trainer that uses it.
    arguments = copy.deepcopy({**arguments, "logger": False, "callbacks": None, "enable_checkpointing": False})
    try:
        trainer = pl.Trainer(**arguments)
    except (
        MisconfigurationException,
        ValueError,
        TypeError,
        ImportError,
    ) as error:  # the package of an option is missing
        raise InputError(Problem("--trainer", " ".join(str(error).split()))) from error
    launched = launched_processes()
    if launched > 1 and trainer.world_size == 1:
        message = f"A launcher has started {launched} processes, but the trainer uses one: each would train alone."
        hint = (
            "Set trainer.devices, trainer.num_nodes and trainer.strategy=ddp to what it starts, or start one process."
        )
        raise InputError(Problem("trainer.devices", message, hint))
    problems = precision_problems(str(arguments.get("precision")), trainer.strategy.root_device.type)
    epochs, steps = trainer.max_epochs, trainer.max_steps
    # If neither is set, Lightning trains for 1000 epochs, unless max_time is set.
    is_endless = arguments.get("max_time") is not None if epochs is None else epochs < 0
    if trains and is_endless and steps < 0:
        message = f"Training must be limited by max_epochs or max_steps, got {epochs} and {steps}."
        problems.append(
            Problem("trainer.max_epochs", message, "Set one of them; the learning-rate schedule ends there.")
        )
    if problems:
        raise InputError(problems)
