"""One class for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from heads import IGNORE, ClassReport, Example, FrozenEncoder, Prediction, Row, TextRow, _baselines, _frozen, scores
from heads._text import TextHead, choice, class_names, describe, text_row, weights_of, wrong_class


class Classification(TextHead):
    """A softmax over the classes, on one vector for each text.

    Metrics:

    - `accuracy`
    - `macro_f1`: the mean F1 over all classes; a class that neither occurs nor is predicted counts as 0
    - `micro_f1`: F1 pooled over the classes that are not `excluded`; equal to the accuracy if none is
    - `f1`: F1 of the class `positive`, if one is given

    The loss is the sum of weight(gold) * cross-entropy. Its count is the number of labelled rows, whatever their
    weights, so that the losses of split, accumulated and mixed batches add up to that of one large batch. PyTorch's
    weighted mean divides by the sum of the weights instead. Weights whose mean over the training rows is 1 keep the
    scale of the loss.

    Args:
        labels: Names of the classes.
        hidden_size: H of the encoder.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        pooling: "cls" for the state of the first token, "mean" for the mean over the states of all tokens.
        class_weights: Weight of each class in the loss, above 0; 1 for classes that are not named.
        excluded: Classes that `micro_f1` leaves out, such as the negative class of a relation task.
        positive: The class whose F1 is the metric `f1`; None for no such metric.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There are fewer than two labels or a label twice, an option names an unknown class or metric, all
            classes are excluded, or a weight is not above 0.

    >>> head = Classification(["yes", "no"], 8, positive="yes")
    >>> head.score(torch.tensor([3, 1, 0, 4]))["accuracy"]
    0.875
    """

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        class_weights: Mapping[str, float] | None = None,
        excluded: Sequence[str] = (),
        positive: str | None = None,
        primary_metric: str = "accuracy",
    ) -> None:
        super().__init__(class_names(labels, 2), hidden_size, len(labels), dropout, hidden_layer, pooling)
        self.metrics = ("accuracy", "macro_f1", "micro_f1") + (("f1",) if positive is not None else ())
        self.primary_metric = choice("primary_metric", primary_metric, self.metrics)
        self._excluded = {choice("excluded", name, self.labels) for name in excluded}
        if len(self._excluded) == len(self.labels):
            raise ValueError("excluded must leave at least one class, got all of them")
        self._positive = positive if positive is None else choice("positive", positive, self.labels)
        self._class_weights: Tensor | None
        weights = None if class_weights is None else weights_of(class_weights, self.labels)
        self.register_buffer("_class_weights", weights, persistent=False)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        label = text_row(row).label
        return None if label is None else wrong_class(label, self.labels)

    def label_counts(self, row: Row) -> dict[str, int]:
        label = text_row(row).label
        return {label: 1} if isinstance(label, str) else {}

    def unknown_labels(self, row: Row) -> Sequence[str]:
        label = text_row(row).label
        return [describe(label, self.labels)] if isinstance(label, str) and label not in self.labels else []

    def gold(self, row: TextRow) -> dict[str, Any]:
        return {"label": self.labels.index(row.label) if isinstance(row.label, str) else IGNORE}

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`label`: index of the gold class, or `IGNORE`, [B]."""
        return {"label": torch.tensor([example["label"] for example in examples], dtype=torch.long)}

    # --- states -> loss -------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = fields["label"]
        total = F.cross_entropy(logits.float(), label, weight=self._class_weights, ignore_index=IGNORE, reduction="sum")
        return total, (label != IGNORE).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each example."""
        return list(logits.float().softmax(-1))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`label`: the most probable class; `scores`: the probability of each class."""
        return _prediction(self.labels, outputs[0].tolist())

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The flattened confusion matrix of the row, [C * C]."""
        label = text_row(row).label
        confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
        if isinstance(label, str):
            confusion[self.labels.index(label), self.labels.index(prediction["label"])] = 1
        return confusion.flatten()

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts).items()}

    def primary_scores(self, counts: Tensor, times: Tensor) -> Tensor:
        return self._scores(times.double() @ counts.double())[self.primary_metric]

    def report(self, counts: Tensor) -> ClassReport:
        return scores.report(self._confusion(counts), self.labels, range(len(self.labels)))

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent class. `tfidf`: logistic regression on TF-IDF features."""
        known = [row for row in map(text_row, rows) if row.label is not None]
        fitted = _baselines.classes(known, [self.labels.index(str(row.label)) for row in known], len(self.labels))
        return {
            name: _baselines.predictor(predictor, lambda probabilities: _prediction(self.labels, probabilities))
            for name, predictor in fitted.items()
        }

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """A logistic regression on the mean state of the text, or on those of both texts of a pair."""
        known = _frozen.sampled([row for row in map(text_row, rows) if row.label is not None])
        if not known:
            return None
        gold = [self.labels.index(str(row.label)) for row in known]
        features = _frozen.text_features(known, encoder)
        return _frozen.fit_classes(features, gold, [row.document for row in known], len(self.labels))

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        features = _frozen.text_features([text_row(row) for row in rows], encoder, weights)
        probabilities = _frozen.class_probabilities(features, weights)
        return [_prediction(self.labels, of_row) for of_row in probabilities.tolist()]

    def _scores(self, counts: Tensor) -> dict[str, Tensor]:
        """All metrics of one or many corpora, [..., C * C] -> [...]."""
        confusion = self._confusion(counts)
        classes = range(len(self.labels))
        metrics = {
            "accuracy": scores.accuracy(confusion),
            "macro_f1": scores.macro_f1(confusion, classes),
            "micro_f1": scores.micro(confusion, [c for c in classes if self.labels[c] not in self._excluded])[2],
        }
        if self._positive is not None:
            metrics["f1"] = scores.micro(confusion, [self.labels.index(self._positive)])[2]
        return metrics

    def _confusion(self, counts: Tensor) -> Tensor:
        return counts.reshape(*counts.shape[:-1], len(self.labels), len(self.labels))


def _prediction(labels: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    """The most probable class, the first of equals, and all probabilities."""
    best = max(range(len(labels)), key=lambda c: probabilities[c])
    return {"label": labels[best], "scores": dict(zip(labels, probabilities, strict=True))}
