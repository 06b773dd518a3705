"""A number for a text or a pair of texts.

The scores of one corpus come from torchmetrics and SciPy, which are imported when needed because that takes seconds.
The scores of many resampled corpora are vectorised here.

Shapes: B examples, T tokens, H hidden size, N rows, D distinct values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from heads import ClassReport, Example, FrozenEncoder, Prediction, Row, TextRow, _baselines, _frozen, scores
from heads._pooling import Pooling, WindowPooling
from heads._text import Long, Pair, Reading, TextHead, choice, describe, text_row
from heads._weak_labels import weighed

FEW_PAIRS = 1000
"""Number of training pairs below which `mtl check` recommends to read them apart: an order of magnitude."""

TOLERANCE = 0.1
"""Share of the range within which a prediction counts as right when errors are listed. No metric uses it."""


class Regression(TextHead):
    """A linear output on one vector for each text, trained with the squared error.

    If the texts of a pair are read apart, the prediction is instead the cosine of their two vectors (Reimers and
    Gurevych 2019), where 0 means the lowest label and 1 the highest. With pooling "mean", training then starts from the
    encoder's own similarity, which helps if there are few pairs.

    For the loss, the range of the labels is mapped to [0, 1], so that the same learning rate and loss weight suit
    ranges from 0-1 to 0-100. Predictions and metrics are in the units of the labels. Predictions outside the range are
    not clipped: clipping creates ties, which would change the rank correlation, and hides what the model does.

    Metrics: `pearson`, `spearman` (ties get their mean rank) and `mse`. A correlation is 0 if the predictions or the
    labels are constant. If a prediction is not finite because training diverged, the correlations are 0 and `mse` is
    infinite. Without rows, all three are 0.

    Args:
        labels: Must be empty.
        hidden_size: H of the encoder.
        range: The lowest and the highest label; rows with a label outside are invalid.
        dropout: Dropout probability before each linear layer; without effect with pair "apart".
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        pooling: "cls" for the state of the first token, "mean" for the mean over the states of all tokens, "pooler" for
            the pooling of transformers' class for sequence classification, "last" for the state of the last token
            (see `heads._pooling`). None takes "last" for a causal encoder and "cls" for any other.
        pair: Whether the texts of a pair are read "together", as one sequence, or "apart", each alone, with the cosine
            of their vectors as the prediction.
        long: Whether texts above the maximum length are "cut" or split into overlapping "windows".
        window_pooling: "max", "mean" or "attention": how the vectors of a text's windows become one.
        stride: Number of tokens by which windows overlap, at most half a window.
        primary_metric: Name of the metric that selects checkpoints: `pearson` or `spearman`. It cannot be `mse`,
            because lower is better.

    Raises:
        ValueError: There are labels, the range is not two finite numbers in ascending order, the metric is unknown, or
            there is a hidden layer with pair "apart".
    """

    lower_is_better = frozenset({"loss", "mse"})
    metrics = ("pearson", "spearman", "mse")
    reduction = "cat"
    weighs_rows = True
    changeable = ("dropout",)
    other_names = ("similarity", "sts", "scoring", "text_regression")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        range: tuple[float, float],  # the option's name in YAML
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        pooling: Pooling | None = None,
        pair: Pair = "together",
        long: Long = "cut",
        window_pooling: WindowPooling = "max",
        stride: int = 32,
        primary_metric: str = "pearson",
    ) -> None:
        if labels:
            raise ValueError(f"labels must be empty for a regression, got {len(labels)}")
        reading = Reading(pooling, pair, long, window_pooling, stride)
        if pair == "apart" and hidden_layer is not None:
            raise ValueError(
                "hidden_layer has no effect with pair 'apart', which has no output layer; omit one of them"
            )
        super().__init__((), hidden_size, None if pair == "apart" else 1, dropout, hidden_layer, reading)
        self.primary_metric = choice("primary_metric", primary_metric, ("pearson", "spearman"))
        self._low, self._high = map(float, range)
        if not (math.isfinite(self._low) and math.isfinite(self._high) and self._low < self._high):
            raise ValueError(f"range must be two finite numbers, the lower first; got {list(range)}")

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        problem = self.pair_problem(row)
        label = text_row(row).label
        if problem is not None or label is None:
            return problem
        value = _number(label)
        if value is not None and self._low <= value <= self._high:
            return None
        got = describe(label) if value is None else f"the number {value:g}"
        return f"the label must be a number from {self._low:g} to {self._high:g}, got {got}"

    def label_counts(self, row: Row) -> dict[str, int]:
        """Empty, because numbers have no classes."""
        return {}

    def gold(self, row: TextRow) -> dict[str, Any]:
        return {"label": 0.0 if row.label is None else self._value(row)}

    def collate_gold(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`label`: the gold number in its own units, [B]; `labelled`: whether there is one, [B] (bool)."""
        return {
            "label": torch.tensor([example["label"] for example in examples], dtype=torch.float),
            "labelled": torch.tensor([example["targets"] > 0 for example in examples], dtype=torch.bool),
        }

    def advice(self, num_rows: int, num_pairs: int) -> Sequence[str]:
        """Recommends to read the texts of few pairs apart."""
        if self.reading.pair == "apart" or num_pairs < num_rows or num_rows >= FEW_PAIRS:
            return []
        return [
            f"only {num_rows} training pairs: options.pair apart with pooling mean is recommended, because training"
            " then starts from the encoder's own similarity of the two texts"
        ]

    # --- states -> loss -------------------------------------------------------------------------------------------

    def logits(self, vectors: Tensor) -> Tensor:
        if self.reading.pair == "together":
            return super().logits(vectors)
        u, v = vectors.float().unbind(1)
        return torch.nn.functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1)

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        labelled = fields["labelled"]
        target = (fields["label"] - self._low) / (self._high - self._low)
        errors = (logits.float().squeeze(-1) - target) ** 2  # [B]
        return weighed(errors * labelled, fields).sum(), labelled.sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The predicted number in the units of the labels, [1] for each example."""
        return list(self._low + logits.float() * (self._high - self._low))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`value`: the predicted number in the units of the labels."""
        return {"value": float(outputs[0])}

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """Prediction and gold, [1, 2], or [0, 2] without gold."""
        row = text_row(row)
        pairs = [] if row.label is None else [[prediction["value"], self._value(row)]]
        return torch.tensor(pairs, dtype=torch.double).reshape(-1, 2)

    def error(self, prediction: Prediction, row: Row) -> float:
        """The distance from the gold number as a share of the range, or 0 if it is within `TOLERANCE`."""
        pairs = self.counts(prediction, row)
        if not len(pairs):
            return 0.0
        predicted, gold = pairs[0].tolist()
        share = abs(predicted - gold) / (self._high - self._low)
        return 0.0 if share <= TOLERANCE else share if math.isfinite(share) else math.inf

    def score(self, counts: Tensor) -> dict[str, float]:
        from torchmetrics.functional.regression import mean_squared_error

        predicted, gold = counts.double().T  # [N], [N]
        if not counts.isfinite().all():
            return {"pearson": 0.0, "spearman": 0.0, "mse": math.inf}
        return {
            "pearson": pearson(predicted, gold),
            "spearman": pearson(ranks(predicted), ranks(gold)),
            "mse": float(mean_squared_error(predicted, gold)) if len(gold) else 0.0,
        }

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        finite = counts.isfinite().all(-1)  # [N]
        predicted, gold = counts.double().nan_to_num(0.0, 0.0, 0.0).T  # [N], [N]
        diverged = ((times > 0) & ~finite).any(-1)
        found = {}
        for name in metrics:
            if name == "mse":
                squares = ((predicted - gold) ** 2 * times).sum(-1)
                found[name] = scores.ratio(squares, times.sum(-1)).masked_fill(diverged, math.inf)
                continue
            ranked = name == "spearman"
            one, other = (ranks_of_many(v, times) if ranked else v for v in (predicted, gold))  # [N] or [..., N]
            found[name] = pearson_of_many(one, other, times).masked_fill(diverged, 0.0)
        return found

    def report(self, counts: Tensor) -> ClassReport:
        """Empty, because numbers have no classes."""
        return ClassReport({}, (), None)

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`mean`: the mean of the training rows. `tfidf`: ridge regression on TF-IDF features. `cosine`: see below.

        `cosine` is a linear regression on the cosine similarity of the two texts. It is left out unless all rows are
        pairs.
        """
        known = [row for row in map(text_row, rows) if row.label is not None]
        fitted = _baselines.values(known, [self._value(row) for row in known])
        return {
            name: _baselines.predictor(predictor, lambda values: {"value": values[0]})
            for name, predictor in fitted.items()
        }

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """For pairs a linear regression on the cosine of their mean states, otherwise a ridge regression on the state.

        The weights of the cosine are [2, 1].
        """
        known = _frozen.sampled([row for row in map(text_row, rows) if row.label is not None])
        if not known:
            return None
        gold = [self._value(row) for row in known]
        if all(row.text_pair is not None for row in known):
            return _frozen.fit_line(_frozen.cosines(known, encoder), gold)
        return _frozen.fit_values(_frozen.text_features(known, encoder), gold)

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        texts = [text_row(row) for row in rows]
        is_cosine = len(weights) == 2
        features = _frozen.cosines(texts, encoder) if is_cosine else _frozen.text_features(texts, encoder, weights)
        return [{"value": value} for value in _frozen.linear(features, weights)[:, 0].tolist()]

    def _value(self, row: TextRow) -> float:
        value = _number(row.label)
        assert value is not None, "rows must pass `check` first"
        return value


def pearson(one: Tensor, other: Tensor) -> float:
    """Pearson's correlation of two vectors [N]; 0 if one of them is constant or N is 0.

    >>> pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0]))
    0.866...
    >>> pearson(torch.tensor([0.1, 0.1]), torch.tensor([1.0, 2.0]))
    0.0
    """
    from torchmetrics.functional.regression import pearson_corrcoef

    if len(one) == 0 or one.min() == one.max() or other.min() == other.max():
        return scores.undefined()
    return float(pearson_corrcoef(_scaled(one), _scaled(other)))


def ranks(values: Tensor) -> Tensor:
    """The ranks of the values [N], from 1; equal values get the mean of their ranks.

    >>> ranks(torch.tensor([30.0, 10.0, 30.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    # SciPy's, because those of torchmetrics 1.9 overflow with 65,536 equal values and are float32.
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(values.numpy()))


def pearson_of_many(one: Tensor, other: Tensor, times: Tensor) -> Tensor:
    """Pearson's correlation in many resampled corpora, [...]; 0 if one of the vectors is constant in a corpus.

    Args:
        one: A vector that all corpora share, [N], or one for each corpus, [..., N].
        other: The other vector, in the same order.
        times: How many times each corpus contains each item: whole numbers, [..., N].

    >>> one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0])
    >>> pearson_of_many(one, other, torch.tensor([[1, 1, 1], [2, 0, 0]]))
    tensor([0.8660, 0.0000], dtype=torch.float64)
    """
    if not times.shape[-1]:
        return torch.zeros(times.shape[:-1], dtype=torch.double)
    times = times.double()
    products = _standardised(one.double(), times) * _standardised(other.double(), times)
    return (products * times).sum(-1).clamp(-1, 1)


def ranks_of_many(values: Tensor, times: Tensor) -> Tensor:
    """The ranks of the values [N] in many resampled corpora, with `times` [..., N] as in `pearson_of_many`.

    >>> ranks_of_many(torch.tensor([30.0, 10.0]), torch.tensor([[1, 1], [2, 3]])).tolist()
    [[2.0, 1.0], [4.5, 2.0]]
    """
    distinct, position = torch.unique(values, return_inverse=True)  # [D], [N]
    sizes = torch.zeros(*times.shape[:-1], len(distinct), dtype=torch.double)
    sizes = sizes.index_add(-1, position, times.double())  # [..., D]
    return (sizes.cumsum(-1) - (sizes - 1) / 2)[..., position]


def _scaled(values: Tensor) -> Tensor:
    """Deviations from the mean, divided by the largest, so that squares of tiny or huge values stay in range."""
    deviations = values - values.mean()
    return deviations / deviations.abs().max()


def _standardised(values: Tensor, times: Tensor) -> Tensor:
    """The values of each corpus, centred and of norm 1; 0 if constant or not in it. [N] or [..., N] -> [..., N]."""
    is_taken = times > 0
    low = values.where(is_taken, math.inf).amin(-1, keepdim=True)
    high = values.where(is_taken, -math.inf).amax(-1, keepdim=True)
    mean = (values * times).sum(-1, keepdim=True) / times.sum(-1, keepdim=True)
    centred = (values - mean).where(is_taken & (low < high), 0.0)
    centred = centred / centred.abs().amax(-1, keepdim=True)
    return (centred / (centred**2 * times).sum(-1, keepdim=True).sqrt()).where(low < high, 0.0)


def _number(label: object) -> float | None:
    """The label as a number, even if a file has it as text; None if it is not a number."""
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    try:
        return float(label)
    except ValueError:
        return None
