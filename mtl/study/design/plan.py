"""Plans a study: its tasks within the budget, its comparisons, and its runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from heads import Head
from mtl.balancing import Balancing
from mtl.batching.batcher import Batcher
from mtl.config import components
from mtl.config.mixture import EvaluationSpec, LimitSpec, Mixture, SamplerSpec
from mtl.data.examples import TaskData, prepare
from mtl.data.leakage import crossing
from mtl.hashed_ids import shown_id
from mtl.problems import InputError, Problem
from mtl.study.design.designs import SHUFFLED, Comparison, Run, comparisons, single_runs
from mtl.study.design.run_key import RunSpecs, resolved_trainer
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.spec import BudgetSpec, Study
from mtl.study.design.study_code import StudyCode, study_code
from mtl.training.assembly import build_heads
from mtl.training.precision import precision_problems

LISTED = 5
"""Maximum number of documents named in a problem."""


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Args:
        study: The study, with the limits of its budget applied to its tasks.
        heads: Head of each task.
        data: Prepared data of each task.
        code: The code that decides the results.
        updates: Number of updates of each task in every run that trains it.
        comparisons: All comparisons of the designs and controls.
        runs: All runs, each once, sources first.
        run_specs: The specs of `runs`, in the same order, as the workers read them.
    """

    study: Study
    heads: Mapping[str, Head]
    data: Mapping[str, TaskData]
    code: StudyCode
    updates: Mapping[str, int]
    comparisons: tuple[Comparison, ...]
    runs: tuple[Run, ...]
    run_specs: tuple[RunSpec, ...]

    def spec_of(self, run: Run) -> RunSpec:
        """Returns the spec of a run."""
        return self.run_specs[self.runs.index(run)]


def make_plan(study: Study) -> StudyPlan:
    """Prepares the data of a study and plans its runs.

    Raises:
        InputError: The mixture or its data is invalid, dev or test documents of one task are training documents of
            another, the precision is not available, or the balancing method needs all tasks in every update.
    """
    trainer = resolved_trainer(study.spec)
    is_elsewhere = trainer["accelerator"] != "cpu" and not torch.cuda.is_available()
    problems = precision_problems(trainer["precision"], "" if is_elsewhere else trainer["accelerator"])
    if problems:
        raise InputError(problems)
    balancing = _balancing_class(study.mixture)
    mixture = _capped(study.mixture, study.spec.budget)
    heads, tokenizer = build_heads(mixture)
    data = prepare(mixture, heads, tokenizer)
    found = crossing(data)
    if found and study.spec.exclude is None:
        raise InputError(_leakage_problems(found))
    if found:
        mixture = _without_crossing(mixture, found)
        data = prepare(mixture, heads, tokenizer)
    missing = [name for name, splits in data.items() if "test" not in splits]
    if missing:
        message, advice = "A study needs a split 'test'.", "Add a test file, or create the split with `split`."
        raise InputError([Problem(f"tasks.{name}.data", message, advice) for name in missing])
    study = Study(study.spec, mixture)
    per_evaluation = _updates_per_evaluation(study, data)
    compared = comparisons(study.spec.parts, list(mixture.tasks), study.spec.seed_list)
    runs = _all_runs(compared, single_runs(list(mixture.tasks), study.spec.seed_list))
    permutes = any(task.endswith(SHUFFLED) for run in runs for task in run.tasks)
    names = {name: spec.head for name, spec in mixture.tasks.items()}
    code = study_code(heads, names, balancing, permutes=permutes)
    run_specs = RunSpecs(study, per_evaluation, heads, data, code).of(runs, compared)
    updates = {name: number * study.spec.budget.evaluations for name, number in per_evaluation.items()}
    return StudyPlan(study, heads, data, code, updates, tuple(compared), tuple(runs), tuple(run_specs))


def _balancing_class(mixture: Mixture) -> type[Balancing]:
    """The balancing method's class.

    Raises:
        InputError: The method needs all tasks in every update, and a study trains one task per update.
    """
    name = mixture.balancing.name
    cls: type[Balancing] = components.find("balancing", name, "balancing.name")
    if cls.needs == "whole":
        message = f"'{name}' needs the losses of all tasks in every update, but a study trains one task per update."
        raise InputError(Problem("balancing.name", message, "Choose another method, such as uncertainty."))
    return cls


# --- the tasks of a study ---------------------------------------------------------------------------------------------


def _capped(mixture: Mixture, budget: BudgetSpec) -> Mixture:
    """The mixture with the row limits of the study, without the settings that the numbers of updates replace."""
    caps = {"train": budget.train_rows, "dev": budget.dev_rows, "test": budget.test_rows}
    caps = {split: number for split, number in caps.items() if number is not None}
    tasks = {}
    for name, spec in mixture.tasks.items():
        limit = LimitSpec(**caps, seed=budget.sample_seed) if caps else spec.data.limit
        data = spec.data.model_copy(update={"limit": limit})
        tasks[name] = spec.model_copy(update={"data": data, "rate": None, "same_rows_as": None})
    return mixture.model_copy(
        update={
            "tasks": tasks,
            "sampler": SamplerSpec(),
            "evaluation": EvaluationSpec(),
            "tasks_per_step": 1,
        }
    )


def _leakage_problems(found: Sequence[Any]) -> list[Problem]:
    problems = []
    for one in found:
        ids = ", ".join(map(shown_id, one.documents[:LISTED]))
        more = f" and {len(one.documents) - LISTED} more" if len(one.documents) > LISTED else ""
        message = (
            f"Training documents of '{one.partner}' are in the split '{one.split}' of '{one.target}': {ids}{more}."
            " No document may be in training for one task and in dev or test for another."
        )
        advice = "Set exclude: documents to exclude them from training, or choose other splits."
        problems.append(Problem(f"tasks.{one.partner}", message, advice))
    return problems


def _without_crossing(mixture: Mixture, found: Iterable[Any]) -> Mixture:
    leaving: dict[str, set[str]] = {}
    for one in found:
        leaving.setdefault(one.partner, set()).update(one.documents)
    tasks = dict(mixture.tasks)
    for name, documents in leaving.items():
        excluded = tuple(sorted({*tasks[name].data.exclude, *documents}))
        data = tasks[name].data.model_copy(update={"exclude": excluded})
        tasks[name] = tasks[name].model_copy(update={"data": data})
    return mixture.model_copy(update={"tasks": tasks})


def _updates_per_evaluation(study: Study, data: Mapping[str, TaskData]) -> dict[str, int]:
    budget, mixture = study.spec.budget, study.mixture
    found = {}
    for name in mixture.tasks:
        wanted = float(budget.updates or 0)
        if budget.passes is not None:
            lengths = data[name]["train"].lengths
            batcher = Batcher(
                lengths, mixture.batch_size_of(name), 0, name, token_budget=mixture.tokens_per_batch_of(name)
            )
            wanted = budget.passes * batcher.batches_per_pass
        found[name] = math.ceil(wanted / budget.evaluations)
    return found


# --- runs -------------------------------------------------------------------------------------------------------------


def _all_runs(compared: Iterable[Comparison], singles: Iterable[Run]) -> list[Run]:
    """All runs, each once, with sources before the runs that start from them.

    Sorted by seed, so that an interrupted study has complete seeds, and few encoders have to be kept.
    """
    found: dict[Run, None] = {}
    for run in (*singles, *(run for one in compared for run in (one.reference, one.treated))):
        chain = [run]
        while chain[-1].source is not None:
            chain.append(chain[-1].source)
        found |= dict.fromkeys(reversed(chain))
    return sorted(found, key=lambda run: run.seed)  # a source has the same seed as the runs that start from it
