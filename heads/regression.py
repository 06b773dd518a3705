"""A number for a text or a pair of texts.

Shapes: B examples, T tokens, H hidden size, N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from heads import ClassReport, Example, Prediction, Row, TextRow, _baselines
from heads._text import TextHead, choice, describe, text_row

TOLERANCE = 0.1
"""Share of the range within which a number counts as right when errors are listed. No metric uses it."""


class Regression(TextHead):
    """A linear output read off [CLS], trained with the squared error.

    The labels' range is mapped to [0, 1] for the loss, so that one learning rate and one loss weight serve ranges
    from 0-1 to 0-100; predictions and metrics are in the row's own units. A prediction beyond the range is not
    clipped: clipping makes ties, which would change the rank correlation, and hides what the model does.

    Metrics: `pearson`, `spearman` (ties get their mean rank) and `mse` in the row's own units. The correlation of a
    constant prediction, or gold, is defined as 0. Where a prediction isn't finite (training diverged), correlations
    are 0 and `mse` is infinite; without rows all three are 0.

    Args:
        labels: Must be empty.
        hidden_size: H of the encoder.
        range: The lowest and highest label; a label outside it is a problem.
        dropout: Before every linear layer.
        hidden_layer: Units of a GELU layer before the last; None has none.
        pooling: What is read of a text: "cls", the state of the first token, or "mean", the mean over all tokens.
        primary_metric: The metric that selects; `mse` can't, since less of it is better.

    Raises:
        ValueError: There are labels, the range is not two finite growing numbers, or the metric isn't there.
    """

    lower_is_better = frozenset({"loss", "mse"})
    metrics = ("pearson", "spearman", "mse")
    reduction = "cat"

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        range: tuple[float, float],  # the option's name in YAML
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        primary_metric: str = "pearson",
    ) -> None:
        if labels:
            raise ValueError(f"labels must be empty for a regression; found {len(labels)}")
        super().__init__((), hidden_size, 1, dropout, hidden_layer, pooling)
        self.primary_metric = choice("primary_metric", primary_metric, ("pearson", "spearman"))
        self._low, self._high = map(float, range)
        if not (math.isfinite(self._low) and math.isfinite(self._high) and self._low < self._high):
            raise ValueError(f"range must be two finite numbers, the lower first; found {list(range)}")

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        label = text_row(row).label
        if label is None:
            return None
        value = _number(label)
        if value is not None and self._low <= value <= self._high:
            return None
        found = describe(label) if value is None else f"the number {value:g}"
        return f"the label must be a number from {self._low:g} to {self._high:g}; found {found}"

    def label_counts(self, row: Row) -> dict[str, int]:
        """Nothing: numbers have no classes."""
        return {}

    def gold(self, row: TextRow) -> dict[str, Any]:
        return {"label": 0.0 if row.label is None else self._value(row)}

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`label`: the gold in its own units [B], and `labelled`: where there is one [B] (bool)."""
        return {
            "label": torch.tensor([example["label"] for example in examples], dtype=torch.float),
            "labelled": torch.tensor([example["targets"] > 0 for example in examples], dtype=torch.bool),
        }

    # --- states -> loss -------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        labelled = fields["labelled"]
        target = (fields["label"] - self._low) / (self._high - self._low)
        errors = (logits.float().squeeze(-1) - target) ** 2  # [B]
        return (errors * labelled).sum(), labelled.sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The value in the row's own units, [1], of each example."""
        return list(self._low + logits.float() * (self._high - self._low))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """`value`, in the row's own units."""
        return {"value": float(outputs[0])}

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """Prediction and gold, [1, 2], or [0, 2] where there is no gold."""
        row = text_row(row)
        pairs = [] if row.label is None else [[prediction["value"], self._value(row)]]
        return torch.tensor(pairs, dtype=torch.double).reshape(-1, 2)

    def error(self, prediction: Prediction, row: Row) -> float:
        """The distance to the gold as a share of the range; within `TOLERANCE` a number counts as right."""
        pairs = self.counts(prediction, row)
        if not len(pairs):
            return 0.0
        predicted, gold = pairs[0].tolist()
        share = abs(predicted - gold) / (self._high - self._low)
        return 0.0 if share <= TOLERANCE else share if math.isfinite(share) else math.inf

    def score(self, counts: Tensor) -> dict[str, float]:
        predicted, gold = counts.double().T  # [N], [N]
        if not counts.isfinite().all():
            return {"pearson": 0.0, "spearman": 0.0, "mse": math.inf}
        return {
            "pearson": pearson(predicted, gold),
            "spearman": pearson(ranks(predicted), ranks(gold)),
            "mse": float(((predicted - gold) ** 2).sum() / max(len(gold), 1)),
        }

    def primary_scores(self, counts: Tensor, times: Tensor) -> Tensor:
        finite = counts.isfinite().all(-1)  # [N]
        predicted, gold = counts.double().nan_to_num(0.0, 0.0, 0.0).T  # [N], [N]
        if self.primary_metric == "spearman":
            predicted, gold = ranks_of_many(predicted, times), ranks_of_many(gold, times)  # [..., N]
        diverged = ((times > 0) & ~finite).any(-1)
        return pearson_of_many(predicted, gold, times).masked_fill(diverged, 0.0)

    def report(self, counts: Tensor) -> ClassReport:
        """Nothing: numbers have no classes."""
        return ClassReport({}, (), None)

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`mean` of training; `tfidf`: a ridge regression; `cosine` (pairs): a line on the texts' similarity."""
        known = [row for row in map(text_row, rows) if row.label is not None]
        fitted = _baselines.values(known, [self._value(row) for row in known])
        return {name: _baselines.predictor(lines, lambda line: {"value": line[0]}) for name, lines in fitted.items()}

    def _value(self, row: TextRow) -> float:
        value = _number(row.label)
        assert value is not None, "check() comes first"
        return value


def pearson(one: Tensor, other: Tensor) -> float:
    """Pearson's correlation of two vectors [N]; 0 where one of them is constant.

    >>> pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0]))
    0.866...
    >>> pearson(torch.tensor([0.1, 0.1]), torch.tensor([1.0, 2.0]))
    0.0
    """
    if len(one) == 0 or one.min() == one.max() or other.min() == other.max():
        return 0.0
    return float((_standard(one) @ _standard(other)).clamp(-1, 1))


def ranks(values: Tensor) -> Tensor:
    """The rank of each value from 1 on; equal values share the mean of their ranks.

    >>> ranks(torch.tensor([30.0, 10.0, 30.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, position, sizes = torch.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: Tensor = sizes.cumsum(0).double() - (sizes - 1) / 2
    return mean_ranks[position]


def pearson_of_many(one: Tensor, other: Tensor, times: Tensor) -> Tensor:
    """Pearson's correlation of vectors whose items are taken so many times; 0 where one of them is constant.

    Args:
        one: The same for all, [N], or of each, [..., N].
        other: In the same order.
        times: Whole numbers, [..., N].

    >>> one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0])
    >>> pearson_of_many(one, other, torch.tensor([[1, 1, 1], [2, 0, 0]]))
    tensor([0.8660, 0.0000], dtype=torch.float64)
    """
    if not times.shape[-1]:
        return torch.zeros(times.shape[:-1], dtype=torch.double)
    times = times.double()
    products = _standard_of_many(one.double(), times) * _standard_of_many(other.double(), times)
    return (products * times).sum(-1).clamp(-1, 1)


def ranks_of_many(values: Tensor, times: Tensor) -> Tensor:
    """The rank of each of the values [N] among all that are taken, with `times` [..., N] as in `pearson_of_many`.

    >>> ranks_of_many(torch.tensor([30.0, 10.0]), torch.tensor([[1, 1], [2, 3]])).tolist()
    [[2.0, 1.0], [4.5, 2.0]]
    """
    different, position = torch.unique(values, return_inverse=True)
    sizes = torch.zeros(*times.shape[:-1], len(different), dtype=torch.double)
    sizes = sizes.index_add(-1, position, times.double())
    return (sizes.cumsum(-1) - (sizes - 1) / 2)[..., position]


def _standard_of_many(values: Tensor, times: Tensor) -> Tensor:
    """What `_standard` gives, of the values that are taken; 0 for constant ones. [N] or [..., N] -> [..., N]."""
    taken = times > 0
    low = values.where(taken, math.inf).amin(-1, keepdim=True)
    high = values.where(taken, -math.inf).amax(-1, keepdim=True)
    mean = (values * times).sum(-1, keepdim=True) / times.sum(-1, keepdim=True)
    centred = (values - mean).where(taken & (low < high), 0.0)
    centred = centred / centred.abs().amax(-1, keepdim=True)
    return (centred / (centred**2 * times).sum(-1, keepdim=True).sqrt()).where(low < high, 0.0)


def _standard(values: Tensor) -> Tensor:
    """Centred and of length 1; divided by the largest first, so that squares of tiny values don't vanish."""
    centred = values - values.mean()
    centred = centred / centred.abs().max()
    standard: Tensor = centred / torch.linalg.vector_norm(centred)
    return standard


def _number(label: object) -> float | None:
    """A number, also where a file wrote it as text; None for anything else."""
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    try:
        return float(label)
    except ValueError:
        return None
