"""Describes in words what a study trains, and what makes its runs comparable."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mtl.messages import counted
from mtl.study.design.budget import Amount, StageBudget
from mtl.study.design.designs import CONTINUED, CROSS, DESIGNS
from mtl.study.design.plan import StudyPlan
from mtl.study.design.run_key import resolved_trainer
from mtl.study.design.runs import SELF, SHUFFLED
from mtl.study.design.sizes import SIZES
from mtl.training.hyperparameters import Optimisation


def described(plan: StudyPlan) -> list[str]:
    """Sentences that describe what a study trains and compares."""
    spec, mixture = plan.study.spec, plan.study.mixture
    budget, trainer = spec.budget, resolved_trainer(spec)
    sizes = {
        name: "/".join(str(splits[split].example_summary.used) for split in ("train", "dev", "test"))
        for name, splits in plan.data.items()
    }
    limited = [name for name, task in mixture.tasks.items() if task.data.limit]
    which = "" if len(limited) == len(mixture.tasks) else f" for {', '.join(limited)}"
    sampled = f", sub-sampled by document{which} (the same sample in every run)" if limited else ""
    chosen = "the evaluation with the best primary metric on dev" if spec.select == "best" else "the last evaluation"
    names = [part.name for part in spec.parts]
    twice = " In refine_finetune, both sides train the target twice." if "refine_finetune" in names else ""
    kept = "at the evaluation with the best mean dev score over its targets" if spec.select == "best" else "at its end"
    has_sources = any(run.source and not run.evaluates for run in plan.runs)
    sources = f" Runs that start from another run use its state {kept}." if has_sources else ""
    words = [
        *spec.notes,
        f"{len(mixture.tasks)} tasks share the encoder '{mixture.encoder.name}'; every run starts from its pretrained"
        f" weights{', unless the design starts it from another run' if has_sources else ''}.",
        f"Budget: {_amount(budget)} per task{_exceptions(budget)}, rounded up so that {budget.evaluations} evaluations"
        f" divide it into equal parts. Updates per task: {_updates(plan)}.",
        *_stages(plan),
        "Every target gets the same number of updates, on the same examples in the same order, as in its single-task"
        f" baseline of the same seed; the updates of its partners are added in between.{twice}",
        "The learning rate depends on the completed share of the run. At each evaluation it is the same in every run;"
        " in between it is the same on average, because the order of the tasks is random.",
        f"After each part, every target is evaluated on dev. For each target separately, {chosen} gives the test score"
        f" that counts. Test data selects nothing.{sources}",
        f"Labelled rows in train/dev/test{sampled}: {', '.join(f'{name} {size}' for name, size in sizes.items())}.",
        f"Seeds: {', '.join(map(str, spec.seed_list))}. Each run trains on one {trainer['accelerator']} device in"
        f" {trainer['precision']} with {counted(trainer['threads'], 'thread')}.",
    ]
    words += [
        f"{name} is left out, because its data is absent; it comes from {spec.optional_tasks[name]}."
        for name in plan.study.left_out
    ]
    for name in plan.data:
        words += [f"{name}: {note}; its scores may be too optimistic." for note in plan.leakage.notes_of(name)]
    if spec.exclude:
        excluded = {name: len(task.data.exclude) for name, task in mixture.tasks.items() if task.data.exclude}
        left = ", ".join(f"{count} of {name}" for name, count in excluded.items()) or "none"
        words.append(f"Training documents that are in dev or test of another task are excluded: {left}.")
    words += _folds(plan)
    words += _arms(plan)
    words += _sizes(plan)
    if spec.lacks_continued:
        words.append(
            f"The control {CONTINUED} is switched off ({CONTINUED}: false), so no gain is compared with that of further"
            " training of the target alone."
        )
    elif CONTINUED in names and any(DESIGNS[name].is_against_single for name in names if name in DESIGNS):
        words.append(
            f"The control {CONTINUED} trains each target alone once more. A significant gain must also be significantly"
            " larger than the gain of this second round; otherwise it counts as no more than further training brings."
        )
    if CROSS in names:
        words.append(
            f"In {CROSS}, single-task runs are tested on the test sets of other corpora, at the evaluation that dev of"
            " their own corpus selected. Nothing is trained for it, and no data of the target is used but its test set."
        )
    if "self_partner" in names:
        words.append(f"The copy of a task ({SELF}) has the same rows in a different order, and a separate head.")
    if "shuffled_partner" in names:
        words.append(f"A shuffled partner ({SHUFFLED}) has the texts of the partner with shuffled training labels.")
    return words


def _stages(plan: StudyPlan) -> Iterator[str]:
    """Learning rates, if they differ between tasks, and what differs in the stages."""
    spec = plan.study.spec
    if plan.stages or spec.model.tasks:
        yield f"Learning rate: {_rates(plan)}."
    for stage in plan.stages:
        own = spec.budget.stages.get(stage)
        amount = f"{_amount(own)} per task{_exceptions(own)}; " if own and (own.updates or own.passes) else ""
        yield f"Stage {stage}: {amount}updates: {_updates(plan, stage)}; learning rate: {_rates(plan, stage)}."
    if plan.stages:
        yield (
            "Both sides of a comparison make the same number of updates on the target in each stage, at the same"
            " learning rate. The single-task baseline has the budget and the learning rate outside the stages."
        )


def _arms(plan: StudyPlan) -> Iterator[str]:
    """The settings of the arms, and how many of their texts are too long."""
    arms, overrides = plan.settings.arms, plan.study.spec.arms
    if arms:
        first, *others = arms
        settings = "; ".join(f"{name}: {json.dumps(overrides[name])}" for name in others)
        yield f"The first arm, {first}, has the settings of the mixture. The others differ: {settings}."
    for name, arm in arms.items():
        cut = ", ".join(f"{number} of {task}" for task, number in arm.truncated.items() if number)
        if cut:
            yield f"Examples of {name} that are longer than the maximum length and were cut: {cut}."


def _folds(plan: StudyPlan) -> Iterator[str]:
    """How the data is divided into folds, and how they are scored."""
    split = plan.study.spec.split
    if split is not None:
        by = split.by if isinstance(split.by, str) else " and ".join(split.by)
        yield (
            f"Cross-validation with {split.folds} folds by {by}, the same in every run: in each, another fold is test,"
            " the next is dev and the others are train. Every run is trained once for each fold. For each seed, the"
            " predictions on all test folds are scored once, together. Numbers of rows and of updates, and what splits"
            " share, are those of the first fold."
        )


def _sizes(plan: StudyPlan) -> Iterator[str]:
    """The sizes of the targets in the design `sizes`, with the updates at each."""
    evaluations, updates = plan.study.spec.budget.evaluations, plan.settings.per_evaluation
    names = {(one.target, one.reference.data): None for one in plan.comparisons if one.design == SIZES}
    found: dict[str, list[str]] = {}
    for target, data in names:
        rows = plan.settings.data(data)[target]["train"].example_summary.used
        found.setdefault(target, []).append(f"{rows} ({evaluations * updates(target, '', data)} updates)")
    if found:
        listed = "; ".join(f"{target} {', '.join(sizes)}" for target, sizes in found.items())
        yield (
            f"In {SIZES}, the target has these numbers of labelled training rows: {listed}. Whole documents are taken"
            " in one order, which is the same in every run. Both sides of a gain have the same rows of the target,"
            " partners have all of theirs, and dev and test are those of every run."
        )


def _amount(amount: Amount) -> str:
    if amount.updates:
        return f"{amount.updates} updates"
    return f"{amount.passes:g} passes" if amount.passes else "20 to 3 passes, depending on its size,"


def _exceptions(budget: StageBudget) -> str:
    """The tasks with an amount of their own, in brackets."""
    found = ", ".join(f"{task}: {_amount(amount)}" for task, amount in budget.tasks.items())
    return f" ({found})" if found else ""


def _updates(plan: StudyPlan, stage: str = "") -> str:
    return ", ".join(f"{name} {number}" for name, number in plan.settings.updates(stage).items())


def _rates(plan: StudyPlan, stage: str = "") -> str:
    """The learning rates of runs that train one task: one if all tasks have the same, otherwise by task."""
    found = {task: _rate(plan.settings.model([task], stage)) for task in plan.study.mixture.tasks}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{task} {rate}" for task, rate in found.items())


def _rate(model: Optimisation) -> str:
    heads = "" if model.head_learning_rate == model.learning_rate else f" (heads {model.head_learning_rate:g})"
    return f"{model.learning_rate:g}{heads}"
