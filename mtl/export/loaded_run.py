"""A run with the trained weights of one of its checkpoints, as an export reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.calibration.saved import calibration_of, temperatures
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_heads, build_module
from mtl.training.checkpoints import checkpoint_mixture, located, read_checkpoint, trained_rows

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule


class LoadedRun(NamedTuple):
    """The weights of a checkpoint, and where they come from.

    Args:
        folder: Folder of the run.
        checkpoint: The checkpoint.
        trained: The mixture, with the encoder that the training started from.
        mixture: The same with the encoder's configuration and tokenizer taken from the run's folder.
        updates: Number of updates so far.
        module: The encoder and the heads.
        tokenizer: The encoder's tokenizer, with the tokens of all heads.
        num_texts: Number of texts of each row by task, as in `TrainedRows`.
        temperatures: By what the logits of each calibrated task are to be divided.
    """

    folder: RunFolder
    checkpoint: Path
    trained: Mixture
    mixture: Mixture
    updates: int
    module: MultiTaskModule
    tokenizer: Any
    num_texts: Mapping[str, int | None]
    temperatures: Mapping[str, float]


def checkpoint_of(run: str | Path) -> Path:
    """The best checkpoint of a run, the last one if none was selected on dev, or the checkpoint itself.

    Raises:
        InputError: There is no such run or undamaged checkpoint.
    """
    folder = RunFolder.open(run)
    return folder.resolve_checkpoint(folder.saved.selected if Path(run).is_dir() else Path(run))


def load_run(run: str | Path) -> LoadedRun:
    """A run with the weights of its best checkpoint.

    Args:
        run: Folder of a run, whose best checkpoint is read, or the last one if none was selected on dev; or a
            checkpoint in it.

    Raises:
        InputError: There is no such run or undamaged checkpoint.
    """
    checkpoint = checkpoint_of(run)
    trained = checkpoint_mixture(checkpoint)
    mixture = located(trained, checkpoint)
    heads, tokenizer = build_heads(mixture)
    module = build_module(mixture, weights=False, built=(heads, tokenizer))
    content = read_checkpoint(checkpoint)
    module.load_state_dict(content["state_dict"])
    return LoadedRun(
        RunFolder.open(run),
        checkpoint,
        trained,
        mixture,
        int(content.get("global_step", 0)),
        module.eval(),
        tokenizer,
        trained_rows(content).num_texts,
        temperatures(calibration_of(checkpoint)),
    )


def require_empty(folder: Path) -> None:
    """Checks that a folder to write does not exist or is empty.

    Raises:
        InputError: It is a file or has content.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        message = f"must be a new or empty folder, got '{folder}', which has content."
        raise InputError(Problem("--to", message, "Choose another folder, or remove this one first."))
