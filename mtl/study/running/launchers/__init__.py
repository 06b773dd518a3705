"""Where the runs of a study are trained: one file per place.

A launcher starts workers (`mtl.study.running.worker`) and says whether they still run; which worker trains which
run is the ledger's business. A new launcher is a new file here with one subclass of `Launcher`; its file name is its
name in YAML.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.config.components import build, check_options
from mtl.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Launcher(ABC):
    """Starts workers.

    Args:
        workers: How many.
        threads: Of each, for its numeric libraries.

    Options of a launcher are the keyword-only arguments that its own `__init__` adds.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    @abstractmethod
    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        """Trains all runs, or as many as can be; returns when no worker is left.

        Args:
            work: The runs.
            folder: Of the study, where `work` is written for other processes.
            watch: To be called about once a second while workers run elsewhere.
            finished: To be called after each run that is trained in this very process.
        """

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        """What it needs and doesn't have here (a package, a number of workers), each with what to do about it."""
        return []

    def environment(self) -> dict[str, str]:
        """Of a worker's process: this process's own, with so many threads."""
        return {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}

    def command(self, file: Path, number: int) -> list[str]:
        """What starts a worker on what `Work.write` left."""
        return [sys.executable, "-m", "mtl.study.running.worker", str(file), str(number)]


def launcher_names() -> list[str]:
    """The files here."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def launcher_class(name: str) -> type[Launcher]:
    """The launcher of a file here."""
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Launcher) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} must define one Launcher"
    return found[0]


def make_launcher(name: str, options: Mapping[str, Any], workers: int, threads: int) -> Launcher:
    """A launcher with its options from YAML."""
    made: Launcher = build(launcher_class(name), workers, threads, **options)
    return made


def launcher_problems(name: str, options: Mapping[str, Any], workers: int) -> list[Problem]:
    """What is wrong with a launcher's name and options, and what it lacks here."""
    names = launcher_names()
    if name not in names:
        return [Problem("launcher.name", f"There is no launcher '{name}'.", did_you_mean(name, names))]
    cls: Any = launcher_class(name)
    problems = check_options(cls, options, "launcher", frozenset({"workers", "threads"}))
    if problems:
        return problems
    return [Problem("launcher", message, advice) for message, advice in cls.lacking(workers)]
