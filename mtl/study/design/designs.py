"""Designs and controls: which runs answer a question, and which of their scores are compared.

A design turns tasks and a seed into comparisons. Each comparison names a treated run and a reference run. The runs of
a study are all runs that its comparisons name, each trained once and shared by all designs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

from mtl.problems import did_you_mean
from mtl.study.design import pretraining, sizes
from mtl.study.design.pretraining import PRETRAINING, PRETRAINING_ARMS
from mtl.study.design.runs import REPLICATE, SELF, SHUFFLED, Comparison, Run, without_stages
from mtl.study.design.sizes import SIZES
from mtl.study.design.stages import FINETUNE, REFINE

CONTINUED = "continued"
"""The control that shows what a second round of training alone brings."""

ITSELF = "itself before"
"""What the control `continued` has in place of a partner, followed by the size of the target if that is limited."""

ARMS = "arms"
"""The design that compares settings of one task with each other."""

REFINE_FINETUNE = "refine_finetune"
"""The design whose report has a table of the scores before and after each of its stages."""

CROSS = "cross"
"""The design whose runs only test single-task runs on other corpora."""

Compare = Callable[[Sequence[str], int, Any], Iterator[Comparison]]


@dataclass(frozen=True)
class Design:
    """A design or a control.

    Args:
        question: The question that its gains answer, in one sentence.
        compare: Function from tasks, a seed and options to comparisons.
        check: Function from options and tasks to problems with the options; None if there are no options.
        is_against_single: Whether the reference trains the target alone, so that a second round of training alone
            (`continued`) is what a gain must exceed.
        stages: Names of its stages, which may have their own budgets and learning rates.
        needs: What its options must be, if it has no defaults for them; empty if it has.
        has_partners: Whether a gain comes from other tasks, which may be recommended as partners.
        min_tasks: Smallest number of tasks that it can compare.
    """

    question: str
    compare: Compare
    check: Callable[[Any, Sequence[str]], list[str]] | None = None
    is_against_single: bool = False
    stages: tuple[str, ...] = ()
    needs: str = ""
    has_partners: bool = True
    min_tasks: int = 2

    def option_problems(self, options: Any, tasks: Sequence[str]) -> list[str]:
        """Returns the problems with the options, each as a message."""
        if options is None:
            return [f"The design needs {self.needs}."] if self.needs else []
        if self.check is None:
            return ["This design takes no options."]
        return self.check(options, tasks)


def comparisons(
    parts: Sequence[tuple[str, Any]],
    tasks: Sequence[str],
    seeds: Sequence[int],
    canonical: Callable[[Run], Run] = without_stages,
) -> list[Comparison]:
    """Returns all comparisons of the given designs and controls with their options.

    Args:
        parts: Names and options of designs and controls.
        tasks: Names of the tasks.
        seeds: The seeds.
        canonical: Function that gives runs that train the same in the same way one name; by default, stages have no
            settings of their own.
    """
    known = DESIGNS | CONTROLS
    found: list[Comparison] = []
    for name, options in parts:
        # Other tasks than the targets of these designs need no second round, such as one that is only pretrained on.
        again = [_second_round(one.target, one.reference) for one in found if known[one.design].is_against_single]
        if name == CONTINUED and again:
            found += dict.fromkeys(again)
        else:
            found += [one for seed in seeds for one in known[name].compare(tasks, seed, options)]
    return [one._replace(treated=canonical(one.treated), reference=canonical(one.reference)) for one in found]


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
        # Both sides train the target twice; against a single round, every gain would include that of extra training.
        treated, reference = (
            Run((target,), seed, Run(first, seed, stage=REFINE), keeps_heads, FINETUNE)
            for first in (tuple(tasks), (target,))
        )
        yield Comparison(REFINE_FINETUNE, target, "joint, then alone", seed, treated, reference)


def _refine(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        treated, reference = (Run(first, seed, stage=REFINE) for first in (tuple(tasks), (target,)))
        yield Comparison("refine", target, "all others", seed, treated, reference)


def _leave_one_out(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for partner in tasks:
        others = tuple(task for task in tasks if task != partner)
        for target in others:
            yield Comparison("leave_one_out", target, partner, seed, Run(tuple(tasks), seed), Run(others, seed))


def _groups(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for names in options:
        group = tuple(task for task in tasks if task in names)
        for target in group if len(group) > 1 else ():
            partners = " + ".join(task for task in group if task != target)
            yield Comparison("groups", target, partners, seed, Run(group, seed), Run((target,), seed))


def _cross(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for source, target in (options or {}).get("pairs", permutations(tasks, 2)):
        treated = Run((target,), seed, source=Run((source,), seed), evaluates=True)
        yield Comparison(CROSS, target, source, seed, treated, Run((target,), seed))


def _check_cross(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, Mapping) or not set(options) <= {"train", "test"}:
        return [f"The only options are train and test, which list tasks, got {options!r}."]
    wrong = [side for side, names in options.items() if not isinstance(names, list) or not names]
    if wrong:
        return [f"{side} must be a list of tasks, such as {side}: [a, b]." for side in wrong]
    names = dict.fromkeys(name for side in options.values() for name in side)
    return [f"There is no task '{name}'. {did_you_mean(str(name), tasks)}" for name in names if name not in tasks]


def _arms(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    for target in tasks:
        for arm in list(options or ())[1:]:
            yield Comparison(ARMS, target, arm, seed, Run((target,), seed, arm=arm), Run((target,), seed))


def _check_heads(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, Mapping) or set(options) != {"heads"} or options["heads"] not in ("fresh", "kept"):
        return [f"The only option is heads, which must be fresh or kept, got {options!r}."]
    return []


def _check_groups(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, list) or not all(isinstance(group, list) and group for group in options):
        return ["must be a list of lists of tasks, such as groups: [[a, b], [c]]."]
    problems = []
    for group in options:
        problems += [f"There is no task '{task}'. {did_you_mean(task, tasks)}" for task in group if task not in tasks]
        if len(set(group)) < len(group):
            problems.append(f"A task can appear only once in a group, got {group}.")
    sets = [frozenset(group) for group in options]
    return problems + (["Each group must be listed only once."] if len(set(sets)) < len(sets) else [])


def _check_arms(options: Any, tasks: Sequence[str]) -> list[str]:
    if (
        not isinstance(options, Mapping)
        or len(options) < 2
        or not all(isinstance(v, Mapping) for v in options.values())
    ):
        return [f"must map at least two names to settings of a task, such as {_ARMS_EXAMPLE}."]
    first, *others = options
    problems = [] if not options[first] else [f"The first arm is the task of the mixture: write {first}: {{}}."]
    return problems + [
        f"The arm '{name}' has no settings, so it is the first arm." for name in others if not options[name]
    ]


_ARMS_EXAMPLE = "arms: {typed: {}, markers: {options: {input: markers}}}"

DESIGNS = {
    "single": Design("How well does each task do when it is trained alone?", _single, min_tasks=1),
    "joint": Design(
        "What does each task gain from being trained with all other tasks?", _joint, is_against_single=True
    ),
    "pairwise": Design(
        "What does a target gain from being trained with one partner?", _pairwise, is_against_single=True
    ),
    "sequential": Design(
        "What does a target gain from an encoder that was first trained on a source task?",
        _sequential,
        is_against_single=True,
    ),
    REFINE_FINETUNE: Design(
        "What does a task gain from being fine-tuned from an encoder that was trained on all tasks, rather than on this"
        " task alone? (Both sides train the task twice.)",
        _refine_finetune,
        _check_heads,
        stages=(REFINE, FINETUNE),
    ),
    "refine": Design(
        "What does a task gain from the stage refine of refine_finetune, in which it is trained with all other tasks,"
        " rather than from as many updates alone?",
        _refine,
        stages=(REFINE,),
    ),
    "leave_one_out": Design("What does a task add to a target that is trained with all other tasks?", _leave_one_out),
    "groups": Design(
        "What does each task gain in the groups listed in the study?",
        _groups,
        _check_groups,
        is_against_single=True,
        needs="groups of tasks, such as groups: [[a, b], [c]]",
    ),
    ARMS: Design(
        "What does a task gain from other settings than those of the first arm?",
        _arms,
        _check_arms,
        needs=f"names with settings, such as {_ARMS_EXAMPLE}",
        has_partners=False,
        min_tasks=1,
    ),
    PRETRAINING: Design(
        "What does a target gain from an encoder that was first trained on the task of the design, in each of its"
        " arms?",
        pretraining.against_alone,
        pretraining.option_problems,
        is_against_single=True,
        needs=f"a task with arms, such as {pretraining.EXAMPLE}",
        has_partners=False,
    ),
    PRETRAINING_ARMS: Design(
        "What does a target gain from training the encoder first as in an arm, rather than as in the first arm?",
        pretraining.against_first,
        pretraining.option_problems,
        needs=f"a task with arms, such as {pretraining.EXAMPLE}, or the design {PRETRAINING} with it",
        has_partners=False,
    ),
    SIZES: Design(
        "What does a target with few training rows of its own gain from being trained with a partner that has all of"
        " its rows?",
        sizes.at_sizes,
        sizes.option_problems,
        is_against_single=True,
        needs=f"numbers of training rows, such as {sizes.EXAMPLE}",
        has_partners=False,
    ),
    CROSS: Design(
        "How well does a model that was trained on another corpus do on a target, compared with one that was trained on"
        " the target's own training data?",
        _cross,
        _check_cross,
        has_partners=False,
    ),
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
        yield _second_round(target, Run((target,), seed))


def _second_round(target: str, alone: Run) -> Comparison:
    """A second round of a run that trains the target alone, on the same data."""
    treated = replace(alone, source=alone, keeps_heads=True)
    return Comparison(CONTINUED, target, f"{ITSELF}{alone.data.removeprefix(target)}", alone.seed, treated, alone)


def _shuffled_partner(tasks: Sequence[str], seed: int, options: Any) -> Iterator[Comparison]:
    following = dict(zip(tasks, [*tasks[1:], *tasks[:1]], strict=True))
    for target, partner in {**following, **(options or {})}.items():
        treated = Run((target, partner + SHUFFLED), seed)
        yield Comparison("shuffled_partner", target, partner, seed, treated, Run((target,), seed))


def _check_partners(options: Any, tasks: Sequence[str]) -> list[str]:
    if not isinstance(options, Mapping):
        return [f"must map targets to partners, got {options!r}."]
    problems = [f"There is no task '{name}'." for pair in options.items() for name in pair if name not in tasks]
    return problems + [f"A task cannot be its own partner, got {a}." for a, b in options.items() if a == b]


CONTROLS = {
    "replicate": Design(
        "How much do two single-task runs differ that differ only in their seed?", _replicate, min_tasks=1
    ),
    "self_partner": Design(
        "What does a target gain from extra updates on its own rows, through a second head of the same type?",
        _self_partner,
        min_tasks=1,
    ),
    CONTINUED: Design(
        "What does a task gain from a second round of training, which starts from its own single-task run?",
        _continued,
        min_tasks=1,
    ),
    "shuffled_partner": Design(
        "What does a target gain from a partner with shuffled training labels, which can regularise but not inform?",
        _shuffled_partner,
        _check_partners,
    ),
}
