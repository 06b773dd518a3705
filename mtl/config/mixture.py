"""What a mixture file may say: the tasks that share one encoder, and every key with its default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from mtl.config import components
from mtl.problems import InputError, Problem, did_you_mean

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
        attention: Implementation of the attention. `auto` takes our own on a CPU (transformers' eager one for
            families that bring their own); on a GPU the package FlashAttention 2 in half precision where it is
            installed and the family knows it, else PyTorch's. `flash_attention_2` asks for that package by name.
    """

    name: StrictStr = "minilm-l6"
    max_length: Annotated[StrictInt, Field(ge=8)] = 128
    revision: StrictStr | None = None
    num_layers: Count | None = None
    freeze_layers: Annotated[StrictInt, Field(ge=0)] = 0
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"


class SplitSpec(_Spec):
    """How one source split is cut into several, see `mtl.data.splits`."""

    source: Literal["train", "dev", "test"] = "train"
    by: StrictStr | tuple[StrictStr, ...] = "document"
    fractions: dict[Literal["train", "dev", "test"], Positive]
    seed: StrictInt = 0


class LimitSpec(_Spec):
    """At most how many rows of a split are read: whole documents, drawn at random, see `mtl.data.reading`.

    Args:
        train: Most rows of train; None takes them all.
        dev: Most rows of dev.
        test: Most rows of test.
        seed: Of the draw; apart from the run's, so that all runs share their rows.
    """

    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None
    seed: StrictInt = 0

    @model_validator(mode="after")
    def _limits_something(self) -> LimitSpec:
        if self.train is None and self.dev is None and self.test is None:
            raise ValueError("It must limit train, dev or test")
        return self


class PermuteSpec(_Spec):
    """Permutes the labels of train as a control, see `mtl.data.permutation`.

    Args:
        seed: Seed of the permutation, separate from the run's, so that all runs share their labels.
        mentions: Texts with mentions: true moves the mentions, false permutes the relations; None moves the mentions
            only if no row of train has a relation.
    """

    seed: StrictInt = 0
    mentions: StrictBool | None = None


class _OpenSpec(_Spec):
    """A component with options of its own beside the fields that every such component has."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class SamplerSpec(_OpenSpec):
    """Which sampler, with its options beside the name."""

    name: StrictStr = "proportional"


class BalancingSpec(_OpenSpec):
    """Which method turns the losses of the tasks into one, with its options beside the name."""

    name: StrictStr = "fixed"


class DataSpec(_OpenSpec):
    """Where the rows of a task are; options of the reader stand beside these fields.

    Args:
        reader: A file of `mtl/readers`, or the import path of a class.
        path: A folder or a file; or one file per split. Relative paths are looked for beside the file in which
            they are written, then in the working folder.
        split: Cuts one of the source's splits into several.
        limit: Takes only so many rows of a split, after it was cut.
        exclude: Documents that are left out of train, after it was limited: nothing comes in their place.
        permute: Permutes the labels of the rows of train that remain; dev and test keep theirs.
    """

    reader: StrictStr
    path: StrictStr | dict[Literal["train", "dev", "test"], StrictStr]
    split: SplitSpec | None = None
    limit: LimitSpec | None = None
    exclude: tuple[StrictStr, ...] = ()
    permute: PermuteSpec | None = None

    @property
    def reader_arguments(self) -> dict[str, Any]:
        """The arguments of the reader: a path per split becomes `path` and `files`."""
        if isinstance(self.path, str):
            return {"path": self.path, **self.options}
        return {"path": "", "files": dict(self.path), **self.options}

    @property
    def skips_bad_rows(self) -> bool:
        """Whether rows that the reader or the head cannot use are left out and counted instead of being an error."""
        return bool(self.options.get("on_bad_row") == "skip")


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
        tokens_per_batch: Padded word pieces per batch in place of `batch_size`; None takes the mixture's, unless the
            task has a `batch_size`.
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
    tokens_per_batch: Count | None = None
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
    """What may leave the data: with `log_text`, predictions that a run is asked to keep carry the text of their row."""

    log_text: StrictBool = False


class Mixture(_Spec):
    """Tasks that share one encoder, each with a rate. `load_mixture` reads one from a file.

    Args:
        name: Of its runs' folder.
        tasks: By name.
        encoder: Shared by the tasks.
        sampler: Decides which tasks a step trains.
        balancing: How the losses of an update's tasks become one.
        evaluation: What selects checkpoints.
        privacy: What may leave the data.
        batch_size: Examples of one task in a batch, over all processes.
        tokens_per_batch: Padded word pieces of a batch, over all processes, in place of `batch_size`. Every example
            then counts alike, instead of every batch.
        tasks_per_step: How many tasks one step trains, each with a batch of its own and all encoded in one pass; `all`
            takes every task that has batches of its own. Samplers with a fixed number of batches per task
            (proportional, anchored) spread them evenly, so that some steps may hold fewer. Batches of like length
            are mixed, so the order of a task's batches within an epoch then depends on its partners.
        seed: Of everything that is drawn.
    """

    name: StrictStr
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    encoder: EncoderSpec = EncoderSpec()
    sampler: SamplerSpec = SamplerSpec()
    balancing: BalancingSpec = BalancingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    privacy: PrivacySpec = PrivacySpec()
    batch_size: Count = 32
    tokens_per_batch: Count | None = None
    tasks_per_step: Count | Literal["all"] = 1
    seed: Annotated[StrictInt, Field(ge=0)] = 0

    def to_dict(self) -> dict[str, Any]:
        """The whole mixture as JSON types, defaults included; `Mixture(**mixture.to_dict())` gives it back."""
        return self.model_dump(mode="json")

    def batch_size_of(self, task: str) -> int:
        return self.tasks[task].batch_size or self.batch_size

    def tokens_per_batch_of(self, task: str) -> int | None:
        spec = self.tasks[task]
        return spec.tokens_per_batch or (None if spec.batch_size else self.tokens_per_batch)

    def leaders(self) -> list[str]:
        """The tasks that have batches of their own."""
        return [name for name, spec in self.tasks.items() if spec.same_rows_as is None]

    def max_length_of(self, task: str) -> int:
        return self.tasks[task].max_length or self.encoder.max_length

    def only(self, names: Sequence[str]) -> Mixture:
        """The same mixture with some of its tasks.

        Raises:
            InputError: A name is no task of the mixture.
        """
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise InputError(
                [Problem("only", f"There is no task '{n}'.", did_you_mean(n, self.tasks)) for n in unknown]
            )
        tasks = {
            name: spec.model_copy(update={"same_rows_as": None}) if spec.same_rows_as not in names else spec
            for name, spec in self.tasks.items()
            if name in names
        }
        weights = {name: weight for name, weight in self.evaluation.weights.items() if name in names}
        evaluation = self.evaluation.model_copy(update={"weights": weights})
        fewer = self.model_copy(update={"tasks": tasks, "evaluation": evaluation})
        if self.tasks_per_step == "all":
            return fewer
        return fewer.model_copy(update={"tasks_per_step": min(self.tasks_per_step, len(fewer.leaders()))})


def build_head(spec: TaskSpec, hidden_size: int) -> Any:
    """The head of a task.

    Raises:
        ValueError: The head refuses its options.
    """
    cls = components.find("head", spec.head, "head")
    return components.build(cls, spec.labels, hidden_size, **spec.head_options)
