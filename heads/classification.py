"""One class for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from heads import IGNORE, ClassReport, Example, Prediction, Row, TextRow, _baselines, scores
from heads._text import TextHead, choice, class_names, describe, text_row, weights_of, wrong_class


class Classification(TextHead):
    """A softmax over the classes, read off [CLS].

    Metrics: `accuracy`; `macro_f1`, the mean F1 of all classes; `micro_f1`, pooled over the classes that are not
    `excluded` (without any it equals the accuracy); and `f1` of the class `positive`, where one is named.

    The loss is the sum of weight(gold) * cross-entropy, and its count is the number of labelled rows whatever the
    weights, so that split, accumulated and mixed batches add up to one large one. PyTorch's own weighted mean
    divides by the sum of the weights instead: weights with a mean of 1 over the training rows keep the scale.

    Args:
        labels: The class names.
        hidden_size: H of the encoder.
        dropout: Before every linear layer.
        hidden_layer: Units of a GELU layer before the last; None has none.
        pooling: What is read of a text: "cls", the state of the first token, or "mean", the mean over all tokens.
        class_weights: Weight of a class in the loss, above 0; classes that are not named weigh 1.
        excluded: Classes that `micro_f1` leaves out, such as the negative one of a relation task.
        positive: The class whose F1 is the metric `f1`; None has no such metric.
        primary_metric: The metric that selects.

    Raises:
        ValueError: An option names a class or metric that isn't there, or a weight is not above 0.

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
            raise ValueError("excluded must leave at least one class; found all of them")
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
        """`label`: the gold class [B], `IGNORE` where there is none."""
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
        """`label`, and `scores`: the probability of every class."""
        return _prediction(self.labels, outputs[0].tolist())

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The row's confusion matrix, flattened: [C * C]."""
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
        """`majority`: the most frequent class. `tfidf`: a logistic regression on TF-IDF features."""
        known = [row for row in map(text_row, rows) if row.label is not None]
        fitted = _baselines.classes(known, [self.labels.index(str(row.label)) for row in known], len(self.labels))
        return {
            name: _baselines.predictor(probabilities, lambda line: _prediction(self.labels, line))
            for name, probabilities in fitted.items()
        }

    def _scores(self, counts: Tensor) -> dict[str, Tensor]:
        """All metrics of one corpus or many, [..., C * C] -> [...]."""
        confusion = self._confusion(counts)
        classes = range(len(self.labels))
        found = {
            "accuracy": scores.accuracy(confusion),
            "macro_f1": scores.macro_f1(confusion, classes),
            "micro_f1": scores.micro(confusion, [c for c in classes if self.labels[c] not in self._excluded])[2],
        }
        if self._positive is not None:
            found["f1"] = scores.micro(confusion, [self.labels.index(self._positive)])[2]
        return found

    def _confusion(self, counts: Tensor) -> Tensor:
        return counts.reshape(*counts.shape[:-1], len(self.labels), len(self.labels))


def _prediction(labels: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    """The likeliest class (the first of equals) and all probabilities."""
    best = max(range(len(labels)), key=lambda c: probabilities[c])
    return {"label": labels[best], "scores": dict(zip(labels, probabilities, strict=True))}
