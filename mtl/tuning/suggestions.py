"""Optuna's study of the trials of a search, in a journal that several processes may use at once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mtl.files import make_folder
from mtl.seeding import derive
from mtl.tuning.search_space import Choices, SearchSpace

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

JOURNAL = "journal.log"
"""Name of the journal in the folder of a search."""

Direction = Literal["maximize", "minimize"]

MIN_WILCOXON_SEEDS = 5
"""With fewer seeds, the test cannot fall below its threshold of 0.1 before the last seed: after 3 seeds, p >= 1/8."""


class JournalLock(JournalFileOpenLock):
    """A lock that ends with its process. Optuna's own locks are files that a killed process leaves behind.

    Args:
        journal: Path of the journal.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._lock = FileLock(journal.with_suffix(".flock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_trials(folder: Path, name: str, *, direction: Direction, pruner: str | None = None) -> optuna.Study:
    """Opens the trials of a search, or begins them.

    Args:
        folder: Folder of the search.
        name: Name of the search.
        direction: Whether Optuna should `maximize` or `minimize` the objective.
        pruner: How bad trials are found; None lets all trials end.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make_folder(folder)
    path = folder / JOURNAL
    lock = JournalLock(path)
    lock.acquire()
    try:
        _remove_incomplete_line(path)
    finally:
        lock.release()
    with FileLock(folder / "begin.lock"):  # two processes must not create the study at once
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        if name in optuna.get_all_study_names(storage):  # creating it again would add a line to the journal each time
            return optuna.load_study(study_name=name, storage=storage, pruner=make_pruner(pruner))
        return optuna.create_study(storage=storage, study_name=name, direction=direction, pruner=make_pruner(pruner))


def make_sampler(name: str, space: SearchSpace, seed: int, number: int) -> BaseSampler:
    """The sampler of a trial.

    Random samplers are seeded for each trial, so that a resumed search draws what it would have drawn without the
    interruption, and does not start its random numbers again.

    Args:
        name: grid, tpe or random.
        space: The searched values.
        seed: Seed of the search.
        number: Number of the trial.
    """
    if name == "grid":
        return _Grid({key: values.written for key, values in space.items() if isinstance(values, Choices)}, seed=seed)
    own_seed = derive(seed, "trial", number) % 2**32
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=own_seed)
    return optuna.samplers.RandomSampler(seed=own_seed)


def make_pruner(name: str | None) -> BasePruner:
    """The pruner with this name; without a name, one that never prunes."""
    if name is None:
        return optuna.pruners.NopPruner()
    if name == "median":
        return optuna.pruners.MedianPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner()


class _Grid(optuna.samplers.GridSampler):
    """Optuna's grid for trials that are asked for and told: it would stop a loop of Optuna's own after the last."""

    def after_trial(self, *_: Any) -> None:
        pass


def _remove_incomplete_line(path: Path) -> None:
    """Removes the last line of a journal if a process was killed while writing it; Optuna could not read it."""
    content = path.read_bytes() if path.is_file() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
