"""Task types, one file each: how rows become examples, states become logits, and predictions become scores.

A new task type is a new file here with one subclass of `Head`; its file name is its name in YAML. Nothing here
imports from `mtl`.

Shapes: B examples, T tokens, H hidden size, C labels, D documents, K counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from heads.rows import Entity, Relation, Row, Span, SpanRow, TextRow, row_from_dict, row_to_dict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "IGNORE",
    "ClassReport",
    "Entity",
    "Example",
    "Head",
    "Prediction",
    "Relation",
    "Row",
    "Span",
    "SpanRow",
    "TextRow",
    "pad",
    "projection",
    "row_from_dict",
    "row_to_dict",
]

IGNORE = -100
"""The label of whatever must not be learned: padding, later word pieces, what was not annotated."""

Example = dict[str, Any]
"""What one pass of the encoder reads, as lists and numbers that Arrow can store.

Every example has `row` (index among the rows it was made from), `input_ids`, `targets` (what this example adds to
the count that `Head.loss` returns) and `truncated` (text was lost to the maximum length); `token_type_ids` where
the tokenizer makes them; the rest belongs to the head.
"""

Prediction = dict[str, Any]
"""A row's prediction in the row's own terms (label text, spans with character offsets, relations), as JSON types."""


class ClassReport(NamedTuple):
    """Scores class by class. `confusion[i][j]` counts gold class `classes[i]` predicted as `classes[j]`."""

    per_class: dict[str, dict[str, float]]
    classes: tuple[str, ...]
    confusion: list[list[int]] | None


class Head(nn.Module, ABC):
    """A task type on top of a shared encoder.

    Options of a head are the keyword-only arguments of its `__init__`; their types and defaults are checked from
    the signature. A subclass calls ``super().__init__()`` and stores what it needs.

    Args:
        labels: The names of the classes, entity types or relation types; empty for a regression.
        hidden_size: H of the encoder.
    """

    primary_metric: str
    """The metric that selects and is reported first. Higher is better."""

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})
    """Names of metrics where less is better."""

    reduction: ClassVar[Literal["sum", "cat"]] = "sum"
    """How counts of several rows become one: added, or concatenated along the first axis."""

    row_type: ClassVar[type[TextRow] | type[SpanRow] | tuple[type[Row], ...]] = TextRow
    """The rows this head reads."""

    metrics: tuple[str, ...]
    """The names of what `score` gives."""

    labels: tuple[str, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "score" in vars(cls) and "primary_scores" not in vars(cls):
            cls.primary_scores = Head.primary_scores  # type: ignore[method-assign]  # that of a parent knows no such score

    @abstractmethod
    def __init__(self, labels: Sequence[str], hidden_size: int) -> None:
        super().__init__()
        self.labels = tuple(labels)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def special_tokens(self) -> tuple[str, ...]:
        """Tokens that the vocabulary must hold whole, such as entity placeholders."""
        return ()

    @abstractmethod
    def check(self, row: Row) -> str | None:
        """What is wrong with this row for this head ("rule; what was found", without text of the row), or None."""

    @abstractmethod
    def is_labelled(self, row: Row) -> bool:
        """Whether the row has anything to learn from or to score."""

    def without_gold(self, row: Row) -> Row:
        """The row without what this head predicts: what is left for a prediction to read."""
        if isinstance(row, TextRow):
            return replace(row, label=None)
        return replace(row, relations=(), annotated=None)

    @abstractmethod
    def label_counts(self, row: Row) -> Mapping[str, int]:
        """How often each label occurs in the row's gold annotation."""

    def unknown_labels(self, row: Row) -> Sequence[str]:
        """The labels for which `check` refuses the row, worded without text of a row.

        Where most rows have one, `labels` is wrong and not the rows, and that is told instead.
        """
        return ()

    def notes(self, row: Row) -> Mapping[str, int]:
        """What of the row's gold this head can't express (overlapping mentions, say), by kind, for the plan."""
        return {}

    @abstractmethod
    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """Turns rows into examples: pure and batched, so that the result can be cached.

        One row may give several examples (windows, candidate pairs), which are neighbours in the result and in the
        order of the rows. With `training` a head may leave out what it does not learn from; without, every row has
        at least one example, unless it has nothing that could be predicted.
        """

    @abstractmethod
    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """The head's own fields of some examples as tensors; `length` is T."""

    # --- states -> loss -------------------------------------------------------------------------------------------

    @abstractmethod
    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Logits from states [B, T, H], attention mask [B, T] (bool) and the collated fields."""

    @abstractmethod
    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed loss and the count to divide it by, which equals the sum of `targets`.

        Both are on the device of the logits.
        """

    # --- logits -> scores -----------------------------------------------------------------------------------------

    @abstractmethod
    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """What decoding needs of each example, without padding: B tensors, float32."""

    @abstractmethod
    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """The prediction for a row from all its examples and their outputs (on the CPU)."""

    @abstractmethod
    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """What the score needs to know of this row against its gold: [K] to be added, or [n, K] to be concatenated."""

    def error(self, prediction: Prediction, row: Row) -> float:
        """How wrong the prediction is: the number of mistakes against the row's gold, 0 where it is right."""
        confusion = self.report(self.counts(prediction, row)).confusion
        assert confusion is not None, "a head without a confusion matrix defines its errors itself"
        return float(sum(n for i, line in enumerate(confusion) for j, n in enumerate(line) if i != j))

    @abstractmethod
    def score(self, counts: Tensor) -> dict[str, float]:
        """All metrics from counts added or concatenated over rows: a plain function of [K] or [N, K]."""

    def primary_scores(self, counts: Tensor, times: Tensor) -> Tensor:
        """The primary metric of many corpora at once, drawn from the same rows or documents with repetition.

        The default asks `score` corpus by corpus, which is right for every head. A bootstrap asks for thousands: a
        head that computes them together spares most of its time. A class with a `score` of its own goes back to the
        default, unless it brings this method too.

        Args:
            counts: Of each row or document, [N, K].
            times: How often each of them is taken, whole numbers [..., N].

        Returns:
            The scores, float64 [...].
        """
        lines = times.reshape(times.shape[:-1].numel(), len(counts))  # one corpus each
        if self.reduction == "cat":
            corpora = [counts.repeat_interleave(line.long(), dim=0) for line in lines]
        else:
            corpora = list((lines.double() @ counts.double()).to(counts.dtype))
        found = [self.score(corpus)[self.primary_metric] for corpus in corpora]
        return torch.tensor(found, dtype=torch.double).reshape(times.shape[:-1])

    @abstractmethod
    def report(self, counts: Tensor) -> ClassReport:
        """Scores class by class from the same counts."""

    @abstractmethod
    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """Trivial predictors by name, fitted on training rows."""

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def tuning_data(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Tensor | None:
        """What `tune` needs of this dev row, [n, K]; None where the head tunes nothing."""
        return None

    def tune(self, data: Tensor) -> None:
        """Fits decision parameters (thresholds) on the concatenated tuning data of dev."""


def projection(hidden_size: int, num_outputs: int, *, dropout: float, hidden_layer: int | None) -> nn.Sequential:
    """Dropout and a linear layer, with a GELU layer of `hidden_layer` units between where one is asked for.

    Weights start from N(0, 0.02) and biases from 0, as in BERT (Devlin et al. 2019) and MT-DNN.
    """
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden_layer is not None:
        if hidden_layer < 1:
            raise ValueError(f"hidden_layer must be at least 1; found {hidden_layer}")
        layers += [nn.Linear(hidden_size, hidden_layer), nn.GELU(), nn.Dropout(dropout)]
        hidden_size = hidden_layer
    layers.append(nn.Linear(hidden_size, num_outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def pad(sequences: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    """Integer sequences as one tensor [B, length], filled up with `value` on the right.

    >>> pad([[1, 2], [3]], 3, 0).tolist()
    [[1, 2, 0], [3, 0, 0]]
    """
    padded = [[*sequence, *[value] * (length - len(sequence))] for sequence in sequences]
    return torch.tensor(padded, dtype=torch.long).reshape(len(sequences), length)
