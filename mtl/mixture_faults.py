"""Every fault of a mixture's fields that can be told before any data is read, in the words of its file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from mtl import components
from mtl.components import Flaw
from mtl.faults import Fault, InputError, did_you_mean, nearest
from mtl.mixture import (
    DataSpec,
    EncoderSpec,
    EvaluationSpec,
    LimitSpec,
    Mixture,
    PrivacySpec,
    SamplerSpec,
    SplitSpec,
    TaskSpec,
    build_head,
)
from mtl.runs import folder_name
from mtl.samplers import TaskSize

Fields = Mapping[str, Any]

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")  # it stands in MLflow's keys, which hold 250 characters


class Readable(NamedTuple):
    """A task's data, whose reader is known, and its head where that can be built."""

    data: DataSpec
    head: Any | None


def mixture_faults(fields: Fields) -> list[Fault]:
    """Every fault of some fields; empty where they make a mixture.

    Where a key is malformed, the rest is held against all other rules without it.
    """
    fields = dict(fields)
    faults = _only_faults(fields.pop("only", None), _tasks(fields))
    flaws = components.flaws(TypeAdapter(Mixture), fields)
    faults += [_schema_fault(flaw, fields) for flaw in flaws]
    keys = {str(flaw.place[0]) for flaw in flaws if flaw.place and flaw.place[:1] != ("tasks",)}
    parts = {str(name): _Part.of(task) for name, task in _tasks(fields).items()}
    for name, part in parts.items():
        faults += _task_faults(name, part)
    faults += _case_faults(list(parts))
    whole = _without({**fields, "tasks": {name: part.spec for name, part in parts.items() if part.spec}}, keys)
    if whole is not None:
        others = [name for name, part in parts.items() if part.spec is None]
        faults += _name_faults(whole) if "name" not in keys else []
        faults += _sharing_faults(whole, others)
        faults += _sampler_faults(whole, others) if "sampler" not in keys else []
        faults += _batch_faults(whole, others)
        faults += _evaluation_faults(whole, others) if "evaluation" not in keys else []
    return list(dict.fromkeys(faults))


def readable_tasks(fields: Fields) -> dict[str, Readable]:
    """The tasks whose data can be read, of a mixture that may have faults elsewhere."""
    found = {}
    for name, task in _tasks(fields).items():
        part = _Part.of(task)
        if part.data is None or _reader_faults(str(name), part.data):
            continue
        is_whole = part.spec is not None and part.has_whole_head and not _head_faults(name, part.spec)
        found[str(name)] = Readable(part.data, build_head(part.spec, hidden_size=8) if part.spec and is_whole else None)
    return found


# --- the form of the fields -------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """What of a task can be read: its specification without the keys that are malformed, its data, and those keys."""

    spec: TaskSpec | None
    data: DataSpec | None
    malformed: frozenset[str]

    @classmethod
    def of(cls, task: Any) -> _Part:
        fields = task if isinstance(task, Mapping) else {}
        malformed = frozenset(str(f.place[0]) for f in components.flaws(TypeAdapter(TaskSpec), fields) if f.place)
        try:
            spec = TaskSpec(**{key: value for key, value in fields.items() if key not in malformed})
        except ValidationError:  # the head is missing, or the data
            return cls(None, _data_of(fields), malformed)
        return cls(spec, spec.data, malformed)

    @property
    def has_whole_head(self) -> bool:
        return not self.malformed & {"head", "labels", "options", "primary_metric"}


def _data_of(task: Fields) -> DataSpec | None:
    """A task's data, where its own keys are right."""
    try:
        return DataSpec(**task["data"])
    except (KeyError, TypeError, ValidationError):
        return None


def _without(fields: Fields, keys: Iterable[str]) -> Mixture | None:
    """The mixture without its malformed keys; None where no task is left."""
    kept = {key: value for key, value in fields.items() if key not in keys}
    try:
        return Mixture(**{"name": "unnamed", **kept})
    except ValidationError:
        return None


def _schema_fault(flaw: Flaw, fields: Fields) -> Fault:
    key = ".".join(map(str, flaw.place))
    error = flaw.errors[0]
    if error["type"] == "extra_forbidden":
        name = str(flaw.place[-1])
        return Fault(key, f"There is no key '{name}' here.", did_you_mean(name, _model_at(flaw.place).model_fields))
    if error["type"] == "missing":
        return Fault(key, f"The key '{flaw.place[-1]}' is missing.", _way_to(flaw.place, fields))
    if flaw.place == ("tasks",) and error["type"] == "too_short":
        return Fault(key, "A mixture must have a task; found none.", "Add one, or include a task file.")
    return Fault(key, flaw.message, _advice(error))


def _advice(error: Mapping[str, Any]) -> str:
    """What to do where YAML has read a bare word as something else than text."""
    if error["type"] != "string_type":
        return ""
    if isinstance(error["input"], bool):
        return "Put it in quotes: YAML reads a bare yes, no, on, off, true or false as a boolean."
    if isinstance(error["input"], int | float):
        return "Put it in quotes: YAML reads bare digits as a number."
    return "Put it in quotes: YAML reads a bare null or ~ as nothing." if error["input"] is None else ""


def _way_to(place: Sequence[str | int], fields: Fields) -> str:
    """How a missing key may have been meant: misspelt beside, or of another task."""
    *parents, name = place
    value: Any = fields
    for part in parents:
        value = value[part]
    known = _model_at(place).model_fields
    beside = nearest(str(name), [str(key) for key in value if key not in known])
    if beside:
        return f"Add it; or is it what '{beside}' should be?"
    if len(parents) == 2 and parents[0] == "tasks":
        task = nearest(str(parents[1]), [str(other) for other in fields["tasks"] if other != parents[1]])
        return f"Add it; or is the task '{task}' meant?" if task else "Add it."
    return "Add it."


def _model_at(place: Sequence[str | int]) -> type[BaseModel]:
    """The model that the last key of a place belongs to."""
    parents = tuple(place[:-1])
    if parents[:1] == ("tasks",):
        of_task: dict[Any, type[BaseModel]] = {
            (): TaskSpec,
            ("data",): DataSpec,
            ("data", "split"): SplitSpec,
            ("data", "limit"): LimitSpec,
        }
        return of_task[parents[2:]]
    of_mixture: dict[Any, type[BaseModel]] = {
        (): Mixture,
        ("encoder",): EncoderSpec,
        ("sampler",): SamplerSpec,
        ("evaluation",): EvaluationSpec,
        ("privacy",): PrivacySpec,
    }
    return of_mixture[parents]


# --- tasks ------------------------------------------------------------------------------------------------------------


def _task_faults(name: str, part: _Part) -> list[Fault]:
    faults = _task_name_faults(name)
    faults += _reader_faults(name, part.data) if part.data else []
    if part.spec is None:
        return faults
    faults += _head_faults(name, part.spec) if part.has_whole_head else _head_component_faults(name, part.spec)
    return faults


def _task_name_faults(name: str) -> list[Fault]:
    from torch import nn

    key = f"tasks.{name}"
    if not TASK_NAME.fullmatch(name):
        rule = "A task's name must be at most 100 letters, digits and '_', and begin with a letter"
        return [Fault(key, f"{rule}; found '{name}'.", "Rename it.")]
    if hasattr(nn.ModuleDict(), name):  # which holds the heads under the tasks' names, and refuses its own methods'
        return [Fault(key, f"PyTorch keeps the name '{name}' for itself.", f"Rename it, to {name}_task for example.")]
    return []


def _case_faults(names: Sequence[str]) -> list[Fault]:
    """Names that some file systems would take for the same file."""
    first: dict[str, str] = {}
    return [
        Fault(
            f"tasks.{name}", f"Names must differ in more than upper and lower case; found '{other}' too.", "Rename it."
        )
        for name in names
        for other in [first.setdefault(name.lower(), name)]
        if other != name
    ]


def _reader_faults(name: str, data: DataSpec) -> list[Fault]:
    key = f"tasks.{name}.data"
    return _component_faults("reader", data.reader, data.reader_arguments, (f"{key}.reader", key))


def _head_faults(name: str, spec: TaskSpec) -> list[Fault]:
    """Faults of the head's name, labels and options, and what its constructor refuses."""
    repeated = sorted({label for label in spec.labels if spec.labels.count(label) > 1})
    if repeated:
        message = f"Labels must differ; found {', '.join(repeated)} more than once."
        return [Fault(f"tasks.{name}.labels", message, "Remove the copies."), *_head_component_faults(name, spec)]
    return _head_component_faults(name, spec) or _construction_faults(name, spec)


def _head_component_faults(name: str, spec: TaskSpec) -> list[Fault]:
    key = f"tasks.{name}"
    faults = _component_faults("head", spec.head, spec.head_options, (f"{key}.head", f"{key}.options"))
    if spec.primary_metric is None:
        return faults
    # It stands beside the options, though it is an argument of the head like them.
    wrong, right = f"{key}.options.primary_metric", f"{key}.primary_metric"
    return [Fault(right if f.key == wrong else f.key, f.message, f.suggestion) for f in faults]


def _construction_faults(name: str, spec: TaskSpec) -> list[Fault]:
    """What the head's own constructor refuses, such as options that exclude each other."""
    try:
        build_head(spec, hidden_size=8)
    except InputError as error:
        return error.faults
    except ValueError as error:
        message = str(error).rstrip(".")
        option = re.split(r"[ .]", message)[0]
        beside = option == "labels" or (option == "primary_metric" and spec.primary_metric is not None)
        return [Fault(f"tasks.{name}.{option}" if beside else f"tasks.{name}.options", f"{message}.")]
    return []


_FRAMEWORK_ARGUMENTS: dict[components.Kind, frozenset[str]] = {
    "head": frozenset({"labels", "hidden_size"}),
    "sampler": frozenset({"sizes", "seed", "num_epochs"}),
    "reader": frozenset(),
}


def _component_faults(
    kind: components.Kind, name: str, options: Mapping[str, Any], keys: tuple[str, str]
) -> list[Fault]:
    """Faults of a component's name and options, which stand under the two keys."""
    try:
        cls = components.find(kind, name, keys[0])
    except InputError as error:
        return error.faults
    return components.check_options(cls, options, keys[1], _FRAMEWORK_ARGUMENTS[kind])


def _only_faults(only: Any, tasks: Mapping[str, Any]) -> list[Fault]:
    if only is None:
        return []
    if not isinstance(only, list | tuple) or not only:
        return [Fault("only", "It must be a list of tasks.", "Write only: [TASK, TASK].")]
    return [Fault("only", f"There is no task '{n}'.", did_you_mean(str(n), tasks)) for n in only if n not in tasks]


# --- what spans tasks -------------------------------------------------------------------------------------------------
# `others` are the names of tasks that are there and can't be read: they may be named, and nothing is said about them.


def _name_faults(mixture: Mixture) -> list[Fault]:
    try:
        folder_name(mixture.name)
    except InputError as error:
        return error.faults
    return []


def _sharing_faults(mixture: Mixture, others: Sequence[str]) -> list[Fault]:
    return [
        fault
        for name, spec in mixture.tasks.items()
        if spec.same_rows_as is not None and spec.same_rows_as not in others
        for fault in _follower_faults(mixture, name, spec.same_rows_as)
    ]


def _follower_faults(mixture: Mixture, name: str, leader: str) -> list[Fault]:
    key, spec = f"tasks.{name}", mixture.tasks[name]
    if leader not in mixture.tasks or leader == name:
        names = [task for task in mixture.tasks if task != name]
        return [
            Fault(f"{key}.same_rows_as", f"It must name another task; found '{leader}'.", did_you_mean(leader, names))
        ]
    head_of_both = mixture.tasks[leader].same_rows_as
    if head_of_both is not None:
        message = f"'{leader}' itself follows '{head_of_both}'."
        return [Fault(f"{key}.same_rows_as", message, f"Name '{head_of_both}', unless that is this task.")]
    faults = [
        Fault(f"{key}.{field}", f"It has no effect: the task trains on the batches of '{leader}'.", "Remove it.")
        for field in ("rate", "batch_size", "tokens_per_batch")
        if getattr(spec, field) is not None
    ]
    lengths = mixture.max_length_of(name), mixture.max_length_of(leader)
    if lengths[0] != lengths[1]:
        message = f"It must be that of '{leader}', {lengths[1]}, which reads the texts for both; found {lengths[0]}."
        faults.append(Fault(f"{key}.max_length", message, "Give both the same."))
    return faults


def _sampler_faults(mixture: Mixture, others: Sequence[str]) -> list[Fault]:
    spec = mixture.sampler
    faults = _component_faults("sampler", spec.name, spec.options, ("sampler.name", "sampler"))
    if faults:
        return faults
    cls = components.find("sampler", spec.name, "sampler.name")
    rates = {name: mixture.tasks[name].rate for name in mixture.leaders()}
    if not cls.uses_rates:
        faults = [
            Fault(
                f"tasks.{name}.rate",
                f"The sampler '{spec.name}' makes no use of rates.",
                "Remove it, or choose a sampler that does, such as temperature or weighted.",
            )
            for name, rate in rates.items()
            if rate is not None
        ]
    # Sizes are known once the data is read; the options can be refused before, whatever the sizes.
    sizes = {name: TaskSize(32_000, 1_000, rate) for name, rate in {**rates, **dict.fromkeys(others)}.items()}
    try:
        sampler = components.build(cls, sizes, 0, 1, **spec.options)
        if isinstance(mixture.tasks_per_step, int) and 1 < mixture.tasks_per_step <= len(sizes):
            sampler.mixed_epoch(0, mixture.tasks_per_step)
        elif mixture.tasks_per_step == "all" and len(sizes) > 1:
            sampler.mixed_epoch(0, len(sizes))
    except InputError as error:
        faults += error.faults
    return faults


def _batch_faults(mixture: Mixture, others: Sequence[str]) -> list[Fault]:
    rule = "A batch has a number of examples or of tokens, not both."
    faults = [
        Fault(f"tasks.{name}.tokens_per_batch", rule, "Remove it, or batch_size.")
        for name, spec in mixture.tasks.items()
        if spec.tokens_per_batch and spec.batch_size
    ]
    number = len(mixture.leaders())
    if mixture.tasks_per_step == "all" or 1 < mixture.tasks_per_step == number + len(others):
        rates = [name for name, spec in mixture.tasks.items() if spec.rate is not None]
        rule = f"It has no effect: with tasks_per_step: {mixture.tasks_per_step} every step trains every task"
        faults += [Fault(f"tasks.{name}.rate", f"{rule}.", "Remove it, or use loss_weight.") for name in rates]
    elif mixture.tasks_per_step > number + len(others):
        message = f"There are {number} tasks with batches of their own; found {mixture.tasks_per_step}."
        faults.append(Fault("tasks_per_step", message, "Write all, or a smaller number."))
    return faults


def _evaluation_faults(mixture: Mixture, others: Sequence[str]) -> list[Fault]:
    select, weights = mixture.evaluation.select, mixture.evaluation.weights
    names = [*mixture.tasks, *others]
    faults = [
        Fault(f"evaluation.weights.{name}", f"There is no task '{name}'.", did_you_mean(name, names))
        for name in weights
        if name not in names
    ]
    if weights and select != "weighted":
        message = f"They have no effect: select is '{select}'."
        faults.append(Fault("evaluation.weights", message, "Remove them, or set select: weighted."))
    task, slash, _ = select.partition("/")
    rules = ["mean", "weighted", "worst", *(f"{name}/<metric>" for name in names)]
    if select not in rules[:3] and not (slash and task in names):
        faults.append(Fault("evaluation.select", f"There is no rule '{select}'.", did_you_mean(select, rules)))
    return faults


def _tasks(fields: Fields) -> Mapping[str, Any]:
    tasks = fields.get("tasks")
    return tasks if isinstance(tasks, Mapping) else {}
