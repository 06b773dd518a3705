"""Any number of labels, possibly none, for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, C labels, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from heads import IGNORE, ClassReport, Example, FrozenEncoder, Prediction, Row, TextRow, _baselines, _frozen, scores
from heads._text import TextHead, choice, class_names, describe, text_row, wrong_class


class Multilabel(TextHead):
    """A sigmoid for each label, on one vector for each text.

    The label of a row is a tuple of names. The empty tuple means that no label applies; None means that the row was not
    annotated.

    Metrics:

    - `micro_f1`: F1 pooled over the labels
    - `macro_f1`: the mean F1 over the labels
    - `subset_accuracy`: the share of rows whose set of labels is exactly right
    - `example_f1`: the mean over rows of 2|Y ∩ P| / (|Y| + |P|) for gold set Y and predicted set P, 1 if both are
      empty (Tsoumakas, Katakis and Vlahavas 2010, "Mining Multi-label Data", section 34.7; scikit-learn's
      ``average="samples"`` with ``zero_division=1``). It is not the harmonic mean of the mean precision and the mean
      recall over rows (Zhang and Zhou 2014), which BLUE reports for HoC.

    The loss of a row is the mean binary cross-entropy over the labels. Its count is the number of labelled rows, so a
    task with many labels has no larger loss than one with few.

    Args:
        labels: Names of the labels.
        hidden_size: H of the encoder.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        pooling: "cls" for the state of the first token, "mean" for the mean over the states of all tokens.
        threshold: Probability from which a label is predicted. "tuned" chooses for each label the threshold with the
            best F1 on dev, which makes dev scores optimistic; tuned thresholds are saved in checkpoints.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There is no label or a label twice, the threshold is not between 0 and 1, or the metric is unknown.
    """

    thresholds: Tensor

    metrics = ("micro_f1", "macro_f1", "example_f1", "subset_accuracy")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        threshold: float | Literal["tuned"] = 0.5,
        primary_metric: str = "micro_f1",
    ) -> None:
        super().__init__(class_names(labels, 1), hidden_size, len(labels), dropout, hidden_layer, pooling)
        self.primary_metric = choice("primary_metric", primary_metric, self.metrics)
        self._is_tuned = threshold == "tuned"
        start = 0.5 if threshold == "tuned" else _between_0_and_1(threshold)
        # A fixed threshold is not saved: loading a checkpoint would silently override a changed option.
        self.register_buffer("thresholds", torch.full((len(labels),), start), persistent=self._is_tuned)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        label = text_row(row).label
        if label is None:
            return None
        if not isinstance(label, tuple):
            return f"the label must be a (possibly empty) list of class names, got {describe(label, self.labels)}"
        if len(set(label)) < len(label):
            return f"the names in a label must be unique, got {len(label) - len(set(label))} repeated"
        return next((problem for problem in (wrong_class(name, self.labels) for name in label) if problem), None)

    def label_counts(self, row: Row) -> dict[str, int]:
        label = text_row(row).label
        return dict.fromkeys(label, 1) if isinstance(label, tuple) else {}

    def unknown_labels(self, row: Row) -> Sequence[str]:
        label = text_row(row).label
        names = label if isinstance(label, tuple) else ()
        return [describe(name, self.labels) for name in names if name not in self.labels]

    def gold(self, row: TextRow) -> dict[str, Any]:
        return {"labels": self._one_hot(row.label) if isinstance(row.label, tuple) else [IGNORE] * len(self.labels)}

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`labels`: 0 or 1 for each label, `IGNORE` for all labels of an unlabelled row, [B, C]."""
        labels = [example["labels"] for example in examples]
        return {"labels": torch.tensor(labels, dtype=torch.long).reshape(len(labels), len(self.labels))}

    # --- states -> loss -------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        labels = fields["labels"]
        labelled = labels[:, 0] != IGNORE  # [B]
        losses = F.binary_cross_entropy_with_logits(logits.float(), labels.clamp(min=0).float(), reduction="none")
        return (losses.mean(-1) * labelled).sum(), labelled.sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each example."""
        return list(logits.float().sigmoid())

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`labels`: the labels whose probability reaches the threshold; `scores`: the probability of each label."""
        return _prediction(self.labels, outputs[0].tolist(), self.thresholds.tolist())

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The cells of each label, the F1 of the row, whether it is exactly right, and 1 for the row: [4C + 3].

        The cells are true positives, false positives, false negatives and true negatives.
        """
        label = text_row(row).label
        if not isinstance(label, tuple):
            return torch.zeros(4 * len(self.labels) + 3, dtype=torch.double)
        gold = torch.tensor(self._one_hot(label), dtype=torch.bool)
        predicted = torch.tensor(self._one_hot(prediction["labels"]), dtype=torch.bool)
        cells = torch.stack([gold & predicted, ~gold & predicted, gold & ~predicted, ~gold & ~predicted])  # [4, C]
        true, size = int((gold & predicted).sum()), int(gold.sum() + predicted.sum())
        per_row = [2 * true / size if size else 1.0, float(gold.equal(predicted)), 1.0]
        return torch.cat([cells.flatten().double(), torch.tensor(per_row, dtype=torch.double)])

    def error(self, prediction: Prediction, row: Row) -> float:
        """The number of labels that are missing or wrongly predicted."""
        _, false_positive, false_negative, _ = self._cells(self.counts(prediction, row))
        return float((false_positive + false_negative).sum())

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts).items()}

    def primary_scores(self, counts: Tensor, times: Tensor) -> Tensor:
        return self._scores(times.double() @ counts.double())[self.primary_metric]

    def report(self, counts: Tensor) -> ClassReport:
        """Scores of each label, without a confusion matrix, since labels do not exclude each other."""
        true, predicted, gold = self._items(counts)
        table = torch.stack([*scores.precision_recall_f1(true, predicted, gold), gold.double()], dim=1).tolist()
        per_class = {
            name: dict(zip(("precision", "recall", "f1", "support"), values, strict=True))
            for name, values in zip(self.labels, table, strict=True)
        }
        return ClassReport(per_class, self.labels, None)

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent set of labels. `tfidf`: logistic regressions on TF-IDF features.

        The threshold of both is 0.5.
        """
        known = [row for row in map(text_row, rows) if row.label is not None]
        fitted = _baselines.label_sets(known, [self.gold(row)["labels"] for row in known])
        half = [0.5] * len(self.labels)
        return {
            name: _baselines.predictor(predictor, lambda probabilities: _prediction(self.labels, probabilities, half))
            for name, predictor in fitted.items()
        }

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """One logistic regression per label on the mean state of the text, or on those of both texts of a pair."""
        known = _frozen.sampled([row for row in map(text_row, rows) if row.label is not None])
        if not known:
            return None
        gold = [self.gold(row)["labels"] for row in known]
        return _frozen.fit_labels(_frozen.text_features(known, encoder), gold, [row.document for row in known])

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        """The labels whose probability is at least 0.5."""
        features = _frozen.text_features([text_row(row) for row in rows], encoder, weights)
        half = [0.5] * len(self.labels)
        probabilities = _frozen.label_probabilities(features, weights)
        return [_prediction(self.labels, of_row, half) for of_row in probabilities.tolist()]

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def tuning_data(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Tensor | None:
        """Probabilities and gold of a row, [1, 2C], or [0, 2C] if it is not labelled; None with a fixed threshold."""
        if not self._is_tuned:
            return None
        label = text_row(row).label
        if not isinstance(label, tuple):
            return torch.zeros(0, 2 * len(self.labels))
        return torch.cat([outputs[0].cpu(), torch.tensor(self._one_hot(label)).float()])[None]

    def tune(self, data: Tensor) -> None:
        """Sets the threshold of each label, from the probabilities and gold of dev, [N, 2C]."""
        if not self._is_tuned:
            return
        probabilities, gold = data.float().chunk(2, dim=1)
        best = [best_threshold(p, g.bool()) for p, g in zip(probabilities.T, gold.T, strict=True)]
        self.thresholds.copy_(torch.tensor(best))

    # --- private --------------------------------------------------------------------------------------------------

    def _one_hot(self, names: Sequence[str]) -> list[int]:
        return [int(label in names) for label in self.labels]

    def _cells(self, counts: Tensor) -> Tensor:
        """True positives, false positives, false negatives and true negatives of each label, [..., 4, C]."""
        return counts[..., :-3].reshape(*counts.shape[:-1], 4, len(self.labels))

    def _items(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers of correct, predicted and gold items of each label, each [..., C]."""
        true, false_positive, false_negative, _ = self._cells(counts).unbind(-2)
        return true, true + false_positive, true + false_negative

    def _scores(self, counts: Tensor) -> dict[str, Tensor]:
        """All metrics of one or many corpora, [..., 4C + 3] -> [...]."""
        items = self._items(counts)
        example_f1, exact, rows = counts[..., -3:].unbind(-1)
        return {
            "micro_f1": scores.precision_recall_f1(*(labels.sum(-1) for labels in items))[2],
            "macro_f1": scores.mean(scores.precision_recall_f1(*items)[2]),
            "example_f1": scores.ratio(example_f1, rows),
            "subset_accuracy": scores.ratio(exact, rows),
        }


def best_threshold(probabilities: Tensor, gold: Tensor) -> float:
    """The threshold t for which ``probability >= t`` has the best F1; of equally good ones the nearest to 0.5.

    F1 changes only at the probabilities themselves, so one candidate in each gap between neighbouring probabilities is
    enough: 0.5 if it lies in the gap, otherwise the midpoint, which leaves a margin on both sides.

    Args:
        probabilities: Predicted probabilities of one label, [N].
        gold: Whether the label applies, [N] (bool).

    >>> best_threshold(torch.tensor([0.125, 0.25, 0.375]), torch.tensor([False, True, True]))
    0.1875
    >>> best_threshold(torch.tensor([0.125, 0.625]), torch.tensor([False, True]))
    0.5
    """
    edges = torch.cat([torch.zeros(1), torch.unique(probabilities), torch.ones(1)])
    low, high = edges[:-1], edges[1:]  # no probability lies strictly between the two
    middle = (low + high) / 2
    middle = torch.where(middle > low, middle, high)  # there is no float between two adjacent floats
    candidates = torch.where((low < 0.5) & (high >= 0.5), torch.tensor(0.5), middle)
    # The number of probabilities at or above a candidate is N minus its insertion point among the sorted ones.
    descending = probabilities.argsort(descending=True)
    true_positives = torch.cat([torch.zeros(1, dtype=torch.long), gold[descending].long().cumsum(0)])
    predicted = len(probabilities) - torch.searchsorted(probabilities.sort().values, candidates)
    f1 = 2 * true_positives[predicted] / (predicted + gold.sum()).clamp(min=1)
    nearest = torch.where(f1 == f1.max(), (candidates - 0.5).abs(), torch.inf)
    return float(candidates[nearest.argmin()])


def _prediction(labels: Sequence[str], probabilities: Sequence[float], thresholds: Sequence[float]) -> Prediction:
    chosen = [n for n, p, least in zip(labels, probabilities, thresholds, strict=True) if p >= least]
    return {"labels": chosen, "scores": dict(zip(labels, probabilities, strict=True))}


def _between_0_and_1(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be 'tuned' or between 0 and 1, got {threshold}")
    return threshold
