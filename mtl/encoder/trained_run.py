"""The encoder that a run has trained, where `encoder.name` is the path of a run: its files, checkpoint and weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mtl.problems import InputError, Problem
from mtl.tracking.checkpoint_file import load_checkpoint
from mtl.tracking.run_folder import RunFolder

_PREFIX = "encoder.model."
"""What names of the encoder's weights start with in a checkpoint."""


class TrainedEncoder(NamedTuple):
    """The encoder of a run.

    Args:
        folder: Folder with its configuration and tokenizer, including the tokens that heads have added.
        checkpoint: The checkpoint with its weights.
    """

    folder: Path
    checkpoint: Path

    def weights(self) -> dict[str, Tensor]:
        """The weights by their names in the Hugging Face model, without those of a pooler, which no run trains.

        Raises:
            InputError: The checkpoint cannot be read.
        """
        content = load_checkpoint(self.checkpoint)
        if "state_dict" not in content:
            raise InputError(Problem(str(self.checkpoint), "The checkpoint holds no weights."))
        weights = content["state_dict"]
        return {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}


@functools.cache  # the checksum of the checkpoint is computed
def trained_encoder(path: Path) -> TrainedEncoder:
    """The encoder of a run.

    Args:
        path: Folder of a run, whose best checkpoint is taken, or the last one if none was selected on dev; or one of
            its checkpoints.

    Raises:
        InputError: There is no such run, it is the folder of a mixture, whose newest run changes, or the run has no
            undamaged checkpoint, or no configuration of its encoder.
    """
    try:
        run = RunFolder.open(path)
    except InputError as error:
        found = [Problem("init.run", f"{path}: {one.message}", one.suggestion) for one in error.problems]
        raise InputError(found) from error
    if path.is_dir() and run.path != path.absolute():
        message = f"must be the folder of one run, got '{path}'."
        raise InputError(Problem("init.run", message, f"The newest run in it is {run.path}."))
    if not (run.encoder / "config.json").is_file():
        message = f"The run '{path}' lacks the configuration of its encoder, {run.encoder.name}/config.json."
        raise InputError(Problem("init.run", message, "Use another run, or train it again."))
    return TrainedEncoder(run.encoder, run.resolve_checkpoint(run.saved.selected if path.is_dir() else path))


def is_trained(path: Path) -> bool:
    """Whether a path is meant as a run: its folder, the folder of its mixture, or a checkpoint."""
    if path.suffix == ".ckpt":
        return True
    names = ("run.json", "checkpoints.json", "latest")  # other programs also write `latest`, next to a model
    return any((path / name).is_file() for name in names) and not (path / "config.json").is_file()
