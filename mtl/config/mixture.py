"""The keys of a mixture file with their defaults: tasks that share one encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    StrictStr,
    model_serializer,
    model_validator,
)

from mtl.config import components
from mtl.problems import InputError, Problem, did_you_mean

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]


class Section(BaseModel):
    """A mapping in a mixture or study file; unknown keys are errors, and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderSpec(Section):
    """The shared encoder.

    Args:
        name: An entry of the catalogue (see `mtl encoders`), a model on the Hugging Face hub as OWNER/NAME, or a
            folder. `minilm-l6` comes with the extra `demo`. `init` sets it to the path of a run.
        kind: `causal` for a causal language model, in which a token sees only itself and the tokens before it; entries
            with the architecture `decoder` set it. None for an encoder in which tokens see each other.
        max_length: Maximum length of an input in tokens; tasks may override it. An entry may have a default of its own.
        revision: Revision of a hub model; None means that of the entry, otherwise `main`.
        weights: `random` draws all weights instead of loading them, so that only the configuration and the tokenizer
            are read; None loads them.
        tokenizer: Another tokenizer for an encoder with random weights, named like the encoder; None takes the
            encoder's own. The embeddings have one row for each of its tokens.
        num_layers: Number of layers to keep, counted from the lowest; None keeps all.
        freeze_layers: Number of the lowest layers to freeze.
        freeze_embeddings: Whether to freeze the embeddings; None does so if `freeze_layers` is above 0.
        reinit_layers: Number of the highest layers to start from random weights instead of pretrained ones; None
            keeps all pretrained weights.
        dropout: Dropout rate of the hidden states and the attention; None keeps the rates of the model's configuration.
        attention: Implementation of the attention. `auto` packs the tokens of a batch into one row without padding;
            a model family that does not allow this gets padded batches. The others are implementations of transformers
            and always pad; `flash_attention_2` requires the package of that name.
        gradient_checkpointing: Whether to compute the states of the layers again in the backward pass, which takes a
            third more time and much less memory.
    """

    name: StrictStr = "minilm-l6"
    kind: Literal["causal"] | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] = 128
    revision: StrictStr | None = None
    weights: Literal["random"] | None = None
    tokenizer: StrictStr | None = None
    num_layers: Count | None = None
    freeze_layers: Annotated[StrictInt, Field(ge=0)] = 0
    freeze_embeddings: StrictBool | None = None
    reinit_layers: Count | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _draws_what_it_does_not_load(self) -> EncoderSpec:
        if self.tokenizer is not None and self.weights is None:
            raise ValueError("must have weights: random with a tokenizer, whose tokens pretrained weights do not know")
        if self.reinit_layers is not None and self.weights is not None:
            raise ValueError("must have weights or reinit_layers, not both")
        return self


class InitSpec(Section):
    """The run whose trained encoder a mixture starts from, with its tokenizer.

    Args:
        run: The folder of a run, whose best checkpoint is taken, or the last one if none was selected on dev; or one
            of its checkpoints.
        heads: `none` initialises all heads; `matching` takes those of the tasks with the same name; `keep` does so, and
            adds the other tasks of the run with rate 0.
    """

    run: StrictStr
    heads: Literal["none", "matching", "keep"] = "none"


class SplitSpec(Section):
    """How one source split is divided into several; see `mtl.data.splits`.

    Args:
        source: The split to divide.
        by: What stays together: the row's `document`, or one or more columns of its `meta`. The values of several
            columns share one pool, and a row whose values are in two splits is dropped and counted.
        fractions: Fraction of the documents, or values, that each split gets; the fractions add up to 1.
        folds: Number of folds for cross-validation, instead of fractions: one is test, the next is dev, the others are
            train. Over all values of `fold`, each document, or value, is in test exactly once.
        fold: Number of the fold that is test, from 0.
        seed: Seed of the division, separate from the run's, so that all runs use the same rows.
    """

    source: Literal["train", "dev", "test"] = "train"
    by: StrictStr | tuple[StrictStr, ...] = "document"
    fractions: dict[Literal["train", "dev", "test"], Positive] = Field(default_factory=dict)
    folds: Annotated[StrictInt, Field(ge=3)] | None = None
    fold: Annotated[StrictInt, Field(ge=0)] = 0
    seed: StrictInt = 0

    @model_validator(mode="after")
    def _is_one_rule(self) -> SplitSpec:
        if bool(self.fractions) == (self.folds is not None):
            raise ValueError("must have fractions or folds, and not both")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"must have a fold below the number of folds, got {self.fold}")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the source is divided into."""
        return tuple(self.fractions) or ("train", "dev", "test")


class LimitSpec(Section):
    """The maximum number of rows of each split: whole documents, drawn at random; see `mtl.data.reading`.

    Args:
        train: Maximum number of rows of train; None keeps all.
        dev: Maximum number of rows of dev; None keeps all.
        test: Maximum number of rows of test; None keeps all.
        seed: Seed of the draw, separate from the run's, so that all runs use the same rows.
    """

    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None
    seed: StrictInt = 0

    @model_validator(mode="after")
    def _limits_something(self) -> LimitSpec:
        if self.train is None and self.dev is None and self.test is None:
            raise ValueError("must limit train, dev or test")
        return self


class LabelSourceSpec(Section):
    """How rows of train with weak labels from one source are used; see `mtl.data.weak_labels`.

    Args:
        weight: Factor on the weight of its rows.
        min_score: Least `score` of its rows; those below, and those without a score, are left out. None keeps all.
        gold: Whether its labels are gold, so that its rows in dev and test are scored.
    """

    weight: Positive = 1.0
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    gold: StrictBool = False


class PermuteSpec(Section):
    """Permutes the labels of train as a control; see `mtl.data.permutation`.

    Args:
        seed: Seed of the permutation, separate from the run's, so that all runs use the same labels.
        mentions: For texts with mentions: true moves the mentions, false permutes the relations; None moves the
            mentions only if no row of train has a relation.
        attribute: For texts with mentions: permutes only this attribute of the mentions.
    """

    seed: StrictInt = 0
    mentions: StrictBool | None = None
    attribute: StrictStr | None = None

    @model_validator(mode="after")
    def _permutes_one_thing(self) -> PermuteSpec:
        if self.attribute is not None and self.mentions is not None:
            raise ValueError("must have mentions or attribute, not both")
        return self


class _OpenSpec(Section):
    """A component whose own options are written next to the fields that all components of its kind have."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class SamplerSpec(_OpenSpec):
    """The sampler; its options are written next to the name.

    Args:
        name: Name of a file in `mtl/samplers`, or the import path of a class.
    """

    name: StrictStr = "proportional"


class BalancingSpec(_OpenSpec):
    """The method that combines the losses of the tasks into one; its options are written next to the name.

    Args:
        name: Name of a file in `mtl/balancing`, or the import path of a class.
    """

    name: StrictStr = "fixed"


class PhaseSpec(_OpenSpec):
    """An entry of a curriculum; what it changes is written next to the step, see `mtl.config.curriculum`.

    Args:
        from_step: Number of the first update with the changes, from 0; they last until another entry changes them.
    """

    from_step: Annotated[StrictInt, Field(ge=0)]


_UNSET = frozenset({"sources", "sentences", "licence", "private"})
"""Fields of `DataSpec` that are written only if they are set."""


class DataSpec(_OpenSpec):
    """Where the rows of a task come from; options of the reader are written next to these fields.

    Args:
        reader: Name of a file in `mtl/readers`, or the import path of a class.
        path: A folder or a file, or one file per split. Relative paths are searched in the folder of the YAML file
            that contains them, then in the working folder.
        split: Divides one of the source's splits into several.
        limit: Keeps only some rows of a split; applied after `split`.
        exclude: Documents to remove from train; applied after `limit`, without replacement.
        permute: Permutes the labels of the remaining rows of train; dev and test keep theirs.
        rename: Names in the task of labels with other names in the corpus: classes, entity types or relation types.
        annotated: Entity and relation types, by their new names, that the corpus annotates, if it lacks some of the
            task's; None means all. The others are neither learned nor scored. Also the labels of texts with a list
            of labels.
        sources: How rows with weak labels are used, by their `source`; applied when rows are read.
        sentences: "split" divides texts with mentions that come without sentences into some, as `mtl predict` does.
        licence: Licence of the data, for the README of an exported model; None states none.
        private: Whether no model that was trained on the data may be written to the Hugging Face hub by `mtl export`.
    """

    reader: StrictStr
    path: StrictStr | dict[Literal["train", "dev", "test"], StrictStr]
    split: SplitSpec | None = None
    limit: LimitSpec | None = None
    exclude: tuple[StrictStr, ...] = ()
    permute: PermuteSpec | None = None
    rename: dict[StrictStr, StrictStr] | None = None
    annotated: tuple[StrictStr, ...] | None = None
    sources: dict[StrictStr, LabelSourceSpec] | None = None
    sentences: Literal["split"] | None = None
    licence: StrictStr | None = None
    private: StrictBool = False

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Where they are not set, keys of caches and recorded searches stay as they were.
        return {key: value for key, value in serialize(self).items() if key not in _UNSET or value}

    @property
    def reader_arguments(self) -> dict[str, Any]:
        """The keyword arguments of the reader; one path per split becomes `path` and `files`."""
        if isinstance(self.path, str):
            return {"path": self.path, **self.options}
        return {"path": "", "files": dict(self.path), **self.options}

    @property
    def skips_bad_rows(self) -> bool:
        """Whether bad rows are skipped and counted instead of raising an error."""
        return bool(self.options.get("on_bad_row") == "skip")


class TaskSpec(Section):
    """One task.

    Args:
        head: Name of a file in `heads`, or the import path of a class.
        data: Where the rows of the task come from.
        labels: Names of the classes, entity types or relation types.
        rate: Share of the steps, relative to the rates of the other tasks; None lets the sampler derive it from the
            sizes of the tasks. 0 only evaluates the task, with its head from the run in `init`.
        loss_weight: Factor on the task's mean loss.
        primary_metric: Metric that selects checkpoints and is reported first; None means the head's default.
        options: Options of the head.
        batch_size: Examples per batch; None uses the mixture's value.
        tokens_per_batch: Largest number of tokens per batch, instead of `batch_size`; None uses the mixture's value
            unless the task has a `batch_size`.
        max_length: Maximum length of an input in tokens; None uses the encoder's value.
        learning_rate_factor: Factor on the learning rate of the task's head.
        same_rows_as: Another task with exactly the same texts. Its batches then also train this task: each text is
            encoded once for both heads, and this task has no steps of its own.
    """

    head: StrictStr
    data: DataSpec
    labels: tuple[StrictStr, ...] = ()
    rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
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


class EvaluationSpec(Section):
    """How checkpoints are selected on dev, and for which groups of rows they are scored.

    Args:
        select: The `mean`, `weighted` mean or `worst` of the tasks' primary metrics, or one metric as ``task/metric``.
        weights: Weights of the tasks for `weighted`; the default is 1.
        groups: Keys of the rows' `meta`, such as site or year, for whose values a checkpoint is scored separately.
        min_group_rows: Number of labelled rows below which a group is counted, but not scored.
        unit: What intervals resample: `document`, or a key of the rows' `meta` that several documents share, such as
            `patient`. Tasks whose rows do not have the key resample documents.
    """

    select: StrictStr = "mean"
    weights: dict[str, Positive] = Field(default_factory=dict)
    groups: tuple[StrictStr, ...] = ()
    min_group_rows: Count = 20
    unit: StrictStr = "document"


LeakagePolicy = Literal["error", "warn", "exclude"]


class LeakageSpec(Section):
    """What happens to overlaps of train with dev or test: `error`, `warn`, or `exclude`; see `mtl.data.leakage_gate`.

    `exclude` leaves the documents that hold the overlap out of train.

    Args:
        documents: Documents with the same id, or rows with the same text, in train of one task and dev or test of
            another.
        texts: The same between the splits of one task, or of two tasks that annotate the same corpus.
        sentences: Single sentences, within a task or between tasks.
        containment: Texts that share 64 or more letters and digits in a row, within a task or between tasks.
    """

    documents: LeakagePolicy = "error"
    texts: LeakagePolicy = "warn"
    sentences: LeakagePolicy = "warn"
    containment: LeakagePolicy = "warn"


class PrivacySpec(Section):
    """Which parts of the data may be written elsewhere.

    Args:
        log_text: Whether saved predictions contain the text of their rows.
        hash_ids: Whether ids of rows and documents leave the folder of a run only as keyed hashes (see `mtl ids`).
    """

    log_text: StrictBool = False
    hash_ids: StrictBool = False


class Mixture(Section):
    """Tasks that share one encoder, each with a rate. `load_mixture` reads one from a file.

    Args:
        name: Name of the mixture, used for the folder of its runs.
        tasks: The tasks by name.
        encoder: The encoder that the tasks share.
        init: The run whose encoder the training starts from; None starts from `encoder.name`.
        sampler: The sampler, which chooses the tasks of each step.
        balancing: How the losses of the tasks in an update are combined.
        curriculum: What changes at which update of the training.
        evaluation: How checkpoints are selected, and for which groups of rows they are scored.
        leakage: What happens if train overlaps with dev or test.
        privacy: Which parts of the data may be written elsewhere.
        batch_size: Examples of one task in a batch, over all processes.
        tokens_per_batch: Largest number of tokens of a batch, over all processes, instead of `batch_size`. Every
            example, instead of every batch, then has the same weight.
        tasks_per_step: Number of tasks in a step, each with its own batch, all encoded in one pass; `all` means every
            task that has its own batches. Samplers with a fixed number of batches per task (proportional, anchored)
            spread them evenly, so some steps may have fewer.
        seed: Seed for all random draws.
    """

    name: StrictStr
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    encoder: EncoderSpec = EncoderSpec()
    init: InitSpec | None = None
    sampler: SamplerSpec = SamplerSpec()
    balancing: BalancingSpec = BalancingSpec()
    curriculum: tuple[PhaseSpec, ...] = ()
    evaluation: EvaluationSpec = EvaluationSpec()
    leakage: LeakageSpec = LeakageSpec()
    privacy: PrivacySpec = PrivacySpec()
    batch_size: Count = 32
    tokens_per_batch: Count | None = None
    tasks_per_step: Count | Literal["all"] = 1
    seed: Annotated[StrictInt, Field(ge=0)] = 0

    def to_dict(self) -> dict[str, Any]:
        """The whole mixture as JSON types, including defaults; `Mixture(**mixture.to_dict())` restores it."""
        return self.model_dump(mode="json")

    def batch_size_of(self, task: str) -> int:
        return self.tasks[task].batch_size or self.batch_size

    def tokens_per_batch_of(self, task: str) -> int | None:
        spec = self.tasks[task]
        return spec.tokens_per_batch or (None if spec.batch_size else self.tokens_per_batch)

    def leaders(self) -> list[str]:
        """The tasks that have their own batches."""
        return [name for name, spec in self.tasks.items() if spec.same_rows_as is None]

    def trained(self) -> list[str]:
        """The tasks that are trained; the others are only evaluated."""
        return [name for name, spec in self.tasks.items() if spec.rate != 0]

    def drawn(self) -> list[str]:
        """The tasks whose batches the steps of the training draw."""
        return [name for name in self.trained() if self.tasks[name].same_rows_as is None]

    def max_length_of(self, task: str) -> int:
        return self.tasks[task].max_length or self.encoder.max_length

    def only(self, names: Sequence[str]) -> Mixture:
        """The same mixture with some of its tasks.

        Raises:
            InputError: The mixture has no task of that name.
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
        curriculum = tuple(filter(None, (_only(phase, names) for phase in self.curriculum)))
        fewer = self.model_copy(update={"tasks": tasks, "evaluation": evaluation, "curriculum": curriculum})
        if self.tasks_per_step == "all":
            return fewer
        return fewer.model_copy(update={"tasks_per_step": min(self.tasks_per_step, max(1, len(fewer.drawn())))})


def _only(phase: PhaseSpec, names: Sequence[str]) -> PhaseSpec | None:
    """An entry of a curriculum without the changes of other tasks; None if nothing is left."""
    kept = {key: value for key, value in phase.options.items() if key.split(".")[1] in names}
    return PhaseSpec(from_step=phase.from_step, **kept) if kept else None


def build_head(spec: TaskSpec, hidden_size: int) -> Any:
    """The head of a task.

    Raises:
        ValueError: The head rejects its options.
    """
    cls = components.find("head", spec.head, "head")
    return components.build(cls, spec.labels, hidden_size, **spec.head_options)
