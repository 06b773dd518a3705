"""Finds every problem of a mixture's fields that can be detected without reading data, by the keys of its file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from heads import Head
from mtl.config import components, schema
from mtl.config.curriculum import curriculum_problems
from mtl.config.mixture import (
    BalancingSpec,
    DataSpec,
    EncoderSpec,
    EvaluationSpec,
    InitSpec,
    LeakageSpec,
    LimitSpec,
    Mixture,
    PermuteSpec,
    PhaseSpec,
    PrivacySpec,
    SamplerSpec,
    SplitSpec,
    TaskSpec,
    build_head,
)
from mtl.config.schema import QUOTE_BOOLEANS, Mismatch, problem_of
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean, nearest
from mtl.samplers import TaskSize

Fields = Mapping[str, Any]

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")  # part of MLflow keys, which may have at most 250 characters


class Readable(NamedTuple):
    """A task whose data can be read.

    Args:
        data: Its data.
        head: Its head; None if it cannot be built.
        shared: Whether another task reads the same rows.
    """

    data: DataSpec
    head: Any | None
    shared: bool


def mixture_problems(fields: Fields) -> list[Problem]:
    """Every problem of some fields; empty if they make a valid mixture.

    Malformed keys are left out while the other rules are checked.
    """
    fields = dict(fields)
    problems = _only_problems(fields.pop("only", None), _tasks(fields))
    mismatches = schema.mismatches(TypeAdapter(Mixture), fields)
    problems += [_schema_problem(mismatch, fields) for mismatch in mismatches]
    keys = {str(mismatch.place[0]) for mismatch in mismatches if mismatch.place and mismatch.place[:1] != ("tasks",)}
    parts = {str(name): _ReadableTask.of(task) for name, task in _tasks(fields).items()}
    for name, part in parts.items():
        problems += _task_problems(name, part)
    problems += _case_problems(list(parts))
    whole = _without({**fields, "tasks": {name: part.spec for name, part in parts.items() if part.spec}}, keys)
    if whole is not None:
        others = [name for name, part in parts.items() if part.spec is None]
        problems += _name_problems(whole) if "name" not in keys else []
        problems += _sharing_problems(whole, others)
        problems += _untrained_problems(whole) if "init" not in keys else []
        if not whole.drawn() and not others:
            return [*dict.fromkeys(problems), Problem("tasks", "must have at least one task with a rate above 0.")]
        problems += _sampler_problems(whole, others) if "sampler" not in keys else []
        problems += _batch_problems(whole, others)
        problems += _balancing_problems(whole, others) if "balancing" not in keys else []
        problems += _evaluation_problems(whole, others) if "evaluation" not in keys else []
        problems += curriculum_problems(whole, others)
    return list(dict.fromkeys(problems))


def leaders(fields: Fields) -> dict[str, str]:
    """The task whose rows each task shares, as far as the fields say so."""
    named = {str(name): task.get("same_rows_as") for name, task in _tasks(fields).items() if isinstance(task, Mapping)}
    return {name: leader for name, leader in named.items() if isinstance(leader, str)}


def without_repeats(problems: Iterable[Problem], shared: Mapping[str, str]) -> list[Problem]:
    """Problems without those that a task has because it reads the rows of another, which has them too.

    Args:
        problems: The problems.
        shared: The task whose rows each task shares.
    """
    kept = list(dict.fromkeys(problems))
    known = set(kept)

    def repeats(problem: Problem) -> bool:
        name = problem.key.removeprefix("tasks.").partition(".")[0]
        if name not in shared or not problem.key.startswith("tasks."):
            return False
        theirs = problem.key.replace(f"tasks.{name}", f"tasks.{shared[name]}", 1)
        return replace(problem, key=theirs) in known

    return [problem for problem in kept if not repeats(problem)]


def readable_tasks(fields: Fields) -> dict[str, Readable]:
    """The tasks whose data can be read, from a mixture that may have problems elsewhere."""
    found = {}
    sharing = {one for pair in leaders(fields).items() for one in pair}
    for name, task in _tasks(fields).items():
        part = _ReadableTask.of(task)
        if part.data is None or _reader_problems(str(name), part.data):
            continue
        is_whole = part.spec is not None and part.has_whole_head and not _head_problems(name, part.spec)
        head = build_head(part.spec, hidden_size=8) if part.spec and is_whole else None
        found[str(name)] = Readable(part.data, head, name in sharing)
    return found


# --- keys and types ---------------------------------------------------------------------------------------------------


class _ReadableTask(NamedTuple):
    """The readable part of a task: its specification without the malformed keys, its data, and those keys."""

    spec: TaskSpec | None
    data: DataSpec | None
    malformed: frozenset[str]

    @classmethod
    def of(cls, task: Any) -> _ReadableTask:
        fields = task if isinstance(task, Mapping) else {}
        malformed = frozenset(str(f.place[0]) for f in schema.mismatches(TypeAdapter(TaskSpec), fields) if f.place)
        try:
            spec = TaskSpec(**{key: value for key, value in fields.items() if key not in malformed})
        except ValidationError:  # the head is missing, or the data
            return cls(None, _data_of(fields), malformed)
        return cls(spec, spec.data, malformed)

    @property
    def has_whole_head(self) -> bool:
        return not self.malformed & {"head", "labels", "options", "primary_metric"}


def _data_of(task: Fields) -> DataSpec | None:
    """A task's data; None if its keys are malformed."""
    try:
        return DataSpec(**task["data"])
    except (KeyError, TypeError, ValidationError):
        return None


def _without(fields: Fields, keys: Iterable[str]) -> Mixture | None:
    """The mixture without its malformed keys; None if no task is left."""
    kept = {key: value for key, value in fields.items() if key not in keys}
    try:
        return Mixture(**{"name": "unnamed", **kept})
    except ValidationError:
        return None


def _schema_problem(mismatch: Mismatch, fields: Fields) -> Problem:
    if mismatch.place == ("tasks",) and mismatch.errors[0]["type"] == "too_short":
        return Problem("tasks", "must have at least one task, got none.", "Add a task, or include a task file.")
    problem = problem_of(mismatch, _model_at)
    if not mismatch.is_missing_key:
        return problem
    sharing = _lost_data_problem(mismatch.place, fields)
    return sharing or replace(problem, suggestion=_missing_key_advice(mismatch.place, fields))


def _lost_data_problem(place: Sequence[str | int], fields: Fields) -> Problem | None:
    """The problem of a task without data of its own that shares the rows of no task, which is why keys are missing."""
    if place[:1] != ("tasks",) or len(place) < 3 or place[2] != "data":
        return None
    name, tasks = place[1], fields["tasks"]
    leader = tasks[name].get("same_rows_as")
    if leader is None or leader in tasks:
        return None
    names = [str(task) for task in tasks if task != name]
    message = f"must name another task, got '{leader}'."
    return Problem(f"tasks.{name}.same_rows_as", message, did_you_mean(str(leader), names))


def _missing_key_advice(place: Sequence[str | int], fields: Fields) -> str:
    """What to do about a missing key: it may be misspelt, or the task's name may be."""
    *parents, name = place
    value: Any = fields
    for part in parents:
        value = value[part]
    known = _model_at(place).model_fields
    similar = nearest(str(name), [str(key) for key in value if key not in known])
    if similar:
        return f"Add it, or rename '{similar}' if that is what you meant."
    if len(parents) == 2 and parents[0] == "tasks":
        task = nearest(str(parents[1]), [str(other) for other in fields["tasks"] if other != parents[1]])
        return f"Add it, or did you mean the task '{task}'?" if task else "Add it."
    return "Add it."


def _model_at(place: Sequence[str | int]) -> type[BaseModel]:
    """The model that the last key of a place belongs to."""
    parents = tuple(place[:-1])
    if parents[:1] == ("curriculum",):
        return PhaseSpec
    if parents[:1] == ("tasks",):
        of_task: dict[Any, type[BaseModel]] = {
            (): TaskSpec,
            ("data",): DataSpec,
            ("data", "split"): SplitSpec,
            ("data", "limit"): LimitSpec,
            ("data", "permute"): PermuteSpec,
        }
        return of_task[parents[2:]]
    of_mixture: dict[Any, type[BaseModel]] = {
        (): Mixture,
        ("encoder",): EncoderSpec,
        ("init",): InitSpec,
        ("sampler",): SamplerSpec,
        ("balancing",): BalancingSpec,
        ("evaluation",): EvaluationSpec,
        ("leakage",): LeakageSpec,
        ("privacy",): PrivacySpec,
    }
    return of_mixture[parents]


# --- tasks ------------------------------------------------------------------------------------------------------------


def _task_problems(name: str, part: _ReadableTask) -> list[Problem]:
    problems = task_name_problems(name)
    problems += _reader_problems(name, part.data) if part.data else []
    if part.spec is None:
        return problems
    problems += _head_problems(name, part.spec) if part.has_whole_head else _head_component_problems(name, part.spec)
    if part.spec.data.permute is not None and _has_head(part.spec, lambda head: head.self_supervised):
        message = "has no effect, because the task learns from texts alone and has no labels."
        problems.append(Problem(f"tasks.{name}.data.permute", message, "Remove it."))
    return problems


def _has_head(spec: TaskSpec, condition: Callable[[type[Head]], bool]) -> bool:
    """Whether the head of a task is known and fulfils a condition."""
    try:
        return condition(components.find("head", spec.head, "head"))
    except InputError:  # already reported
        return False


def task_name_problems(name: str) -> list[Problem]:
    """Why a task cannot have a name; an empty list if it can."""
    from torch import nn

    key = f"tasks.{name}"
    if name in ("True", "False"):
        return [Problem(key, f"The name of a task must be a string, got {name.lower()}.", QUOTE_BOOLEANS)]
    if not TASK_NAME.fullmatch(name):
        rule = "The name of a task must start with a letter and have at most 100 letters, digits and '_'"
        return [Problem(key, f"{rule}, got '{name}'.", "Rename the task.")]
    if hasattr(nn.ModuleDict(), name):  # holds the heads by task, and rejects the names of its own attributes
        advice = f"Rename the task, for example to {name}_task."
        return [Problem(key, f"PyTorch reserves the name '{name}'.", advice)]
    return []


def _case_problems(names: Sequence[str]) -> list[Problem]:
    """Names that are the same file on some file systems."""
    first: dict[str, str] = {}
    return [
        Problem(
            f"tasks.{name}",
            f"The name differs from '{other}' in upper and lower case only.",
            "Rename one of the tasks.",
        )
        for name in names
        for other in [first.setdefault(name.lower(), name)]
        if other != name
    ]


def _reader_problems(name: str, data: DataSpec) -> list[Problem]:
    key = f"tasks.{name}.data"
    return _component_problems("reader", data.reader, data.reader_arguments, (f"{key}.reader", key))


def _head_problems(name: str, spec: TaskSpec) -> list[Problem]:
    """Problems of the head's name, labels and options, and what its constructor rejects."""
    key = f"tasks.{name}"
    repeated = sorted(label for label, count in Counter(spec.labels).items() if count > 1)
    if repeated:
        message = f"Labels must be unique, got {', '.join(repeated)} more than once."
        problem = Problem(f"{key}.labels", message, "Remove the duplicates.")
        return [problem, *_head_component_problems(name, spec)]
    problems = _head_component_problems(name, spec)
    # The head is built without its wrong options, so that the others are still checked.
    wrong = {problem.key.removeprefix(f"{key}.options.").partition(".")[0] for problem in problems}
    right = {option: value for option, value in spec.options.items() if option not in wrong}
    rest = spec.model_copy(update={"options": right})
    if _head_component_problems(name, rest):  # the head is unknown, or a required option is missing or wrong
        return problems
    return problems + _construction_problems(name, rest)


def _head_component_problems(name: str, spec: TaskSpec) -> list[Problem]:
    key = f"tasks.{name}"
    problems = _component_problems("head", spec.head, spec.head_options, (f"{key}.head", f"{key}.options"))
    if spec.primary_metric is None:
        return problems
    # It is an argument of the head like the options, but is not written under `options`.
    wrong, right = f"{key}.options.primary_metric", f"{key}.primary_metric"
    return [Problem(right if p.key == wrong else p.key, p.message, p.suggestion) for p in problems]


def _construction_problems(name: str, spec: TaskSpec) -> list[Problem]:
    """What the head's constructor rejects, such as options that exclude each other."""
    try:
        return _permutation_problems(name, spec, build_head(spec, hidden_size=8))
    except InputError as error:
        return error.problems
    except ValueError as error:
        message = str(error).rstrip(".")
        option = re.split(r"[ .]", message)[0]
        is_own_key = option == "labels" or (option == "primary_metric" and spec.primary_metric is not None)
        if is_own_key:
            return [Problem(f"tasks.{name}.{option}", f"{message.removeprefix(f'{option} ')}.")]
        if option in spec.options:
            return [Problem(f"tasks.{name}.options.{option}", f"{message.removeprefix(f'{option} ')}.")]
        return [Problem(f"tasks.{name}.options", f"{message}.")]


def _permutation_problems(name: str, spec: TaskSpec, head: Head) -> list[Problem]:
    """A permutation that leaves what the head predicts as it is, or moves the mentions that it reads."""
    predicted = None if head.labelling is None else head.labelling.attribute
    if spec.data.permute is None or spec.data.permute.attribute == predicted:
        return []
    key = f"tasks.{name}.data.permute.attribute"
    if predicted is None:
        return [Problem(key, f"must be left out: the head '{spec.head}' predicts no attribute of mentions.")]
    found = "nothing" if spec.data.permute.attribute is None else f"'{spec.data.permute.attribute}'"
    message = f"must be '{predicted}', which the head predicts, got {found}."
    return [Problem(key, message, f"Write permute: {{attribute: {predicted}}}.")]


_FRAMEWORK_ARGUMENTS: dict[components.Kind, frozenset[str]] = {
    "head": frozenset({"labels", "hidden_size"}),
    "sampler": frozenset({"sizes", "seed", "num_epochs"}),
    "reader": frozenset(),
    "balancing": frozenset({"weights"}),
}


def _component_problems(
    kind: components.Kind, name: str, options: Mapping[str, Any], keys: tuple[str, str]
) -> list[Problem]:
    """Problems of a component's name and options; `keys` are their two keys."""
    try:
        cls = components.find(kind, name, keys[0])
    except InputError as error:
        return error.problems
    return components.check_options(cls, options, keys[1], _FRAMEWORK_ARGUMENTS[kind])


def _only_problems(only: Any, tasks: Mapping[str, Any]) -> list[Problem]:
    if only is None:
        return []
    if not isinstance(only, list | tuple) or not only:
        return [Problem("only", "must be a list of tasks.", "Write only: [TASK, TASK].")]
    malformed = schema.mismatches(TypeAdapter(list[str]), only)
    if malformed:
        return [Problem(f"only.{'.'.join(map(str, m.place))}", m.message, m.advice) for m in malformed]
    return [Problem("only", f"There is no task '{n}'.", did_you_mean(n, tasks)) for n in only if n not in tasks]


# --- across tasks -----------------------------------------------------------------------------------------------------
# `others` are the names of tasks that exist but are malformed: they may be referred to, but are not checked here.


def _name_problems(mixture: Mixture) -> list[Problem]:
    try:
        folder_name(mixture.name)
    except InputError as error:
        return error.problems
    return []


def _untrained_problems(mixture: Mixture) -> list[Problem]:
    if mixture.init is not None and mixture.init.heads != "none":
        return []
    message = "must be above 0, because the task has no trained head that could be evaluated."
    advice = "Write init: {run: …, heads: keep} to start from a run with this task, or remove the task."
    return [Problem(f"tasks.{name}.rate", message, advice) for name, spec in mixture.tasks.items() if spec.rate == 0]


def _sharing_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    return [
        problem
        for name, spec in mixture.tasks.items()
        if spec.same_rows_as is not None and spec.same_rows_as not in others
        for problem in _follower_problems(mixture, name, spec.same_rows_as)
    ]


def _follower_problems(mixture: Mixture, name: str, leader: str) -> list[Problem]:
    key, spec = f"tasks.{name}", mixture.tasks[name]
    if leader not in mixture.tasks or leader == name:
        names = [task for task in mixture.tasks if task != name]
        return [Problem(f"{key}.same_rows_as", f"must name another task, got '{leader}'.", did_you_mean(leader, names))]
    first = mixture.tasks[leader].same_rows_as
    if first is not None:
        message = f"'{leader}' itself has same_rows_as: {first}."
        return [Problem(f"{key}.same_rows_as", message, f"Name '{first}', unless that is this task.")]
    if mixture.tasks[leader].rate == 0:
        message = f"must name a task that is trained; '{leader}' has rate 0."
        return [Problem(f"{key}.same_rows_as", message, "Give the task data of its own.")]
    problems = [
        Problem(f"{key}.{field}", f"has no effect, because the task trains on the batches of '{leader}'.", "Remove it.")
        for field in ("rate", "batch_size", "tokens_per_batch")
        if getattr(spec, field) is not None
    ]
    problems += [
        Problem(f"{key}.same_rows_as", f"cannot be set, because the head of '{task}' changes its texts in training.")
        for task in (name, leader)
        if _has_head(mixture.tasks[task], lambda head: head.draw is not Head.draw)
    ]
    lengths = mixture.max_length_of(name), mixture.max_length_of(leader)
    if lengths[0] != lengths[1]:
        message = f"must be {lengths[1]} as in '{leader}', because both tasks share its batches, got {lengths[0]}."
        problems.append(Problem(f"{key}.max_length", message, "Set the same max_length for both tasks."))
    return problems


def _sampler_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    spec = mixture.sampler
    problems = _component_problems("sampler", spec.name, spec.options, ("sampler.name", "sampler"))
    if problems:
        return problems
    cls = components.find("sampler", spec.name, "sampler.name")
    rates = {name: mixture.tasks[name].rate for name in mixture.drawn()}
    if not cls.uses_rates:
        problems = [
            Problem(
                f"tasks.{name}.rate",
                f"has no effect, because the sampler '{spec.name}' does not use rates.",
                "Remove it, or choose a sampler that uses rates, such as temperature or weighted.",
            )
            for name, rate in rates.items()
            if rate is not None
        ]
    # The real sizes are not known before the data is read, but invalid options are rejected for any sizes.
    sizes = {name: TaskSize(32_000, 1_000, rate) for name, rate in {**rates, **dict.fromkeys(others)}.items()}
    try:
        sampler = components.build(cls, sizes, 0, 1, **spec.options)
        if isinstance(mixture.tasks_per_step, int) and 1 < mixture.tasks_per_step <= len(sizes):
            sampler.mixed_epoch(0, mixture.tasks_per_step)
        elif mixture.tasks_per_step == "all" and len(sizes) > 1:
            sampler.mixed_epoch(0, len(sizes))
    except InputError as error:
        problems += error.problems
    return problems


def _batch_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    rule = "cannot be combined with batch_size."
    problems = [
        Problem(f"tasks.{name}.tokens_per_batch", rule, "Remove one of the two.")
        for name, spec in mixture.tasks.items()
        if spec.tokens_per_batch and spec.batch_size
    ]
    number = len(mixture.drawn()) + len(others)
    if mixture.tasks_per_step == "all" or 1 < mixture.tasks_per_step == number:
        rates = [name for name, spec in mixture.tasks.items() if spec.rate]
        rule = f"has no effect, because every step trains every task (tasks_per_step: {mixture.tasks_per_step})."
        problems += [Problem(f"tasks.{name}.rate", rule, "Remove it, or use loss_weight.") for name in rates]
    elif mixture.tasks_per_step > number:
        message = f"must be at most {number}, the number of tasks with their own batches, got {mixture.tasks_per_step}."
        problems.append(Problem("tasks_per_step", message, "Set it to all or to a smaller number."))
    return problems


def _balancing_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    spec = mixture.balancing
    problems = _component_problems("balancing", spec.name, spec.options, ("balancing.name", "balancing"))
    if problems:
        return problems
    cls = components.find("balancing", spec.name, "balancing.name")
    try:
        components.build(cls, {name: task.loss_weight for name, task in mixture.tasks.items()}, **spec.options)
    except InputError as error:
        problems += error.problems
    if cls.needs != "whole":
        return problems
    if mixture.tasks_per_step not in ("all", len(mixture.drawn()) + len(others)):
        message = (
            f"must be all with the balancing method '{spec.name}', which needs the losses of all tasks in every step"
        )
        advice = "Write tasks_per_step: all, or choose a method that does not, such as uncertainty."
        problems.append(Problem("tasks_per_step", f"{message}, got {mixture.tasks_per_step}.", advice))
    if not _fills_steps(mixture.sampler.name):
        message = (
            f"must train every task in every step with the balancing method '{spec.name}', got"
            f" {mixture.sampler.name}, whose steps hold fewer where the tasks have different numbers of batches."
        )
        suitable = [name for name in components.choices("sampler") if _fills_steps(name)]
        problems.append(Problem("sampler.name", message, f"Use {' or '.join(suitable)}."))
    return problems


def _fills_steps(sampler: str) -> bool:
    try:
        return bool(components.find("sampler", sampler, "sampler.name").fills_steps)
    except InputError:  # reported as a problem of the sampler
        return True


def _evaluation_problems(mixture: Mixture, others: Sequence[str]) -> list[Problem]:
    select, weights = mixture.evaluation.select, mixture.evaluation.weights
    names = [*mixture.tasks, *others]
    problems = [
        Problem(f"evaluation.weights.{name}", f"There is no task '{name}'.", did_you_mean(name, names))
        for name in weights
        if name not in names
    ]
    problems += [
        Problem(
            f"evaluation.weights.{name}",
            "has no effect: the task has the rate 0, and only trained tasks count.",
            f"Remove it, or select by it alone: select: {name}/<metric>.",
        )
        for name in weights
        if name in mixture.tasks and name not in mixture.trained()
    ]
    if weights and select != "weighted":
        message = f"has no effect with select: {select}."
        problems.append(Problem("evaluation.weights", message, "Remove the weights, or set select: weighted."))
    task, slash, _ = select.partition("/")
    rules = ["mean", "weighted", "worst", *(f"{name}/<metric>" for name in names)]
    if select not in rules[:3] and not (slash and task in names):
        problems.append(
            Problem("evaluation.select", f"There is no selection rule '{select}'.", did_you_mean(select, rules))
        )
    return problems


def _tasks(fields: Fields) -> Mapping[str, Any]:
    tasks = fields.get("tasks")
    return tasks if isinstance(tasks, Mapping) else {}
