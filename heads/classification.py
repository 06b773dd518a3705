"""One class for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from heads import (
    IGNORE,
    ClassReport,
    Decisions,
    Example,
    FrozenEncoder,
    Prediction,
    Row,
    TextRow,
    _baselines,
    _frozen,
    scores,
)
from heads._metrics import AGREEMENT, PROPORTIONS, RANKING, mean_over_classes, selected_metrics
from heads._pooling import Pooling, WindowPooling
from heads._softening import class_decisions, softened, softened_labels
from heads._text import Long, Pair, Reading, TextHead, choice, class_names, describe, text_row, weights_of, wrong_class
from heads._thresholds import Threshold, best_threshold, goal_of, reaching_threshold
from heads._weak_labels import Distillation, collated, distilled_cross_entropy, soft_problem, target_of


class Classification(TextHead):
    """A softmax over the classes, on one vector for each text.

    Metrics:

    - `accuracy`
    - `macro_f1`: the mean F1 over the classes that occur or are predicted, as in scikit-learn by default
    - `micro_f1`: F1 pooled over the classes that are not `excluded`; equal to the accuracy if none is
    - `f1`: F1 of the class `positive`, if one is given

    Metrics on request, with the option `metrics` or as `primary_metric`:

    - `mcc`, `kappa`: Matthews' correlation coefficient and Cohen's kappa over all classes
    - `auroc`, `auprc`: area under the ROC curve and average precision of the class `positive`; without one, their mean
      over the classes, each against the others, without classes that no row or every row has
    - `sensitivity`, `specificity`, `ppv`, `npv`: of the class `positive`; shown by default if a `threshold` is given

    The loss is the sum of weight(gold) * cross-entropy. Its count is the number of labelled rows, whatever their
    weights, so that the losses of split, accumulated and mixed batches add up to that of one large batch. PyTorch's
    weighted mean divides by the sum of the weights instead. Weights whose mean over the training rows is 1 keep the
    scale of the loss. The weight of a row is a factor on its loss in the same way.

    A row with `probabilities` is learned from these: the soft cross-entropy takes the place of that of the label (see
    `distillation`). Class weights then weigh the terms of the classes.

    Args:
        labels: Names of the classes.
        hidden_size: H of the encoder.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        pooling: "cls" for the state of the first token, "mean" for the mean over the states of all tokens, "pooler" for
            the pooling of transformers' class for sequence classification, "last" for the state of the last token
            (see `heads._pooling`). None takes "last" for a causal encoder and "cls" for any other.
        pair: Whether the texts of a pair are read "together", as one sequence, or "apart", each alone.
        long: Whether texts above the maximum length are "cut" or split into overlapping "windows".
        window_pooling: "max", "mean" or "attention": how the vectors of a text's windows become one.
        stride: Number of tokens by which windows overlap, at most half a window.
        class_weights: Weight of each class in the loss, above 0; 1 for classes that are not named.
        excluded: Classes that `micro_f1` leaves out, such as the negative class of a relation task.
        positive: The class whose F1 is the metric `f1`; None for no such metric.
        threshold: Probability from which the class `positive` is predicted; below it, the most probable other class is.
            None predicts the most probable class. "tuned" chooses the threshold with the best F1 of the class on dev,
            and ``{sensitivity: 0.95}`` the one with the best specificity among those with at least that sensitivity on
            dev; `specificity`, `ppv` and `npv` likewise. A threshold from dev makes dev scores optimistic; it is saved
            in checkpoints.
        distillation: `temperature` (1) and `share` (1) of soft labels, see `heads._weak_labels.Distillation`; None
            takes the defaults.
        metrics: Names of metrics to compute besides those shown by default.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There are fewer than two labels or a label twice, an option names an unknown class or metric, all
            classes are excluded, a weight is not above 0, or a threshold has no `positive`.

    >>> head = Classification(["yes", "no"], 8, positive="yes")
    >>> head.score(torch.tensor([3, 1, 0, 4]))["accuracy"]
    0.875
    """

    other_names = ("text_classification", "sequence_classification", "nli", "single_label", "multiclass")
    weighs_rows = True
    soft_labels = True
    changeable = ("dropout", "class_weights", "distillation")
    threshold: Tensor

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        pooling: Pooling | None = None,
        pair: Pair = "together",
        long: Long = "cut",
        window_pooling: WindowPooling = "max",
        stride: int = 32,
        class_weights: Mapping[str, float] | None = None,
        excluded: Sequence[str] = (),
        positive: str | None = None,
        threshold: Threshold | None = None,
        distillation: Mapping[str, float] | None = None,
        metrics: Sequence[str] = (),
        primary_metric: str = "accuracy",
    ) -> None:
        reading = Reading(pooling, pair, long, window_pooling, stride)
        super().__init__(class_names(labels, 2), hidden_size, len(labels), dropout, hidden_layer, reading)
        self._set_metrics(
            metrics, primary_metric, has_positive=positive is not None, has_threshold=threshold is not None
        )
        self._excluded = {choice("excluded", name, self.labels) for name in excluded}
        if len(self._excluded) == len(self.labels):
            raise ValueError("excluded must leave at least one class, got all of them")
        self._positive = positive if positive is None else choice("positive", positive, self.labels)
        if threshold is not None and positive is None:
            raise ValueError("threshold needs the class that it decides; set positive")
        self._has_threshold = threshold is not None
        self._goal = None if threshold is None else goal_of(threshold)
        fixed = threshold if isinstance(threshold, float) else 0.5
        # A fixed threshold is not saved: loading a checkpoint would silently override a changed option.
        self.register_buffer("threshold", torch.tensor(fixed), persistent=self.is_tuned)
        self._distillation = Distillation.of(distillation)
        self._class_weights: Tensor | None
        weights = None if class_weights is None else weights_of(class_weights, self.labels)
        self.register_buffer("_class_weights", weights, persistent=False)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        label = text_row(row).label
        problem = self.pair_problem(row) or (None if label is None else wrong_class(label, self.labels))
        return problem or soft_problem(text_row(row), self.labels, exclusive=True)

    def label_counts(self, row: Row) -> dict[str, int]:
        label = text_row(row).label
        return {label: 1} if isinstance(label, str) else {}

    def unknown_labels(self, row: Row) -> Sequence[str]:
        label = text_row(row).label
        return [describe(label, self.labels)] if isinstance(label, str) and label not in self.labels else []

    def gold(self, row: TextRow) -> dict[str, Any]:
        label = self.labels.index(row.label) if isinstance(row.label, str) else IGNORE
        return {"label": label, "probabilities": target_of(row, self.labels)}

    def collate_gold(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`label`: index of the gold class, or `IGNORE`, [B]; `probabilities`, [B, C], if there are soft labels."""
        label = torch.tensor([example["label"] for example in examples], dtype=torch.long)
        return {"label": label, **collated(examples)}

    # --- states -> loss -------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return distilled_cross_entropy(logits.float(), fields["label"], fields, self._distillation, self._class_weights)

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each example."""
        return list(logits.float().softmax(-1))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`label`: the most probable class, or the one that `threshold` decides; `scores`: their probabilities."""
        prediction = _prediction(self.labels, outputs[0].tolist())
        return self._decided(prediction, float(self.threshold)) if self._has_threshold else prediction

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The flattened confusion matrix of the row, [C * C].

        If a metric needs them, it is followed by the probabilities, and rows are not summed: [1, C * C + C].
        """
        label = text_row(row).label
        confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
        if isinstance(label, str):
            confusion[self.labels.index(label), self.labels.index(prediction["label"])] = 1
        if self.reduction == "sum":
            return confusion.flatten()
        probabilities = torch.tensor([prediction["scores"][name] for name in self.labels], dtype=torch.double)
        line = torch.cat([confusion.flatten().double(), probabilities])[None]
        return line if isinstance(label, str) else line[:0]

    def score(self, counts: Tensor) -> dict[str, float]:
        rows = counts.reshape(-1, counts.shape[-1])
        found = self.many_scores(rows, torch.ones(len(rows)), self.metrics)
        return {name: float(value) for name, value in found.items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        confusion = self._confusion(times.double() @ self._of_confusion(counts).double())  # [..., C, C]
        return {name: self._metric(name, confusion, counts, times) for name in metrics}

    def proportions(self, counts: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        confusion = self._confusion(self._of_confusion(counts))  # [N, C, C]
        found = {"accuracy": (confusion.diagonal(dim1=-2, dim2=-1).sum(-1), confusion.sum((-2, -1)))}
        if self._positive is not None:
            table = scores.against_others(confusion, self.labels.index(self._positive))
            found |= {name: proportion(table) for name, proportion in PROPORTIONS.items()}
        return {name: found[name] for name in self.metrics if name in found}

    def report(self, counts: Tensor) -> ClassReport:
        """Scores of each class, and the threshold of the class `positive` if it has one."""
        total = self._of_confusion(counts.reshape(-1, counts.shape[-1])).sum(0).long()
        report = scores.report(self._confusion(total), self.labels, range(len(self.labels)))
        if self._has_threshold and self._positive is not None:
            report.per_class[self._positive]["threshold"] = float(self.threshold)
        return report

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent class. `tfidf`: logistic regression on TF-IDF features.

        Both predict the most probable class. With a threshold from dev, `tuned_decision` gives them one of their own.
        """
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

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        gold = self.gold(text_row(row))["label"]
        found = class_decisions(outputs, [[gold]], len(self.labels))
        return found._replace(chosen=torch.tensor([self.labels.index(self.decode(row, examples, outputs)["label"])]))

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        probabilities = softened(outputs[0], temperature).tolist()
        return {**self.decode(row, examples, outputs), "scores": dict(zip(self.labels, probabilities, strict=True))}

    def calibrated_thresholds(self, temperature: float) -> dict[str, float]:
        """The threshold of the class `positive`; empty with more than two classes, where none gives its decisions."""
        if self._positive is None or not self._has_threshold or len(self.labels) > 2:
            return {}
        return {self._positive: float(softened_labels(self.threshold, temperature))}

    @property
    def is_tuned(self) -> bool:
        return self._goal is not None

    def tuning_data(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Tensor | None:
        """Probability and gold of the class `positive`, [1, 2], or [0, 2] without gold; None with a fixed threshold."""
        if self._positive is None or not self.is_tuned:
            return None
        label = text_row(row).label
        if not isinstance(label, str):
            return torch.zeros(0, 2)
        probability = float(outputs[0][self.labels.index(self._positive)])
        return torch.tensor([[probability, float(label == self._positive)]])

    def tune(self, data: Tensor) -> None:
        """Sets the threshold, from the probabilities and gold of dev, [N, 2]."""
        if self.is_tuned:
            probabilities, gold = data.float().T
            self.threshold.fill_(best_threshold(probabilities, gold.bool(), self._goal))

    def tuned_decision(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> Callable[[Prediction], Prediction] | None:
        """With a threshold of its own for the class `positive`."""
        if self._positive is None or self._goal is None:
            return super().tuned_decision(rows, predictions)
        labels = [text_row(row).label for row in rows]
        known = [(p["scores"][self._positive], x) for p, x in zip(predictions, labels, strict=True) if x is not None]
        probabilities = torch.tensor([probability for probability, _ in known], dtype=torch.double)
        gold = torch.tensor([label == self._positive for _, label in known], dtype=torch.bool)
        threshold = reaching_threshold(probabilities, gold, self._goal)
        return None if threshold is None else lambda prediction: self._decided(prediction, threshold)

    # --- private --------------------------------------------------------------------------------------------------

    def _decided(self, prediction: Prediction, threshold: float) -> Prediction:
        """The prediction with the label that a threshold of the class `positive` decides."""
        others = {name: value for name, value in prediction["scores"].items() if name != self._positive}
        is_positive = prediction["scores"][self._positive] >= threshold
        return {**prediction, "label": self._positive if is_positive else max(others, key=lambda name: others[name])}

    def _set_metrics(self, requested: Sequence[str], primary: str, *, has_positive: bool, has_threshold: bool) -> None:
        if not has_positive:
            for option, names in (("metrics", requested), ("primary_metric", (primary,))):
                if not PROPORTIONS.keys().isdisjoint(names):
                    raise ValueError(f"{option} names a metric of one class ({', '.join(names)}); set positive")
        shown = ["accuracy", "macro_f1", "micro_f1", *(["f1"] if has_positive else [])]
        shown += PROPORTIONS if has_threshold else []
        optional = [*RANKING, *AGREEMENT, *(PROPORTIONS if has_positive else [])]
        self.metrics = selected_metrics(shown, optional, requested, primary)
        self.primary_metric = primary
        if not RANKING.keys().isdisjoint(self.metrics):
            self.reduction = "cat"

    def _metric(self, name: str, confusion: Tensor, counts: Tensor, times: Tensor) -> Tensor:
        """One metric of many corpora, [...], from their confusion matrices, [..., C, C], and the rows they drew."""
        if name in RANKING:
            return self._ranking(name, counts, times)
        if name in AGREEMENT:
            value: Tensor = AGREEMENT[name](confusion)
            return value
        positive = -1 if self._positive is None else self.labels.index(self._positive)
        if name in PROPORTIONS:
            return scores.ratio(*PROPORTIONS[name](scores.against_others(confusion, positive)))
        if name == "accuracy":
            return scores.accuracy(confusion)
        classes = range(len(self.labels))
        if name == "macro_f1":
            return scores.macro_f1(confusion, classes)
        included = [c for c in classes if self.labels[c] not in self._excluded]
        return scores.micro(confusion, [positive] if name == "f1" else included)[2]

    def _ranking(self, name: str, counts: Tensor, times: Tensor) -> Tensor:
        """A metric of the ranking by probability, of the class `positive` or as the mean over classes."""
        gold = self._confusion(self._of_confusion(counts)).sum(-1) > 0  # [N, C]
        probabilities = counts[:, -len(self.labels) :]  # [N, C]
        classes = range(len(self.labels)) if self._positive is None else [self.labels.index(self._positive)]
        return mean_over_classes(RANKING[name], probabilities[:, classes], gold[:, classes], times)

    def _of_confusion(self, counts: Tensor) -> Tensor:
        """The part of the counts that is the confusion matrix, [..., C * C]."""
        return counts[..., : len(self.labels) ** 2]

    def _confusion(self, counts: Tensor) -> Tensor:
        return counts.reshape(*counts.shape[:-1], len(self.labels), len(self.labels))


def _prediction(labels: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    """The most probable class, the first of equals, and all probabilities."""
    best = max(range(len(labels)), key=lambda c: probabilities[c])
    return {"label": labels[best], "scores": dict(zip(labels, probabilities, strict=True))}
