"""What a mixture file may say, and how it is loaded.

A mixture names tasks that share one encoder. `load_mixture` resolves includes, overrides and interpolation into one
mapping, checks all of it, and gives a `Mixture`; what it can't accept it reports all at once. Reading rows comes
later, in `mtl.data`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from mtl import components
from mtl.faults import Fault, InputError, did_you_mean
from mtl.samplers import TaskSize

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderSpec(_Spec):
    """The shared encoder.

    Args:
        name: A hub name, a folder, or `minilm-l6` for the one in the extra `demo`.
        max_length: Longest input in word pieces; a task may set its own.
        revision: Of a hub model.
        num_layers: Keep the lowest layers only.
        freeze_layers: The embeddings and this many of the lowest layers are not trained; 0 trains all.
        dropout: Of the encoder, hidden states and attention; None keeps what its configuration says.
        attention: Implementation of the attention; `auto` leaves it to transformers.
    """

    name: StrictStr = "minilm-l6"
    max_length: Annotated[StrictInt, Field(ge=8)] = 128
    revision: StrictStr | None = None
    num_layers: Count | None = None
    freeze_layers: Annotated[StrictInt, Field(ge=0)] = 0
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"


class SplitSpec(_Spec):
    """How one source split is cut into several, see `mtl.splits`."""

    source: Literal["train", "dev", "test"] = "train"
    by: StrictStr | tuple[StrictStr, ...] = "document"
    fractions: dict[Literal["train", "dev", "test"], Positive]
    seed: StrictInt = 0


class _OpenSpec(_Spec):
    """A component with options of its own beside the fields that every such component has."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class SamplerSpec(_OpenSpec):
    """Which sampler, with its options beside the name."""

    name: StrictStr = "proportional"


class DataSpec(_OpenSpec):
    """Where the rows of a task are; options of the reader stand beside these fields.

    Args:
        reader: A file of `mtl/readers`, or the import path of a class.
        path: A folder or a file; or one file per split. Relative paths are looked for beside the file in which
            they are written, then in the working folder.
        split: Cuts one of the source's splits into several.
    """

    reader: StrictStr
    path: StrictStr | dict[Literal["train", "dev", "test"], StrictStr]
    split: SplitSpec | None = None

    @property
    def reader_arguments(self) -> dict[str, Any]:
        """The arguments of the reader: a path per split becomes `path` and `files`."""
        if isinstance(self.path, str):
            return {"path": self.path, **self.options}
        return {"path": "", "files": dict(self.path), **self.options}


class TaskSpec(_Spec):
    """One task.

    Args:
        head: A file of `heads`, or the import path of a class.
        data: Where its rows are.
        labels: Names of classes, entity types or relation types.
        rate: Share of the steps, relative to the other tasks' rates; None lets the sampler compute it from sizes.
        loss_weight: Factor on the task's mean loss.
        primary_metric: What selects and is reported first; None takes the head's own.
        options: Of the head.
        batch_size: Examples per batch; None takes the mixture's.
        max_length: Longest input in word pieces; None takes the encoder's.
        learning_rate_factor: Factor on the learning rate of this task's head.
        same_rows_as: Another task over the very same texts. Its batches then train this task too: each text is
            encoded once and feeds both heads, and this task has no steps of its own.
    """

    head: StrictStr
    data: DataSpec
    labels: tuple[StrictStr, ...] = ()
    rate: Positive | None = None
    loss_weight: Positive = 1.0
    primary_metric: StrictStr | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    batch_size: Count | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] | None = None
    learning_rate_factor: Positive = 1.0
    same_rows_as: StrictStr | None = None

    @property
    def head_options(self) -> dict[str, Any]:
        """The keyword arguments of the head."""
        metric = {} if self.primary_metric is None else {"primary_metric": self.primary_metric}
        return {**self.options, **metric}


class EvaluationSpec(_Spec):
    """What selects checkpoints on dev.

    Args:
        select: `mean`, `weighted` or `worst` of the tasks' primary metrics, or one metric as ``task/metric``.
        weights: Of the tasks for `weighted`; a task without one counts 1.
    """

    select: StrictStr = "mean"
    weights: dict[str, Positive] = Field(default_factory=dict)


class PrivacySpec(_Spec):
    """What may leave the data: with `log_text` errors and reports may show text of rows."""

    log_text: StrictBool = False


class Mixture(_Spec):
    """Tasks that share one encoder, each with a rate. `load_mixture` reads one from a file."""

    name: StrictStr
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    encoder: EncoderSpec = EncoderSpec()
    sampler: SamplerSpec = SamplerSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    privacy: PrivacySpec = PrivacySpec()
    batch_size: Count = 32
    seed: Annotated[StrictInt, Field(ge=0)] = 0

    def to_dict(self) -> dict[str, Any]:
        """The whole mixture as JSON types, defaults included; `Mixture(**mixture.to_dict())` gives it back."""
        return self.model_dump(mode="json")

    def batch_size_of(self, task: str) -> int:
        return self.tasks[task].batch_size or self.batch_size

    def max_length_of(self, task: str) -> int:
        return self.tasks[task].max_length or self.encoder.max_length

    def only(self, names: Sequence[str]) -> Mixture:
        """The same mixture with some of its tasks.

        Raises:
            InputError: A name is no task of the mixture.
        """
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise InputError([Fault("only", f"There is no task '{n}'.", did_you_mean(n, self.tasks)) for n in unknown])
        tasks = {
            name: spec.model_copy(update={"same_rows_as": None}) if spec.same_rows_as not in names else spec
            for name, spec in self.tasks.items()
            if name in names
        }
        return self.model_copy(update={"tasks": tasks})


def load_mixture(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Mixture:
    """Reads a mixture and everything it includes.

    Args:
        source: A YAML file, or its content as a mapping (paths in it are then relative to the working folder). A
            key `only` with names of tasks leaves the others out.
        overrides: ``key=value`` with dotted keys, such as ``tasks.gad.rate=3``; values are read as YAML.

    Raises:
        InputError: With every fault of the files at once.
    """
    from mtl.loading import read_mixture_fields

    return parse_mixture(read_mixture_fields(source, overrides))


def parse_mixture(fields: Mapping[str, Any]) -> Mixture:
    """A mixture from resolved fields; a key `only` with names of tasks leaves the others out.

    Raises:
        InputError: With every fault of the fields at once.
    """
    fields = dict(fields)
    only = fields.pop("only", None)
    try:
        mixture = Mixture(**fields)
    except ValidationError as error:
        salvaged = [fault for name, spec in readable_tasks(fields).items() for fault in _task_faults(name, spec)]
        raise InputError([_schema_fault(e) for e in error.errors()] + salvaged) from None
    faults = _semantic_faults(mixture)
    if not (only is None or isinstance(only, list)):
        faults.append(Fault("only", f"It must be a list of tasks; found {only!r}."))
    if faults:
        raise InputError(faults)
    return mixture if only is None else mixture.only(only)


def _schema_fault(error: Mapping[str, Any]) -> Fault:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        model = _model_at(error["loc"][:-1])
        return Fault(
            key, f"There is no key '{error['loc'][-1]}' here.", did_you_mean(str(error["loc"][-1]), model.model_fields)
        )
    if error["type"] == "missing":
        return Fault(key, f"The key '{error['loc'][-1]}' is missing.", "Add it.")
    hint = ""
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        hint = "Put it in quotes: YAML reads yes, no, on, off, true and false as booleans, and digits as numbers."
    return Fault(key, components.wording(error), hint)


def _model_at(loc: Sequence[str | int]) -> type[BaseModel]:
    """The model that a location of an error points into."""
    nested: dict[str, type[BaseModel]] = {
        "encoder": EncoderSpec,
        "sampler": SamplerSpec,
        "evaluation": EvaluationSpec,
        "privacy": PrivacySpec,
        "data": DataSpec,
        "split": SplitSpec,
    }
    model: type[BaseModel] = Mixture
    for part in loc:
        model = nested.get(str(part), TaskSpec if model is Mixture else model)
    return Mixture if list(loc) == ["tasks"] else model


def readable_tasks(fields: Mapping[str, Any]) -> dict[str, TaskSpec]:
    """The tasks, of a mixture that may have faults elsewhere, which can be read on their own."""
    tasks = {}
    for name, task in _mapping(fields.get("tasks")).items():
        try:
            tasks[str(name)] = TaskSpec(**_mapping(task))
        except ValidationError:
            continue
    return tasks


def _semantic_faults(mixture: Mixture) -> list[Fault]:
    faults = []
    for name, spec in mixture.tasks.items():
        faults += _task_faults(name, spec) + _sharing_faults(mixture, name, spec)
    return faults + _sampler_faults(mixture) + _evaluation_faults(mixture)


def _task_faults(name: str, spec: TaskSpec) -> list[Fault]:
    key = f"tasks.{name}"
    faults = []
    if not TASK_NAME.fullmatch(name):
        faults.append(
            Fault(key, "A task's name must be letters, digits and '_', and begin with a letter.", "Rename it.")
        )
    repeated = sorted({label for label in spec.labels if spec.labels.count(label) > 1})
    if repeated:
        faults.append(Fault(f"{key}.labels", f"Labels must differ; found {', '.join(repeated)} more than once."))
    faults += _component_faults("head", spec.head, spec.head_options, (f"{key}.head", f"{key}.options"))
    faults += _component_faults(
        "reader", spec.data.reader, spec.data.reader_arguments, (f"{key}.data.reader", f"{key}.data")
    )
    return faults or _construction_faults(name, spec)


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


def _construction_faults(name: str, spec: TaskSpec) -> list[Fault]:
    """What the head's own constructor refuses, such as options that exclude each other."""
    try:
        build_head(spec, hidden_size=8)
    except InputError as error:
        return error.faults
    except ValueError as error:
        return [Fault(f"tasks.{name}.options", str(error))]
    return []


def _sharing_faults(mixture: Mixture, name: str, spec: TaskSpec) -> list[Fault]:
    key, other = f"tasks.{name}.same_rows_as", spec.same_rows_as
    if other is None:
        return []
    if other not in mixture.tasks or other == name:
        others = [task for task in mixture.tasks if task != name]
        return [Fault(key, f"It must name another task; found '{other}'.", did_you_mean(other, others))]
    if mixture.tasks[other].same_rows_as is not None:
        return [Fault(key, f"'{other}' itself follows '{mixture.tasks[other].same_rows_as}'.", "Name that one.")]
    if spec.rate is not None:
        return [
            Fault(f"tasks.{name}.rate", f"It has no effect: the task trains on the batches of '{other}'.", "Remove it.")
        ]
    return []


def _sampler_faults(mixture: Mixture) -> list[Fault]:
    spec = mixture.sampler
    faults = _component_faults("sampler", spec.name, spec.options, ("sampler.name", "sampler"))
    if faults:
        return faults
    cls = components.find("sampler", spec.name, "sampler.name")
    leaders = {name: task for name, task in mixture.tasks.items() if task.same_rows_as is None}
    if not cls.uses_rates:
        faults = [
            Fault(
                f"tasks.{name}.rate",
                f"The sampler '{spec.name}' makes no use of rates.",
                "Remove it, or choose temperature, annealed or weighted.",
            )
            for name, task in leaders.items()
            if task.rate is not None
        ]
    try:
        # Sizes are known once the data is read; the options can be refused before, whatever the sizes.
        components.build(
            cls, {name: TaskSize(32_000, 1_000, t.rate) for name, t in leaders.items()}, 0, 1, **spec.options
        )
    except InputError as error:
        faults += error.faults
    return list(dict.fromkeys(faults))


def _evaluation_faults(mixture: Mixture) -> list[Fault]:
    faults = [
        Fault(f"evaluation.weights.{name}", f"There is no task '{name}'.", did_you_mean(name, mixture.tasks))
        for name in mixture.evaluation.weights
        if name not in mixture.tasks
    ]
    select = mixture.evaluation.select
    task, slash, _ = select.partition("/")
    rules = ["mean", "weighted", "worst", *(f"{name}/<metric>" for name in mixture.tasks)]
    if select not in rules[:3] and not (slash and task in mixture.tasks):
        faults.append(Fault("evaluation.select", f"There is no rule '{select}'.", did_you_mean(select, rules)))
    return faults


def build_head(spec: TaskSpec, hidden_size: int) -> Any:
    """The head of a task.

    Raises:
        ValueError: The head refuses its options.
    """
    cls = components.find("head", spec.head, "head")
    return components.build(cls, spec.labels, hidden_size, **spec.head_options)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
