"""Which runs answer a question, and which of their scores are compared.

A design turns tasks and a seed into comparisons. Each names the run in company and the run without it, so the runs of
a study are simply all those that its comparisons name, each once: designs share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, NamedTuple

from mtl.problems import did_you_mean

REPLICATE = 1_000_000
"""Added to a seed for its replicate."""

SELF, SHUFFLED = "__self", "__shuffled"
"""Suffixes of tasks that stand for another: its own copy, and its copy with permuted training labels."""


@dataclass(frozen=True)
class Run:
    """One training: which tasks together, by which seed, starting from which other run's encoder.

    Args:
        tasks: In the order of the mixture.
        seed: Of everything that is drawn.
        source: The run whose encoder this one starts from; None takes the mixture's encoder.
        keeps_heads: Whether it starts from the source's heads, too.
    """

    tasks: tuple[str, ...]
    seed: int
    source: Run | None = None
    keeps_heads: bool = False

    @property
    def company(self) -> str:
        """What the run trains, without its seed."""
        name = " + ".join(self.tasks)
        if self.source is None:
            return name
        return f"{self.source.company} then {name}{' with its heads' if self.keeps_heads else ''}"

    def __str__(self) -> str:
        return f"{self.company}, seed {self.seed}"


class Comparison(NamedTuple):
    """A target's score in one run against its score in another of the same seed."""

    design: str
    target: str
    partner: str
    seed: int
    treated: Run
    reference: Run


Compare = Callable[[Sequence[str], int, Any], Iterator[Comparison]]


@dataclass(frozen=True)
class Design:
    """A way to compare.

    Args:
        question: What its gains tell, in a sentence.
        compare: From tasks, a seed and options to comparisons.
        check: From options and tasks to what is wrong with the options; None where there are none.
    """

    question: str
    compare: Compare
    check: Callable[[Any, Sequence[str]], list[str]] | None = None

    def option_problems(self, options: Any, tasks: Sequence[str]) -> list[str]:
        """What is wrong with the options."""
        if options is None:
            return ["It needs its sets of tasks, such as groups: [[a, b], [c]]."] if self is DESIGNS["groups"] else []
        if self.check is None:
            return ["It has no options."]
        return self.check(options, tasks)


def comparisons(parts: Sequence[tuple[str, Any]], tasks: Sequence[str], seeds: Sequence[int]) -> list[Comparison]:
    """All comparisons of some designs and controls with their options."""
    known = DESIGNS | CONTROLS
    return [one for name, options in parts for seed in seeds for one in known[name].compare(tasks, seed, options)]


def single_runs(tasks: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The baselines."""
    return [Run((task,), seed) for task in tasks for seed in seeds]


def original(task: str) -> str:
    """The task that a copy stands for; itself for any other."""
    return task.removesuffix(SELF).removesuffix(SHUFFLED)


# --- designs ----------------------------------------------------------------------------------------------------------


def _single(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    return iter(())


def _joint(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        yield Comparison("joint", target, "all others", seed, Run(tuple(tasks), seed), Run((target,), seed))


def _pairwise(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for pair in combinations(tasks, 2):
        for target, partner in (pair, pair[::-1]):
            yield Comparison("pairwise", target, partner, seed, Run(pair, seed), Run((target,), seed))


def _sequential(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for source, target in permutations(tasks, 2):
        treated = Run((target,), seed, source=Run((source,), seed))
        yield Comparison("sequential", target, source, seed, treated, Run((target,), seed))


def _refine_finetune(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    keeps_heads = (options or {}).get("heads", "kept") == "kept"
    for target in tasks:
        # Both sides have the target's own updates twice; against one round alone every gain would be for that, too.
        joint, alone = Run(tuple(tasks), seed), Run((target,), seed)
        treated, reference = (Run((target,), seed, source=first, keeps_heads=keeps_heads) for first in (joint, alone))
        yield Comparison("refine_finetune", target, "joint, then alone", seed, treated, reference)


def _leave_one_out(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for partner in tasks:
        others = tuple(task for task in tasks if task != partner)
        for target in others:
            yield Comparison("leave_one_out", target, partner, seed, Run(tuple(tasks), seed), Run(others, seed))


def _groups(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for written in options:
        group = tuple(task for task in tasks if task in written)
        for target in group if len(group) > 1 else ():
            partners = " + ".join(task for task in group if task != target)
            yield Comparison("groups", target, partners, seed, Run(group, seed), Run((target,), seed))


def _check_heads(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, Mapping) or set(options) != {"heads"} or options["heads"] not in ("fresh", "kept"):
        return [f"Its only option is heads: fresh or kept; found {options!r}."]
    return []


def _check_groups(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, list) or not all(isinstance(group, list) and group for group in options):
        return ["It must be a list of lists of tasks, such as groups: [[a, b], [c]]."]
    problems = []
    for group in options:
        problems += [f"There is no task '{task}'. {did_you_mean(task, tasks)}" for task in group if task not in tasks]
        if len(set(group)) < len(group):
            problems.append(f"A task stands once in a group, and is no partner of itself; found {group}.")
    sets = [frozenset(group) for group in options]
    return problems + (["Groups must differ."] if len(set(sets)) < len(sets) else [])


DESIGNS = {
    "single": Design("How good is each task by itself?", _single),
    "joint": Design("What does each task gain from being trained with all others?", _joint),
    "pairwise": Design("What does a target gain when one partner is trained with it?", _pairwise),
    "sequential": Design("What does a target gain when the encoder was trained on a source task before?", _sequential),
    "refine_finetune": Design(
        "What does a task gain when it is fine-tuned from an encoder that all tasks trained, and not from one that it"
        " trained alone? (Both have had its own updates twice.)",
        _refine_finetune,
        _check_heads,
    ),
    "leave_one_out": Design("What does a task add to a target, all others being there?", _leave_one_out),
    "groups": Design("What does each task gain in the group that was written down for it?", _groups, _check_groups),
}


# --- controls ---------------------------------------------------------------------------------------------------------


def _replicate(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        treated = Run((target,), seed + REPLICATE)
        yield Comparison("replicate", target, "replicate", seed, treated, Run((target,), seed))


def _self_partner(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        treated = Run((target, target + SELF), seed)
        yield Comparison("self_partner", target, "its own copy", seed, treated, Run((target,), seed))


def _continued(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        alone = Run((target,), seed)
        treated = Run((target,), seed, source=alone, keeps_heads=True)
        yield Comparison("continued", target, "itself before", seed, treated, alone)


def _shuffled_partner(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    following = dict(zip(tasks, [*tasks[1:], *tasks[:1]], strict=True))
    for target, partner in {**following, **(options or {})}.items():
        treated = Run((target, partner + SHUFFLED), seed)
        yield Comparison("shuffled_partner", target, partner, seed, treated, Run((target,), seed))


def _check_partners(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, Mapping):
        return [f"It must map targets to partners; found {options!r}."]
    problems = [f"There is no task '{name}'." for pair in options.items() for name in pair if name not in tasks]
    return problems + [f"A task is no partner of itself; found {a}." for a, b in options.items() if a == b]


CONTROLS = {
    "replicate": Design("How far apart are two single-task trainings that differ in nothing but the seed?", _replicate),
    "self_partner": Design(
        "What do more updates on the target's own rows bring, through a second head of the same kind?", _self_partner
    ),
    "continued": Design(
        "What does a task gain when it is fine-tuned, with its head, from the encoder that it trained alone?",
        _continued,
    ),
    "shuffled_partner": Design(
        "What does a partner bring whose training labels are permuted, so that it regularises and knows nothing?",
        _shuffled_partner,
        _check_partners,
    ),
}
