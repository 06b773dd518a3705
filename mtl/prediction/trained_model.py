"""What a run has trained: the mixture, heads, weights and calibration of one of its checkpoints."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.calibration.saved import calibration_of, temperatures
from mtl.problems import InputError, Problem
from mtl.tracking.checkpoint_file import damage
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_heads, build_module
from mtl.training.checkpoints import (
    TrainedRows,
    checkpoint_mixture,
    checkpoint_precision,
    located,
    read_checkpoint,
    trained_rows,
)

if TYPE_CHECKING:
    from heads import Head
    from mtl.training.module import MultiTaskModule


def checkpoint_of(run: str | Path) -> Path:
    """The file of a checkpoint.

    Args:
        run: Folder of a run, which stands for its best checkpoint, or for the last one if none was selected on dev; or
            a checkpoint file, in a run or elsewhere.

    Raises:
        InputError: There is no such run, or no undamaged checkpoint.
    """
    path = Path(run)
    if path.is_dir():
        folder = RunFolder.open(path)
        return folder.resolve_checkpoint(folder.saved.selected)
    if not path.is_file() and path.parent.is_dir() and path.parent.name == "checkpoints":
        return RunFolder.open(path.parent).resolve_checkpoint(path)
    if not path.is_file():
        raise InputError(Problem(str(path), "This is neither a checkpoint file nor the folder of a run."))
    if (found := damage(path)) is not None:
        raise InputError(Problem(str(path), f"The file {found}."))
    return path


class TrainedModel:
    """A checkpoint, of which each part is read when it is first needed, and kept.

    Args:
        run: As in `checkpoint_of`.

    Raises:
        InputError: There is no such run, or no undamaged checkpoint of this framework.
    """

    def __init__(self, run: str | Path) -> None:
        self.checkpoint = checkpoint_of(run)
        self.trained_mixture = checkpoint_mixture(self.checkpoint)
        """The mixture with the encoder that the training started from, which may not be on this machine."""
        self.mixture = located(self.trained_mixture, self.checkpoint)
        """The same with the encoder's configuration and tokenizer taken from the run's folder."""

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run.

        Raises:
            InputError: The checkpoint is not in one.
        """
        return RunFolder.open(self.checkpoint)

    @property
    def precision(self) -> str:
        """The precision in which the checkpoint was trained and selected."""
        return checkpoint_precision(self.checkpoint)

    @property
    def updates(self) -> int:
        """Number of updates before the checkpoint."""
        return int(self._content.get("global_step", 0))

    @cached_property
    def rows(self) -> TrainedRows:
        """The kind of rows on which each task was trained."""
        return trained_rows(self._content)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """The calibration of each task that `mtl calibrate` has calibrated, for this checkpoint."""
        return calibration_of(self.checkpoint)

    @property
    def temperatures(self) -> dict[str, float]:
        """By what the logits of each calibrated task are to be divided."""
        return temperatures(self.calibration)

    @property
    def heads(self) -> dict[str, Head]:
        """The head of each task, without trained weights until `module` has been read."""
        heads: dict[str, Head] = self.built[0]
        return heads

    @property
    def tokenizer(self) -> Any:
        """The encoder's tokenizer, with the tokens of all heads."""
        return self.built[1]

    @cached_property
    def built(self) -> Any:
        """Heads and tokenizer, as `build_module` takes them."""
        return build_heads(self.mixture)

    @cached_property
    def module(self) -> MultiTaskModule:
        """The encoder and the heads with their trained weights, in evaluation mode."""
        module = build_module(self.mixture, weights=False, built=self.built)
        module.load_state_dict(self._content["state_dict"])
        return module.eval()

    @cached_property
    def _content(self) -> dict[str, Any]:
        return read_checkpoint(self.checkpoint)
