"""Plans the runs of a study, each with its key, and describes in words what makes them comparable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from heads import Head, SpanRow
from mtl.balancing import Balancing
from mtl.batching.batcher import Batcher
from mtl.config import components
from mtl.config.mixture import EvaluationSpec, LimitSpec, Mixture, PermuteSpec, SamplerSpec, TaskSpec
from mtl.data.examples import TaskData, prepare
from mtl.data.leakage import crossing, shared, shared_notes
from mtl.data.store import content_key
from mtl.encoder.location import encoder_identity
from mtl.problems import InputError, Problem
from mtl.study.design.designs import SELF, SHUFFLED, Comparison, Run, comparisons, original, single_runs
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.spec import BudgetSpec, Study, StudySpec
from mtl.study.design.study_code import StudyCode, study_code
from mtl.training.assembly import build_heads
from mtl.training.precision import natural_precision, precision_problems

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

    def words(self) -> list[str]:
        """Returns sentences that describe what is trained and compared."""
        return _words(self)


def make_plan(study: Study) -> StudyPlan:
    """Prepares the data of a study and plans its runs.

    Raises:
        InputError: The mixture or its data is invalid, dev or test documents of one task are training documents of
            another, the precision is not available, or the balancing method needs all tasks in every update.
    """
    trainer = _resolved_trainer(study.spec)
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
    run_specs = _RunSpecs(study, per_evaluation, heads, data, code).of(runs, compared)
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
        ids = ", ".join(one.documents[:LISTED])
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


class _RunSpecs:
    """Turns runs into run specs."""

    def __init__(
        self,
        study: Study,
        per_evaluation: Mapping[str, int],
        heads: Mapping[str, Head],
        data: Mapping[str, TaskData],
        code: StudyCode,
    ) -> None:
        self._study, self._per_evaluation, self._heads, self._data = study, per_evaluation, heads, data
        self._code = code
        self._fingerprints = {
            name: {split: content.row_summary.fingerprint for split, content in splits.items()}
            for name, splits in data.items()
        }
        self._encoder = encoder_identity(study.mixture.encoder)
        self._trainer = _resolved_trainer(study.spec)
        self._made: dict[Run, RunSpec] = {}

    def of(self, runs: Sequence[Run], compared: Sequence[Comparison]) -> list[RunSpec]:
        designs: dict[Run, dict[str, None]] = {}
        for one in compared:
            for run in (one.treated, one.reference):
                designs.setdefault(run, {})[one.design] = None
        sources = {run.source for run in runs}
        return [self._run_spec(run, tuple(designs.get(run, {"single": None})), run in sources) for run in runs]

    def _run_spec(self, run: Run, designs: tuple[str, ...], is_source: bool) -> RunSpec:
        mixture = self._mixture(run)
        spec = self._study.spec
        run_spec = RunSpec(
            key="",
            configuration="",
            name=str(run),
            company=run.company,
            tasks=run.tasks,
            targets=tuple(task for task in run.tasks if original(task) == task),
            seed=run.seed,
            designs=("single",) if len(run.tasks) == 1 and run.source is None else designs,
            mixture=mixture.to_dict(),
            evaluations=spec.budget.evaluations,
            select=spec.select,
            model=asdict(spec.model.resolved()),
            trainer=self._trainer,
            known_tokens=self._known_tokens(run),
            source=self._made[run.source].key if run.source else None,
            keeps_heads=run.keeps_heads,
            keeps_encoder=is_source,
        )
        configuration = content_key(self._configuration(run, run_spec))
        key = content_key(configuration, run_spec.source, self._code.key_of(run.tasks))
        self._made[run] = replace(run_spec, key=key, configuration=configuration)
        return self._made[run]

    def _mixture(self, run: Run) -> Mixture:
        base = self._study.mixture
        names = sorted(run.tasks)  # sorted, because their order affects the schedule but is in no key
        tasks = {
            name: self._permuted(name) if name.endswith(SHUFFLED) else base.tasks[original(name)] for name in names
        }
        quota = {task: self._per_evaluation[original(task)] for task in names}
        sampler = SamplerSpec.model_validate({"name": "quota", "batches": quota})
        return base.model_copy(update={"name": "run", "tasks": tasks, "sampler": sampler, "seed": run.seed})

    def _permuted(self, copy: str) -> TaskSpec:
        """The task with shuffled training labels, or with shuffled mentions if its head predicts mentions."""
        task = original(copy)
        spec, head = self._study.mixture.tasks[task], self._heads[task]
        rows = (row for row in self._data[task]["train"].rows if isinstance(row, SpanRow) and row.entities)
        example = next(rows, None)
        predicts_mentions = example is not None and not getattr(head.without_gold(example), "entities", ())
        permute = PermuteSpec(seed=self._study.spec.budget.sample_seed, mentions=predicts_mentions)
        return spec.model_copy(update={"data": spec.data.model_copy(update={"permute": permute})})

    def _known_tokens(self, run: Run) -> tuple[str, ...]:
        if run.source is None:
            return ()
        own = [token for task in sorted(run.source.tasks) for token in self._heads[original(task)].special_tokens()]
        return tuple(dict.fromkeys([*self._known_tokens(run.source), *own]))

    def _configuration(self, run: Run, run_spec: RunSpec) -> dict[str, Any]:
        """Everything except code that decides the result, without paths, display names or the launcher.

        A setting of None is the same as a missing one, so that a new optional setting changes no key.
        """
        encoder = self._study.mixture.encoder.model_dump(mode="json", exclude={"name", "revision"}, exclude_none=True)
        return {
            "tasks": {name: self._task(name, run_spec.mixture["tasks"][name]) for name in run_spec.mixture["tasks"]},
            "sampler": run_spec.mixture["sampler"],
            "balancing": self._study.mixture.balancing.options,
            "encoder": {**encoder, "weights": self._encoder},
            "seed": run.seed,
            "source": self._made[run.source].configuration if run.source else None,
            "keeps_heads": run_spec.keeps_heads,
            "evaluations": run_spec.evaluations,
            "select": run_spec.select,
            "model": _not_none(run_spec.model),
            "trainer": _not_none(run_spec.trainer),
        }

    def _task(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a task, with resolved values, because the code that resolves them is in no key."""
        mixture, task = self._study.mixture, original(name)
        settings = {key: value for key, value in _not_none(fields).items() if key not in ("head", "data")}
        variant = name.removeprefix(task)
        return {
            **settings,
            "options": mixture.tasks[task].head_options,
            "batch_size": mixture.batch_size_of(task),
            "tokens_per_batch": mixture.tokens_per_batch_of(task),
            "max_length": mixture.max_length_of(task),
            "rows": self._fingerprints[task],
            "variant": variant,
            "permuted": fields["data"]["permute"] if variant == SHUFFLED else None,
        }


def _not_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _resolved_trainer(spec: StudySpec) -> dict[str, Any]:
    """The options of the trainer, with the device and precision resolved for this machine."""
    has_gpu = torch.cuda.is_available() and spec.trainer.accelerator in ("auto", "gpu", "cuda")
    accelerator = "cuda" if has_gpu else "cpu" if spec.trainer.accelerator == "auto" else spec.trainer.accelerator
    precision: str = spec.trainer.precision
    if precision == "auto":
        precision = natural_precision("cuda") if has_gpu else "32-true"
    return {**spec.trainer.model_dump(), "accelerator": accelerator, "precision": precision}


# --- in words ---------------------------------------------------------------------------------------------------------


def _words(plan: StudyPlan) -> list[str]:
    spec, mixture = plan.study.spec, plan.study.mixture
    budget, trainer = spec.budget, _resolved_trainer(spec)
    per_task = ", ".join(f"{name} {number}" for name, number in plan.updates.items())
    amount = f"{budget.updates} updates" if budget.updates else f"{budget.passes:g} passes"
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
    has_sources = any(run.source for run in plan.runs)
    sources = f" Runs that start from another run use its state {kept}." if has_sources else ""
    words = [
        f"{len(mixture.tasks)} tasks share the encoder '{mixture.encoder.name}'; every run starts from its pretrained"
        f" weights{', unless the design starts it from another run' if has_sources else ''}.",
        f"Budget: {amount} per task, rounded up to {budget.evaluations} equal parts. Updates per task: {per_task}.",
        "Every target gets the same number of updates, on the same examples in the same order, as in its single-task"
        f" baseline of the same seed; the updates of its partners are added in between.{twice}",
        "The learning rate depends on the completed share of the run. At each evaluation it is the same in every run;"
        " in between it is the same on average, because the order of the tasks is random.",
        f"After each part, every target is evaluated on dev. For each target separately, {chosen} gives the test score"
        f" that counts. Test data selects nothing.{sources}",
        f"Labelled rows in train/dev/test{sampled}: {', '.join(f'{name} {size}' for name, size in sizes.items())}.",
        f"Seeds: {', '.join(map(str, spec.seed_list))}. Each run trains on one {trainer['accelerator']} device in"
        f" {trainer['precision']} with {trainer['threads']} thread(s).",
    ]
    for name, splits in plan.data.items():
        notes = shared_notes(shared(splits))
        words += [f"Within {name}, {note}: all its scores are too optimistic." for note in notes]
    if spec.exclude:
        excluded = {name: len(task.data.exclude) for name, task in mixture.tasks.items() if task.data.exclude}
        left = ", ".join(f"{count} of {name}" for name, count in excluded.items()) or "none"
        words.append(f"Training documents that are in dev or test of another task are excluded: {left}.")
    if "self_partner" in names:
        words.append(f"The copy of a task ({SELF}) has the same rows in a different order, and a separate head.")
    if "shuffled_partner" in names:
        words.append(f"A shuffled partner ({SHUFFLED}) has the texts of the partner with shuffled training labels.")
    return words
