"""Any number of labels, possibly none, for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, C labels, N rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
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
from heads._softening import softened_labels
from heads._text import Long, Pair, Reading, TextHead, choice, class_names, describe, text_row, wrong_class
from heads._thresholds import Threshold, best_threshold, goal_of, reaching_threshold
from heads._weak_labels import (
    UNKNOWN,
    Distillation,
    annotated_problem,
    collated,
    is_known,
    soft_problem,
    target_of,
    weighed,
)

EXAMPLE_BASED = "example_based_f1"


class Multilabel(TextHead):
    """A sigmoid for each label, on one vector for each text.

    The label of a row is a tuple of names. The empty tuple means that no label applies; None means that the row was not
    annotated.

    Metrics:

    - `micro_f1`: F1 pooled over the labels
    - `macro_f1`: the mean F1 over the labels; as in scikit-learn, one that neither occurs nor is predicted counts as 0
    - `subset_accuracy`: the share of rows whose set of labels is exactly right
    - `example_f1`: the mean over rows of 2|Y ∩ P| / (|Y| + |P|) for gold set Y and predicted set P, 1 if both are
      empty (Tsoumakas, Katakis and Vlahavas 2010, "Mining Multi-label Data", section 34.7; scikit-learn's
      ``average="samples"`` with ``zero_division=1``).

    Metrics on request, with the option `metrics` or as `primary_metric`:

    - `example_based_f1`: the harmonic mean of the mean precision and the mean recall over rows (Zhang and Zhou 2014),
      without rows that have no gold label; a row without predicted labels has precision 0. BLUE scores the abstracts of
      HoC like this.

    Each of these is the mean over the labels:

    - `mcc`, `kappa`, `sensitivity`, `specificity`, `ppv`, `npv`: `sensitivity` and so on are shown by default if
      `threshold` is an operating point
    - `auroc`, `auprc`: without labels that no row or every row has

    The loss of a row is the mean binary cross-entropy over the labels, times the row's weight. Its count is the number
    of labelled rows, so a task with many labels has no larger loss than one with few.

    Labels that are not in `annotated` of a row are masked: they add nothing to its loss, which is still divided by the
    number of all labels, and they are not scored. A label with a probability in `probabilities` is learned from that
    (see `distillation`); the others keep their label, or are masked if the row has none.

    Args:
        labels: Names of the labels.
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
        threshold: Probability from which a label is predicted. "tuned" chooses for each label the threshold with the
            best F1 on dev, and ``{sensitivity: 0.95}`` the one with the best specificity among those with at least that
            sensitivity on dev; `specificity`, `ppv` and `npv` likewise. This makes dev scores optimistic. Thresholds
            from dev are saved in checkpoints. What is scored is what they are chosen on: rows, or documents with the
            highest probability of their rows.
        distillation: `temperature` (1) and `share` (1) of soft labels, see `heads._weak_labels.Distillation`; None
            takes the defaults.
        score_by: What is scored: each "row", or each "document", which has a label if one of its rows has it. BLURB
            scores HoC by document from predictions for sentences.
        metrics: Names of metrics to compute besides those shown by default.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There is no label or a label twice, the threshold is not between 0 and 1, or the metric is unknown.
    """

    weighs_rows = True
    soft_labels = True
    masks_labels = True
    changeable = ("dropout", "distillation")
    thresholds: Tensor

    metrics: tuple[str, ...] = ("micro_f1", "macro_f1", "example_f1", "subset_accuracy")
    other_names = ("multi_label", "multilabel_classification", "multi_label_classification", "tags")

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
        threshold: Threshold = 0.5,
        distillation: Mapping[str, float] | None = None,
        score_by: Literal["row", "document"] = "row",
        metrics: Sequence[str] = (),
        primary_metric: str = "micro_f1",
    ) -> None:
        reading = Reading(pooling, pair, long, window_pooling, stride)
        super().__init__(class_names(labels, 1), hidden_size, len(labels), dropout, hidden_layer, reading)
        self.score_by = choice("score_by", score_by, ("row", "document"))
        self._goal = goal_of(threshold)
        self._distillation = Distillation.of(distillation)
        has_operating_point = self._goal is not None and self._goal.metric != "f1"
        shown = [*self.metrics, *(PROPORTIONS if has_operating_point else [])]
        optional = [EXAMPLE_BASED, *RANKING, *AGREEMENT, *PROPORTIONS]
        self.metrics = selected_metrics(shown, optional, metrics, primary_metric)
        self.primary_metric = primary_metric
        self._num_sums = 6 if EXAMPLE_BASED in self.metrics else 3
        if not RANKING.keys().isdisjoint(self.metrics):
            self.reduction = "cat"
        start = threshold if isinstance(threshold, float) else 0.5
        # A fixed threshold is not saved: loading a checkpoint would silently override a changed option.
        self.register_buffer("thresholds", torch.full((len(labels),), start), persistent=self.is_tuned)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        problem = self.pair_problem(row)
        label = text_row(row).label
        problem = problem or soft_problem(text_row(row), self.labels, exclusive=False)
        problem = problem or annotated_problem(text_row(row), self.labels)
        if problem is not None or label is None:
            return problem
        if isinstance(label, str) and label in self.labels:
            return "the label must be a list of class names, got one name; use classification, or label_type: list"
        if not isinstance(label, tuple):
            return f"the label must be a (possibly empty) list of class names, got {describe(label, self.labels)}"
        if len(set(label)) < len(label):
            return f"the names in a label must be unique, got {len(label) - len(set(label))} repeated"
        return next((problem for problem in (wrong_class(name, self.labels) for name in label) if problem), None)

    def is_labelled(self, row: Row) -> bool:
        return super().is_labelled(row) and any(is_known(text_row(row), label) for label in self.labels)

    def label_counts(self, row: Row) -> dict[str, int]:
        row = text_row(row)
        return {name: 1 for name in row.label if is_known(row, name)} if isinstance(row.label, tuple) else {}

    def unknown_labels(self, row: Row) -> Sequence[str]:
        label = text_row(row).label
        names = label if isinstance(label, tuple) else ()
        return [describe(name, self.labels) for name in names if name not in self.labels]

    def gold(self, row: TextRow) -> dict[str, Any]:
        known = [isinstance(row.label, tuple) and is_known(row, label) for label in self.labels]
        given = row.label if isinstance(row.label, tuple) else ()
        labels = [value if is_in else IGNORE for value, is_in in zip(self._one_hot(given), known, strict=True)]
        soft = [
            value if is_known(row, label) else UNKNOWN
            for value, label in zip(target_of(row, self.labels), self.labels, strict=True)
        ]
        return {"labels": labels, "probabilities": soft}

    def collate_gold(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`labels`: 0 or 1, `IGNORE` if unknown, [B, C]; `probabilities`, [B, C], if there are soft labels."""
        labels = [example["labels"] for example in examples]
        hard = torch.tensor(labels, dtype=torch.long).reshape(len(labels), len(self.labels))
        return {"labels": hard, **collated(examples)}

    # --- states -> loss -------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        labels, logits = fields["labels"], logits.float()
        known = labels != IGNORE  # [B, C]
        losses = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none") * known
        if "probabilities" in fields:
            probabilities = fields["probabilities"]
            is_soft = probabilities >= 0
            soft = self._distillation.labels(logits, probabilities)
            losses, known = self._distillation.mixed(losses, soft, known, is_soft), known | is_soft
        return weighed(losses.mean(-1), fields).sum(), known.any(-1).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each example."""
        return list(logits.float().sigmoid())

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`labels`: the labels whose probability reaches the threshold; `scores`: the probability of each label."""
        return _prediction(self.labels, outputs[0].tolist(), self.thresholds.tolist())

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The cells of each label, the F1 of the row, whether it is exactly right, and 1 for the row: [4C + 3].

        The cells are true positives, false positives, false negatives and true negatives. If a metric needs them, they
        are followed by precision, recall and 1 for a row with a gold label, [4C + 6], and by the probabilities. Rows
        with probabilities are not summed: [1, 5C + 3].
        """
        label = text_row(row).label
        if not isinstance(label, tuple):
            none = torch.zeros(self._size, dtype=torch.double)
            return none if self.reduction == "sum" else none.new_zeros(0, self._size + len(self.labels))
        gold = torch.tensor(self._one_hot(label), dtype=torch.bool)
        predicted = torch.tensor(self._one_hot(prediction["labels"]), dtype=torch.bool)
        known = torch.tensor([is_known(text_row(row), name) for name in self.labels])
        counts = self._counts_of_sets(gold, predicted, known)
        if self.reduction == "sum":
            return counts
        probabilities = torch.tensor([prediction["scores"][name] for name in self.labels], dtype=torch.double)
        return torch.cat([counts, probabilities])[None]

    def document_counts(self, counts: Sequence[Tensor]) -> Tensor:
        """With `score_by` "document", those of the union of labels, and the highest probability of each label."""
        if self.score_by == "row":
            return super().document_counts(counts)
        rows = torch.stack(list(counts)) if self.reduction == "sum" else torch.cat(list(counts))
        rows = rows[self._sums(rows)[:, 2] > 0]  # those with a label
        if not len(rows):
            return super().document_counts(counts)
        _, predicted, gold = (items.sum(0) > 0 for items in self._items(self._of_sets(rows)))
        known = self._cells(self._of_sets(rows)).sum((0, 1)) > 0
        union = self._counts_of_sets(gold, predicted, known)
        return union if self.reduction == "sum" else torch.cat([union, rows[:, -len(self.labels) :].amax(0)])[None]

    def error(self, prediction: Prediction, row: Row) -> float:
        """The number of labels that are missing or wrongly predicted."""
        _, false_positive, false_negative, _ = self._cells(self._of_sets(self.counts(prediction, row))).unbind(-2)
        return float((false_positive + false_negative).sum())

    def score(self, counts: Tensor) -> dict[str, float]:
        rows = counts.reshape(-1, counts.shape[-1])
        found = self.many_scores(rows, torch.ones(len(rows)), self.metrics)
        return {name: float(value) for name, value in found.items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        totals = times.double() @ self._of_sets(counts).double()  # [..., size]
        return {name: self._metric(name, totals, counts, times) for name in metrics}

    def report(self, counts: Tensor) -> ClassReport:
        """Scores of each label, without a confusion matrix, since labels do not exclude each other."""
        true, predicted, gold = self._items(self._of_sets(counts.reshape(-1, counts.shape[-1])).sum(0))
        table = torch.stack([*scores.precision_recall_f1(true, predicted, gold), gold.double()], dim=1).tolist()
        per_class = {
            name: dict(zip(("precision", "recall", "f1", "support"), values, strict=True))
            for name, values in zip(self.labels, table, strict=True)
        }
        if self.is_tuned:
            for own, threshold in zip(per_class.values(), self.thresholds.tolist(), strict=True):
                own["threshold"] = threshold
        return ClassReport(per_class, self.labels, None)

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent set of labels. `tfidf`: logistic regressions on TF-IDF features.

        The threshold of both is 0.5. With thresholds from dev, `tuned_decision` gives them some of their own.
        """
        known = self._fully_labelled(rows)
        fitted = _baselines.label_sets(known, [self.gold(row)["labels"] for row in known])
        half = [0.5] * len(self.labels)
        return {
            name: _baselines.predictor(predictor, lambda probabilities: _prediction(self.labels, probabilities, half))
            for name, predictor in fitted.items()
        }

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """One logistic regression per label on the mean state of the text, or on those of both texts of a pair."""
        known = _frozen.sampled(self._fully_labelled(rows))
        if not known:
            return None
        gold = [self.gold(row)["labels"] for row in known]
        return _frozen.fit_labels(_frozen.text_features(known, encoder), gold, [row.document for row in known])

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        """The labels whose probability is at least 0.5, unless `tuned_decision` gives other thresholds."""
        features = _frozen.text_features([text_row(row) for row in rows], encoder, weights)
        half = [0.5] * len(self.labels)
        probabilities = _frozen.label_probabilities(features, weights)
        return [_prediction(self.labels, of_row, half) for of_row in probabilities.tolist()]

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        gold = torch.tensor([self.gold(text_row(row))["labels"]])
        chosen = torch.tensor([self._one_hot(self.decode(row, examples, outputs)["labels"])])
        return Decisions(outputs[0][None], gold, chosen)

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        probabilities = softened_labels(outputs[0], temperature).tolist()
        return {**self.decode(row, examples, outputs), "scores": dict(zip(self.labels, probabilities, strict=True))}

    def calibrated_thresholds(self, temperature: float) -> dict[str, float]:
        """The threshold of each label."""
        return dict(zip(self.labels, softened_labels(self.thresholds, temperature).tolist(), strict=True))

    @property
    def is_tuned(self) -> bool:
        return self._goal is not None

    def tuning_data(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Tensor | None:
        """Probabilities, gold and the number of the document of a row, [1, 2C + 1]; None with a fixed threshold.

        A row without labels gives [0, 2C + 1].
        """
        if not self.is_tuned:
            return None
        label = text_row(row).label
        if not isinstance(label, tuple):
            return torch.zeros(0, 2 * len(self.labels) + 1, dtype=torch.double)
        gold, document = self.gold(text_row(row))["labels"], _document_number(row)
        return torch.cat([outputs[0].cpu().double(), torch.tensor([*gold, document], dtype=torch.double)])[None]

    def tune(self, data: Tensor) -> None:
        """Sets the threshold of each label, from the `tuning_data` of dev, [N, 2C + 1]."""
        if not self.is_tuned:
            return
        probabilities, gold = data[:, :-1].float().chunk(2, dim=1)
        columns = self._scored_columns(probabilities, gold, data[:, -1])
        best = [best_threshold(p[g != IGNORE], g[g != IGNORE].bool(), self._goal) for p, g in columns]
        self.thresholds.copy_(torch.tensor(best))

    def tuned_decision(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> Callable[[Prediction], Prediction] | None:
        """With thresholds of its own; None if a label does not reach what is required."""
        if self._goal is None:
            return super().tuned_decision(rows, predictions)
        probabilities = torch.tensor([list(one["scores"].values()) for one in predictions], dtype=torch.double)
        gold = torch.tensor([self.gold(text_row(row))["labels"] for row in rows])
        documents = torch.tensor([_document_number(row) for row in rows], dtype=torch.double)
        shape = (-1, len(self.labels))
        columns = self._scored_columns(probabilities.reshape(shape), gold.reshape(shape), documents)
        found = [reaching_threshold(p[g != IGNORE], g[g != IGNORE].bool(), self._goal) for p, g in columns]
        thresholds = [threshold for threshold in found if threshold is not None]
        if len(thresholds) < len(found):
            return None
        return lambda prediction: _prediction(self.labels, list(prediction["scores"].values()), thresholds)

    # --- private --------------------------------------------------------------------------------------------------

    def _scored_columns(
        self, probabilities: Tensor, gold: Tensor, documents: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The probabilities and gold of each label in what is scored: rows, or documents.

        A document has a label if one of its rows has it, so its probability is the highest one. Cells of rows in which
        a label is not known do not count.

        Args:
            probabilities: By row, [N, C].
            gold: By row, [N, C].
            documents: Number of the document of each row, [N].
        """
        if self.score_by == "document":
            distinct, position = torch.unique(documents, return_inverse=True)
            size, position = (len(distinct), len(self.labels)), position[:, None].expand_as(gold)
            shown = torch.where(gold == IGNORE, 0.0, probabilities)
            probabilities = shown.new_zeros(size).scatter_reduce(0, position, shown, "amax")
            gold = gold.new_full(size, IGNORE).scatter_reduce(0, position, gold, "amax")
        return zip(probabilities.T, gold.T, strict=True)

    def _fully_labelled(self, rows: Iterable[Row]) -> list[TextRow]:
        """The rows in which every label is known."""
        return [
            row
            for row in map(text_row, rows)
            if row.label is not None and all(is_known(row, label) for label in self.labels)
        ]

    def _one_hot(self, names: Sequence[str]) -> list[int]:
        return [int(label in names) for label in self.labels]

    @property
    def _size(self) -> int:
        """The number of counts without the probabilities."""
        return 4 * len(self.labels) + self._num_sums

    def _counts_of_sets(self, gold: Tensor, predicted: Tensor, known: Tensor) -> Tensor:
        """The counts without probabilities of one gold and one predicted set of labels, all [C] (bool).

        Labels that are not known do not count.
        """
        gold, predicted = gold & known, predicted & known
        neither = known & ~gold & ~predicted
        cells = torch.stack([gold & predicted, ~gold & predicted, gold & ~predicted, neither])  # [4, C]
        true, num_gold, num_predicted = (int(labels.sum()) for labels in (gold & predicted, gold, predicted))
        size = num_gold + num_predicted
        sums = [2 * true / size if size else 1.0, float(gold.equal(predicted)), 1.0]
        sums += [true / max(num_predicted, 1), true / max(num_gold, 1), float(num_gold > 0)]
        return torch.cat([cells.flatten().double(), torch.tensor(sums[: self._num_sums], dtype=torch.double)])

    def _of_sets(self, counts: Tensor) -> Tensor:
        """The counts without the probabilities, [..., size]."""
        return counts[..., : self._size]

    def _sums(self, counts: Tensor) -> Tensor:
        """What is summed over rows besides the cells, [..., 3 or 6]."""
        return counts[..., 4 * len(self.labels) : self._size]

    def _cells(self, counts: Tensor) -> Tensor:
        """True positives, false positives, false negatives and true negatives of each label, [..., 4, C]."""
        return counts[..., : 4 * len(self.labels)].reshape(*counts.shape[:-1], 4, len(self.labels))

    def _items(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers of correct, predicted and gold items of each label, each [..., C]."""
        true, false_positive, false_negative, _ = self._cells(counts).unbind(-2)
        return true, true + false_positive, true + false_negative

    def _tables(self, counts: Tensor) -> Tensor:
        """The 2 x 2 table of each label, [..., C, 2, 2]."""
        return scores.two_by_two(*self._cells(counts).unbind(-2))

    def _metric(self, name: str, totals: Tensor, counts: Tensor, times: Tensor) -> Tensor:
        """One metric of many corpora, [...], from their summed counts, [..., size], and the rows they drew."""
        if name in RANKING:
            cells = self._cells(self._of_sets(counts))  # [N, 4, C]
            probabilities = counts[:, -len(self.labels) :]
            known = cells.sum(-2) > 0
            return mean_over_classes(RANKING[name], probabilities, cells[:, 0] + cells[:, 2] > 0, times, known)
        if name in AGREEMENT:
            return scores.mean(AGREEMENT[name](self._tables(totals)))
        if name in PROPORTIONS:
            return scores.mean(scores.ratio(*PROPORTIONS[name](self._tables(totals))))
        items = self._items(totals)
        if name == "micro_f1":
            return scores.precision_recall_f1(*(labels.sum(-1) for labels in items))[2]
        if name == "macro_f1":
            return scores.mean(scores.precision_recall_f1(*items)[2])
        example_f1, exact, rows, *of_examples = self._sums(totals).unbind(-1)
        if name == EXAMPLE_BASED:
            precision, recall = (scores.ratio(total, of_examples[2]) for total in of_examples[:2])
            return scores.ratio(2 * precision * recall, precision + recall)
        return scores.ratio(example_f1 if name == "example_f1" else exact, rows)


def _document_number(row: Row) -> int:
    """A number below 2**48, which float64 can hold, that stands for the document of a row."""
    return int.from_bytes(hashlib.blake2b(row.document.encode(), digest_size=6).digest(), "big")


def _prediction(labels: Sequence[str], probabilities: Sequence[float], thresholds: Sequence[float]) -> Prediction:
    chosen = [n for n, p, least in zip(labels, probabilities, thresholds, strict=True) if p >= least]
    return {"labels": chosen, "scores": dict(zip(labels, probabilities, strict=True))}
