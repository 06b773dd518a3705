"""The base class of all heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from heads._contract import ClassReport, Decisions, Example, FrozenEncoder, LoadedEncoder, Prediction
from heads.rows import Relation, Row, SpanRow, TextRow, WordProbabilities

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heads._labelling import Labelling
    from heads._pairs import Pairing


class Head(nn.Module, ABC):
    """A task type on top of a shared encoder.

    The methods are called in this order:

    1. `read_tokenizer` may take what the head needs to know of the tokenizer.
    2. `check` and `encode` turn rows into examples. The result is cached.
    3. `attach` may take weights from the encoder, before training starts.
    4. `draw` may change a training example at random, each time that it is put in a batch.
    5. `collate` turns the labels of a batch into tensors. The token ids are padded elsewhere.
    6. `forward` and `loss` compute the training loss.
    7. `outputs` and `decode` turn logits into one prediction for each row.
    8. `counts` compares a prediction with the gold annotation; `score` and `report` turn combined counts into scores.

    Losses and counts are sums over examples and rows, never means. Batches can therefore be split, accumulated, mixed
    with batches of other tasks or shared between processes without changing the result, and a study can resample
    documents from stored counts.

    The options of a head in a mixture are the keyword-only arguments of its `__init__`. Their names, types and defaults
    are checked against the signature.

    Args:
        labels: Names of the classes, entity types or relation types; empty for a regression.
        hidden_size: H of the encoder.

    A complete head, which predicts one label for a text from the state of the first token:

    >>> from collections import Counter
    >>> import torch.nn.functional as F
    >>> from heads import IGNORE, projection, scores
    >>> class OneLabel(Head):
    ...     metrics = ("accuracy",)
    ...     primary_metric = "accuracy"
    ...
    ...     def __init__(self, labels, hidden_size, *, dropout=0.1):
    ...         super().__init__(labels, hidden_size)
    ...         self.classifier = projection(hidden_size, len(labels), dropout=dropout, hidden_layer=None)
    ...
    ...     def check(self, row):
    ...         is_valid = row.label is None or row.label in self.labels
    ...         return None if is_valid else f"the label must be one of: {', '.join(self.labels)}"
    ...
    ...     def is_labelled(self, row):
    ...         return row.label is not None
    ...
    ...     def label_counts(self, row):
    ...         return {row.label: 1} if self.is_labelled(row) else {}
    ...
    ...     def encode(self, rows, tokenizer, max_length, *, training):
    ...         if not rows:
    ...             return []
    ...         encoded = tokenizer([row.text for row in rows], truncation=True, max_length=max_length)
    ...         inputs = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    ...         return [
    ...             {
    ...                 "row": index,
    ...                 **{name: encoded[name][index] for name in inputs},
    ...                 "targets": int(self.is_labelled(row)),
    ...                 "truncated": bool(encoded.encodings[index].overflowing),
    ...                 "label": self.labels.index(row.label) if self.is_labelled(row) else IGNORE,
    ...             }
    ...             for index, row in enumerate(rows)
    ...         ]
    ...
    ...     def collate(self, examples, length):
    ...         return {"label": torch.tensor([example["label"] for example in examples], dtype=torch.long)}  # [B]
    ...
    ...     def forward(self, states, mask, fields):
    ...         return self.classifier(states[:, 0])  # [B, T, H] -> [B, C]
    ...
    ...     def loss(self, logits, fields):
    ...         label = fields["label"]
    ...         total = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum")
    ...         return total, (label != IGNORE).sum()
    ...
    ...     def outputs(self, logits, mask, fields):
    ...         return list(logits.float())  # B tensors [C]
    ...
    ...     def decode(self, row, examples, outputs):
    ...         return {"label": self.labels[int(outputs[0].argmax())]}  # this head makes one example per row
    ...
    ...     def counts(self, prediction, row):
    ...         confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
    ...         if self.is_labelled(row):
    ...             confusion[self.labels.index(row.label), self.labels.index(prediction["label"])] = 1
    ...         return confusion.flatten()  # [C * C]
    ...
    ...     def score(self, counts):
    ...         return {"accuracy": float(scores.accuracy(counts.reshape(len(self.labels), -1)))}
    ...
    ...     def report(self, counts):
    ...         return scores.report(counts.reshape(len(self.labels), -1), self.labels, range(len(self.labels)))
    ...
    ...     def baselines(self, rows):
    ...         most_frequent = Counter(row.label for row in rows if self.is_labelled(row)).most_common(1)
    ...         return {"majority": lambda rows: [{"label": label} for _ in rows] for label, _ in most_frequent}

    It is used like this:

    >>> head = OneLabel(["yes", "no"], 8)
    >>> rows = [TextRow("1", "1", "Aspirin helps.", label="yes"), TextRow("2", "2", "It does not.", label="no")]
    >>> majority = head.baselines(rows)["majority"]
    >>> head.score(sum(head.counts(prediction, row) for prediction, row in zip(majority(rows), rows)))
    {'accuracy': 0.5}
    """

    primary_metric: str
    """Name of the metric that selects checkpoints and is reported first. Higher is better."""

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})
    """Names of the metrics for which lower is better."""

    reduction: Literal["sum", "cat"] = "sum"
    """How the counts of several documents are combined: summed, or concatenated along the first axis."""

    row_type: ClassVar[type[TextRow] | type[SpanRow] | tuple[type[Row], ...]] = TextRow
    """Types of the rows that the head reads."""

    other_names: ClassVar[tuple[str, ...]] = ()
    """What other frameworks call such a head, for the advice on an unknown name."""

    metrics: tuple[str, ...]
    """Names of the metrics that `score` returns."""

    self_supervised: ClassVar[bool] = False
    """Whether the text itself is the gold annotation, so that there are no labels to permute or to predict."""

    weighs_rows: ClassVar[bool] = False
    """Whether `loss` multiplies the loss of each example with the field `weight` [B], where a batch has it.

    The field is the weight of the example's row. The count that `loss` returns does not depend on it.
    """

    soft_labels: ClassVar[bool] = False
    """Whether the head learns from the `probabilities` of its rows."""

    masks_labels: ClassVar[bool] = False
    """Whether the head masks what is not in `annotated` of a `TextRow`."""

    needs_offsets: ClassVar[bool] = True
    """Whether the head needs the offsets of tokens in the text, which only fast tokenizers have."""

    validation_documents: int | None = None
    """Largest number of documents of dev that an evaluation during training scores; None scores all.

    For heads whose predictions take long. The documents are always the same.
    """

    changeable: ClassVar[tuple[str, ...]] = ()
    """Options that may change during a training (`curriculum` of a mixture).

    Only `draw`, and `forward` and `loss` in training, may depend on them: not what is encoded, collated, decoded or
    scored, and not the shapes of weights. A buffer that is made from them must not be saved (``persistent=False``).
    From a change on, a head that is built with the new options trains, with the weights of the first one. Evaluations
    use the first one.
    """

    first_weights: str | None = None
    """Where the first weights come from, for the record of a run; set by `attach`. None if they are random."""

    labels: tuple[str, ...]
    """Names of the classes, entity types or relation types."""

    mention_types: tuple[str, ...] = ()
    """Types of the mentions that predictions list under `entities`; empty if the head predicts no mentions."""

    pairing: Pairing | None = None
    """How the head pairs the mentions of a `SpanRow`, whose relations it predicts; None if it predicts no relations."""

    negative: str | None = None
    """The label that means "no relation"; None if the head predicts no relations."""

    labelling: Labelling | None = None
    """How the head labels the mentions of a `SpanRow`, as `attributes` of its predictions; None if it labels none."""

    writes_relations: bool = False
    """Whether the head predicts relations between names that have no place in the text (see `written_relations`)."""

    writes_directed: bool = True
    """Whether (a, b) and (b, a) are two of these relations."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "score" in vars(cls):
            # These methods of the parent class would compute the parent's score.
            if "many_scores" not in vars(cls):
                cls.many_scores = Head.many_scores  # type: ignore[method-assign]  # on purpose
            if "primary_scores" not in vars(cls):
                cls.primary_scores = Head.primary_scores  # type: ignore[method-assign]  # on purpose

    @abstractmethod
    def __init__(self, labels: Sequence[str], hidden_size: int) -> None:
        super().__init__()
        self.labels = tuple(labels)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def special_tokens(self) -> tuple[str, ...]:
        """Tokens to add to the vocabulary so that they are never split, such as entity placeholders."""
        return ()

    def read_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """Takes what the head needs to know of the encoder's tokenizer; called once, before anything else.

        `encode` uses the tokenizer that it is given instead, because its result is cached. By default, nothing happens.

        Args:
            tokenizer: Tokenizer of the encoder, with the `special_tokens` of all heads.

        Returns:
            Why the head cannot work with it, in the form "rule, got value" without a full stop, or None.
        """
        return None

    def encoder_problem(self, config: Any) -> str | None:
        """Why the head cannot work with an encoder, in the form "rule, got value" without a full stop, or None.

        Args:
            config: Configuration of the Hugging Face model.
        """
        return None

    def advice(self, num_rows: int, num_pairs: int) -> Sequence[str]:
        """Recommendations for the training rows of a task, which `mtl check` prints.

        Args:
            num_rows: Number of training rows.
            num_pairs: Number of these rows that have two texts.
        """
        return ()

    @abstractmethod
    def check(self, row: Row) -> str | None:
        """The first problem of the row for this head, or None.

        A problem has the form "rule, got value" without a full stop. It is printed and logged, so it must not contain
        text of the row. All other methods except `unknown_labels` are given only rows without a problem.
        """

    def training_problem(self, row: Row) -> str | None:
        """Why a row that passed `check` cannot be trained on, in the same form, or None; by default None.

        Rows of train are refused for it. Those of dev and test are scored, and gold that cannot be predicted counts as
        missed.
        """
        return None

    @abstractmethod
    def is_labelled(self, row: Row) -> bool:
        """Whether the row has gold annotation to train on or to score."""

    def without_gold(self, row: Row) -> Row:
        """A copy of the row without the annotation that this head predicts.

        By default that is the label of a `TextRow`, and the relations of a `SpanRow`.
        """
        if isinstance(row, TextRow):
            return replace(row, label=None, probabilities=None, annotated=None)
        return replace(row, relations=(), annotated=None)

    @abstractmethod
    def label_counts(self, row: Row) -> Mapping[str, int]:
        """How often each label occurs in the gold annotation of the row."""

    def unknown_labels(self, row: Row) -> Sequence[str]:
        """Descriptions, without text of the row, of its labels that are not in `labels` and so fail `check`.

        If most rows have one, `labels` is probably wrong rather than the rows, and is reported as the problem.
        """
        return ()

    def notes(self, row: Row) -> Mapping[str, int]:
        """How many gold annotations of the row the head cannot represent, by kind, such as overlapping mentions.

        The totals are printed before training.
        """
        return {}

    def unreachable(self, row: Row, examples: Sequence[Example]) -> int:
        """How many gold annotations of the row no prediction from its examples can match; their total is a note.

        They are what is missing if the examples' own targets are handed back as predictions, for example because the
        tokenizer drops characters.
        """
        return 0

    @abstractmethod
    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """The examples of the rows, in the order of the rows.

        The result is cached, so it must depend on the arguments and the options of the head only, and a row must give
        the same examples whatever the other rows are. One row may give several consecutive examples, such as windows of
        a long text or candidate pairs.

        Args:
            rows: Rows that passed `check`.
            tokenizer: Tokenizer of the encoder, with the head's `special_tokens`.
            max_length: Maximum number of tokens of a sequence, special tokens included.
            training: Whether the examples are for training, which allows leaving out some, such as unlabelled rows or
                a share of the negatives. If false, every row has at least one example unless it has nothing to
                predict.

        Raises:
            ValueError: The head cannot work with this tokenizer or this `max_length`.
        """

    @property
    def draws(self) -> bool:
        """Whether `draw` changes examples. By default, whether the class overrides it."""
        return type(self).draw is not Head.draw

    def draw(self, example: Example, generator: np.random.Generator) -> Example:
        """A training example as one batch trains it, such as with masked tokens; by default the example itself.

        It is called each time that the example is put in a batch, never in an evaluation, and must not read weights or
        settings that change in training: batches are prepared ahead, and by several processes. `input_ids` keep their
        number. `targets` of the result is what it adds to the count that `loss` returns; before the draw it is an upper
        bound. Heads that override this cannot share the inputs of another task (`same_rows_as`).

        Args:
            example: An example from `encode`, which must not be changed itself.
            generator: Random numbers keyed by the seed of the run, the task, and the place of the example in the task's
                stream of training examples, so that a resumed run draws the same and another pass draws others.
        """
        return example

    @abstractmethod
    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """The head's own fields of a batch as tensors whose first axis is B.

        Args:
            examples: B examples; possibly none, because a process may have no examples of the task in a step.
            length: T, the length to which the batch is padded.
        """

    # --- states -> loss -------------------------------------------------------------------------------------------

    def attach(self, encoder: LoadedEncoder) -> str | None:
        """Takes weights from the encoder; called once, after it is loaded and before anything is trained.

        Parameters that depend on the kind of the encoder are made here. Random numbers come from a stream of the task.
        By default, nothing happens.

        Returns:
            What the user should know about these weights, for the log, or None.
        """
        return None

    def masked_lm_weights(self) -> Mapping[str, Tensor] | None:
        """The weights of an attached head for masked language modelling, by their names in transformers' class for it.

        Empty if the encoder's family has no such class, or one with other layers. None for all other heads.
        """
        return None

    def written_relations(self, prediction: Prediction) -> list[Relation]:
        """The relations of a prediction, with names in place of ids; empty if the head does not write relations."""
        return []

    def causal_lm_weights(self) -> Mapping[str, Tensor] | None:
        """The weights of an attached head for causal language modelling, by their names in transformers' class for it.

        Without those of an output layer that is tied to the token embeddings. None for all other heads.
        """
        return None

    @abstractmethod
    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """The logits of a batch, in the shape that the head's `loss` and `outputs` expect.

        Neither `forward` nor `loss` may read values of tensors, as ``.item()``, ``if`` and boolean indexing do, because
        that makes every step on a GPU wait.

        Args:
            states: Last hidden states of the encoder for the sequences of the examples, one after the other, [S, T, H].
                Those of padding are arbitrary and must have no effect. S = B unless examples have several sequences.
            mask: True at tokens and False at padding, [S, T].
            fields: Result of `collate`, on the device of the states.
        """

    @abstractmethod
    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss summed over the batch, in float32, and the number of targets; two scalars on the logits' device.

        The sum of losses is divided by the sum of these numbers over the whole update: all processes, accumulated
        batches and mixed batches. The number equals the sum of `targets` over the examples. Anything with the label
        `IGNORE` adds to neither, and a batch without targets has a loss of 0 with gradients of 0.
        """

    # --- logits -> scores -----------------------------------------------------------------------------------------

    @abstractmethod
    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """What `decode` needs of each example, without padding: B tensors in float32."""

    @abstractmethod
    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """The prediction for a row. It must not depend on the row's gold annotation.

        Args:
            row: The row.
            examples: All examples of the row, in the order in which `encode` made them.
            outputs: The output of each of them, on the CPU.
        """

    @abstractmethod
    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """What `score` needs to know about one row, from its prediction and its gold annotation.

        The shape is [K] with the reduction "sum" and [n, K] with "cat"; a row without gold gives zeros or [0, K]. Gold
        annotation that was lost to `max_length` or cannot be predicted counts as missed.
        """

    def document_counts(self, counts: Sequence[Tensor]) -> Tensor:
        """The counts of one document from those of its rows, in the shape that `counts` returns.

        By default they are combined by `reduction`. A head that scores documents rather than rows overrides this.
        """
        return self.combined(counts)

    def combined(self, counts: Sequence[Tensor]) -> Tensor:
        """The counts of a corpus from those of its documents: their sum, or all of them with the reduction "cat"."""
        return torch.cat(list(counts)) if self.reduction == "cat" else torch.stack(list(counts)).sum(dim=0)

    def error(self, prediction: Prediction, row: Row) -> float:
        """The number of mistakes in the prediction, 0 if it is right. Wrong predictions are listed in this order.

        By default it is the sum of the confusion matrix of the row off its diagonal.
        """
        confusion = self.report(self.counts(prediction, row)).confusion
        assert confusion is not None, "a head without a confusion matrix must override `error`"
        return float(sum(n for i, line in enumerate(confusion) for j, n in enumerate(line) if i != j))

    @abstractmethod
    def score(self, counts: Tensor) -> dict[str, float]:
        """All `metrics` of a corpus from its combined counts, [K] or [N, K].

        A pure function. Without rows (counts of 0, or N = 0) all metrics are defined and finite.
        """

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        """Some metrics of many corpora that are resampled from the same rows or documents.

        The default calls `score` for each corpus, which is right for every head. A bootstrap has thousands of corpora,
        so a head that computes them all at once saves most of its time. A class that overrides `score` gets the
        default back unless it overrides this method too.

        Args:
            counts: Counts of each row or document, [N, K].
            times: How many times each corpus contains each of them: whole numbers, [..., N].
            metrics: Names of the metrics, from `metrics`.

        Returns:
            The scores of each corpus by metric, in float64, [...].
        """
        corpora_times = times.reshape(times.shape[:-1].numel(), len(counts))  # one line for each corpus
        if self.reduction == "cat":
            corpora = [counts.repeat_interleave(line.long(), dim=0) for line in corpora_times]
        else:
            corpora = list((corpora_times.double() @ counts.double()).to(counts.dtype))
        found = [self.score(corpus) for corpus in corpora]
        return {
            name: torch.tensor([one[name] for one in found], dtype=torch.double).reshape(times.shape[:-1])
            for name in metrics
        }

    def primary_scores(self, counts: Tensor, times: Tensor) -> Tensor:
        """The primary metric of many corpora: see `many_scores`."""
        return self.many_scores(counts, times, (self.primary_metric,))[self.primary_metric]

    def proportions(self, counts: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The metrics that are proportions of cases, such as a sensitivity, each as two counts of each document.

        Their intervals are computed from these counts; those of all other metrics by resampling documents.

        Args:
            counts: Counts of each row or document, [N, K].

        Returns:
            The number of cases that count and the number of all cases, both [N], by metric.
        """
        return {}

    @abstractmethod
    def report(self, counts: Tensor) -> ClassReport:
        """Scores of each class, from the counts that `score` takes."""

    @abstractmethod
    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """Trivial predictors by name, fitted on labelled training rows.

        They show what a model must beat. Each returns one prediction for each row, which is counted and scored like the
        model's.
        """

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> npt.NDArray[np.float32] | None:
        """The weights of the trivial predictor `frozen`, [V + 1, K]; None if there is none, as by default.

        It is a linear model on V features from states of the encoder without fine-tuning, and so shows
        what fine-tuning must beat. The last line is the bias.

        Args:
            rows: Labelled training rows that passed `check`.
            encoder: Gives the states.
        """
        return None

    def predict_frozen(
        self, rows: Sequence[Row], weights: npt.NDArray[np.float32], encoder: FrozenEncoder
    ) -> list[Prediction]:
        """The predictions of `frozen`, one for each row.

        Args:
            rows: At least one row.
            weights: Result of `fit_frozen`.
            encoder: Gives the states.
        """
        raise NotImplementedError("a head with fit_frozen must override predict_frozen")

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    @property
    def has_probabilities(self) -> bool:
        """Whether predictions come with probabilities. By default, whether the class overrides `decisions`.

        A head that has them overrides `decisions` and `decode_calibrated`.
        """
        return type(self).decisions is not Head.decisions

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        """The decisions in a row with their gold, from which the temperature of the probabilities is fitted.

        Args:
            row: The row.
            examples: All examples of the row, with their gold.
            outputs: The output of each of them, on the CPU.
        """
        raise NotImplementedError("a head with probabilities must override decisions")

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        """The prediction of `decode`, with the probabilities of logits that are divided by the temperature.

        What is predicted does not depend on the temperature; only the scores do.
        """
        raise NotImplementedError("a head with probabilities must override decode_calibrated")

    @property
    def tags_words(self) -> bool:
        """Whether predictions tag words, so that `word_probabilities` gives something."""
        return type(self).word_probabilities is not Head.word_probabilities

    def word_probabilities(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float = 1.0
    ) -> list[WordProbabilities]:
        """The probabilities of the tags of each word, as soft labels for another model.

        A head that tags words overrides it.

        Args:
            row: The row.
            examples: All examples of the row.
            outputs: The output of each of them, on the CPU.
            temperature: What the logits are divided by.
        """
        raise NotImplementedError("a head that tags words must override word_probabilities")

    def calibrated_thresholds(self, temperature: float) -> dict[str, float]:
        """The thresholds by label, on the scale of probabilities at a temperature; empty without thresholds."""
        return {}

    @property
    def is_tuned(self) -> bool:
        """Whether `tune` changes predictions. By default, whether the class overrides `tune`."""
        return type(self).tune is not Head.tune

    def tuning_data(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Tensor | None:
        """What `tune` needs to know about one dev row, [n, K]; None if the head tunes nothing."""
        return None

    def tune(self, data: Tensor) -> None:
        """Fits decision parameters, such as thresholds, on the concatenated tuning data of all dev rows, [n, K]."""

    def tuned_decision(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> Callable[[Prediction], Prediction] | None:
        """How a trivial predictor decides, with thresholds of its own that are chosen like those of `tune`.

        So both are compared at the same operating point. It is called if `is_tuned`; by default, predictions stay.

        Args:
            rows: Rows of dev.
            predictions: What the trivial predictor predicts for each of them.

        Returns:
            From a prediction to the one that is scored; None if no threshold reaches a required value on dev.
        """
        return lambda prediction: prediction
