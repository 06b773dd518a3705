"""Plans a study: its tasks within the budget, its comparisons, and its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from heads import Head
from mtl.balancing import Balancing
from mtl.config import components
from mtl.config.mixture import EvaluationSpec, LimitSpec, Mixture, SamplerSpec
from mtl.data.examples import TaskData, prepare
from mtl.data.leakage_gate import Leakage, find_leakage
from mtl.encoder.pretrained import load_config
from mtl.problems import InputError, Problem
from mtl.study.design.arms import end_problems, prepared_arms
from mtl.study.design.budget import BudgetSpec
from mtl.study.design.crossing import with_cross_pairs
from mtl.study.design.data_variants import prepared_variants, whole_variant
from mtl.study.design.designs import CONTINUED, comparisons
from mtl.study.design.folds import in_fold
from mtl.study.design.missing_data import with_available_data
from mtl.study.design.run_key import RunSpecs, resolved_trainer
from mtl.study.design.run_settings import RunSettings
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import SHUFFLED, Comparison, Run, single_runs
from mtl.study.design.sizes import SIZES
from mtl.study.design.stages import STAGES
from mtl.study.design.study_code import StudyCode, study_code
from mtl.study.design.study_file import Study
from mtl.study.design.study_spec import StudySpec
from mtl.training.assembly import build_heads
from mtl.training.precision import precision_problems


class PointOnCurve(NamedTuple):
    """A gain at one size of the target's training set.

    Args:
        design: `sizes` or the control `continued`.
        target: The task whose score is compared.
        gain: What the gain is called in place of a partner.
        partner: The partner; empty for further training alone.
        num_rows: Number of training rows of the target.
    """

    design: str
    target: str
    gain: str
    partner: str
    num_rows: int


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Args:
        study: The study, without tasks whose data is absent, and with the limits of its budget applied to its tasks.
        heads: Head of each task.
        data: Prepared data of each task.
        leakage: What dev and test share with train.
        code: The code that decides the results.
        settings: Tasks, updates and optimiser of the runs, by task, stage and arm.
        folds: Names of the folds; a single empty name without cross-validation.
        comparisons: All comparisons of the designs and controls. With folds, each of their runs stands for one in each.
        runs: All runs, each once, sources first.
        run_specs: The specs of `runs`, in the same order, as the workers read them.
    """

    study: Study
    heads: Mapping[str, Head]
    data: Mapping[str, TaskData]
    leakage: Leakage
    code: StudyCode
    settings: RunSettings
    folds: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    runs: tuple[Run, ...]
    run_specs: tuple[RunSpec, ...]

    @property
    def updates(self) -> dict[str, int]:
        """Number of updates of each task in every run that trains it outside a stage with its own budget."""
        return self.settings.updates()

    @property
    def stages(self) -> list[str]:
        """Stages with a budget or learning rates of their own, in the order of training."""
        return [stage for stage in STAGES if any(run.stage == stage for run in self.runs)]

    @property
    def sizes(self) -> list[PointOnCurve]:
        """The gains at each size of a target in the design `sizes`, and those of further training alone."""
        references = {one.reference for one in self.comparisons if one.design == SIZES}
        points = [
            PointOnCurve(
                one.design,
                one.target,
                one.partner,
                " + ".join(task for task in one.treated.tasks if task != one.target),
                self.settings.data(one.reference.data)[one.target]["train"].example_summary.used,
            )
            for one in self.comparisons
            if one.design in (SIZES, CONTINUED) and one.reference in references
        ]
        return list(dict.fromkeys(points))

    def spec_of(self, run: Run) -> RunSpec:
        """Returns the spec of a run; that of the first fold if the run stands for one in each."""
        return self.specs_of(run)[0]

    def specs_of(self, run: Run) -> list[RunSpec]:
        """Returns the specs of what a run of a comparison stands for: itself, or one run for each fold."""
        return [self.run_specs[self.runs.index(part)] for part in _in_folds(run, self.folds)]


def make_plan(study: Study) -> StudyPlan:
    """Prepares the data of a study and plans its runs.

    Tasks of which the study says so are left out if their data is absent.

    Raises:
        InputError: The mixture or its data is invalid, train overlaps with dev or test in a way that is an error, the
            precision is not available, or the balancing method needs all tasks in every update.
    """
    study = with_available_data(study)
    trainer = resolved_trainer(study.spec)
    is_elsewhere = trainer["accelerator"] != "cpu" and not torch.cuda.is_available()
    problems = precision_problems(trainer["precision"], "" if is_elsewhere else trainer["accelerator"])
    if problems:
        raise InputError(problems)
    balancing = _balancing_class(study.mixture)
    mixture = _capped(study.mixture, study.spec.budget)
    heads, tokenizer = build_heads(mixture)
    (mixture, leakage), *others = [_without_leakage(one, study.spec) for one in _folded(mixture, study.spec)]
    data = prepare(mixture, heads, tokenizer)
    arms = prepared_arms(mixture, study.spec, data)
    missing = [name for name, splits in data.items() if "test" not in splits]
    if missing:
        message, advice = "A study needs a split 'test'.", "Add a test file, or create the split with `split`."
        raise InputError([Problem(f"tasks.{name}.data", message, advice) for name in missing])
    study = study._replace(mixture=mixture)
    parts = with_cross_pairs(study.spec.parts, mixture.tasks)
    seed = study.spec.budget.sample_seed
    variants = prepared_variants(parts, mixture, data, heads=heads, tokenizer=tokenizer, seed=seed)
    folds = study.spec.split.names if study.spec.split else [""]
    if study.spec.split:
        of_folds = [data, *(prepare(one, heads, tokenizer) for one, _ in others)]
        mixtures = [mixture, *(one for one, _ in others)]
        variants.found.update(zip(folds, map(whole_variant, mixtures, of_folds), strict=True))
    settings = RunSettings(study, data, int(load_config(mixture.encoder).hidden_size), arms, variants.found)
    if problems := end_problems(study.spec, arms, settings.updates()):
        raise InputError(problems)
    compared = comparisons(variants.parts, list(mixture.tasks), study.spec.seed_list, settings.canonical)
    trained = [_in_fold(one, name) for name in folds for one in compared]
    singles = [part for run in single_runs(list(mixture.tasks), study.spec.seed_list) for part in _in_folds(run, folds)]
    runs = _all_runs(trained, singles)
    permutes = any(task.endswith(SHUFFLED) for run in runs for task in run.tasks)
    names = {name: spec.head for name, spec in mixture.tasks.items()}
    evaluates = any(run.evaluates for run in runs)
    code = study_code(heads, names, balancing, permutes=permutes, evaluates=evaluates)
    run_specs = RunSpecs(study, settings, heads, data, code).of(runs, trained)
    found = tuple(compared), tuple(runs), tuple(run_specs)
    return StudyPlan(study, heads, data, leakage, code, settings, tuple(folds), *found)


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
            "evaluation": EvaluationSpec(unit=mixture.evaluation.unit),
            "tasks_per_step": 1,
        }
    )


def _folded(mixture: Mixture, spec: StudySpec) -> list[Mixture]:
    """The mixture with the data of each fold; the mixture alone without cross-validation."""
    return [spec.split.applied(mixture, fold) for fold in range(spec.split.folds)] if spec.split else [mixture]


def _without_leakage(mixture: Mixture, spec: StudySpec) -> tuple[Mixture, Leakage]:
    """The mixture without the training documents that are excluded, and what dev and test share with train.

    Raises:
        InputError: The policy of the mixture says that this is an error.
    """
    policy = mixture.leakage
    if spec.exclude == "documents":
        policy = policy.model_copy(update={"documents": "exclude"})
    leakage = find_leakage(mixture, policy=policy)
    if problems := leakage.problems():
        raise InputError(problems)
    return leakage.applied(mixture), leakage


# --- runs -------------------------------------------------------------------------------------------------------------


def _in_folds(run: Run, folds: Sequence[str]) -> list[Run]:
    return [in_fold(run, name) if name else run for name in folds]


def _in_fold(one: Comparison, name: str) -> Comparison:
    treated, reference = (_in_folds(run, [name])[0] for run in (one.treated, one.reference))
    return one._replace(treated=treated, reference=reference)


def _all_runs(compared: Iterable[Comparison], singles: Iterable[Run]) -> list[Run]:
    """All runs, each once, with sources before the runs that start from them.

    Sorted by seed, so that an interrupted study has complete seeds, and few encoders have to be kept.
    """
    found: dict[Run, None] = {}
    for run in (*singles, *(run for one in compared for run in (one.reference, one.treated))):
        found |= dict.fromkeys(reversed(list(run.chain())))
    return sorted(found, key=lambda run: run.seed)  # a source has the same seed as the runs that start from it
