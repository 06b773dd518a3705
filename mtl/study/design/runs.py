"""The runs of a study, and the comparisons of their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

REPLICATE = 1_000_000
"""Offset from a seed to the seed of its replicate."""

SELF, SHUFFLED = "__self", "__shuffled"
"""Suffixes of copies of a task: an exact copy, and a copy with shuffled training labels."""


@dataclass(frozen=True)
class Run:
    """A run: the tasks that are trained together, the seed, and the run whose encoder it starts from.

    Args:
        tasks: Names of the tasks, in the order of the mixture.
        seed: Seed for all random draws.
        source: Run whose encoder this run starts from; None starts from the encoder of the mixture.
        keeps_heads: Whether the run also starts from the heads of the source.
        stage: Stage of the design with its own budget or learning rates; empty for those of the study.
        evaluates: Whether the run trains nothing, but tests its source, with the source's head, on its only task.
        arm: Name of the settings that its tasks have instead of those of the mixture; empty for the latter.
        data: Name of the data that some of its tasks have instead of that of the mixture; empty for the latter.
    """

    tasks: tuple[str, ...]
    seed: int
    source: Run | None = None
    keeps_heads: bool = False
    stage: str = ""
    evaluates: bool = False
    arm: str = ""
    data: str = ""

    @property
    def trains(self) -> str:
        """What the run trains, regardless of the seed."""
        name = " + ".join(self.tasks) + "".join(f" ({label})" for label in (self.data, self.arm, self.stage) if label)
        if self.source is None:
            return name
        if self.evaluates:
            return f"{self.source.trains} tested on {name}"
        return f"{self.source.trains} then {name}{' with its heads' if self.keeps_heads else ''}"

    def __str__(self) -> str:
        return f"{self.trains}, seed {self.seed}"

    def chain(self) -> Iterator[Run]:
        """Returns the run, then its source, and so on."""
        yield self
        if self.source is not None:
            yield from self.source.chain()


class Comparison(NamedTuple):
    """A comparison of the score of a target in two runs of the same seed."""

    design: str
    target: str
    partner: str
    seed: int
    treated: Run
    reference: Run


def without_stages(run: Run) -> Run:
    """Returns the run with the budget and learning rates of the study, and so its sources."""
    return replace(run, stage="", source=run.source and without_stages(run.source))


def single_runs(tasks: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Returns the single-task runs, which are the baselines."""
    return [Run((task,), seed) for task in tasks for seed in seeds]


def original(task: str) -> str:
    """Returns the task of which a task is a copy; the task itself if it is not a copy."""
    return task.removesuffix(SELF).removesuffix(SHUFFLED)
