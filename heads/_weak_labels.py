"""Losses of weak and soft labels: weights of examples, soft targets, and distillation.

Shapes: B examples, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heads import IGNORE, Example
from heads.rows import Span, SpanRow, TextRow

UNKNOWN = -1.0
"""In place of a probability that a row does not have."""

_ROUNDING = 0.01
"""How far from 1 the sum of probabilities may be, which systems write with few digits."""


class Distillation(NamedTuple):
    """How soft labels are learned, after Hinton et al. 2015 (arXiv:1503.02531).

    Args:
        temperature: Divisor of the logits of both sides. The soft loss is multiplied by its square, so that its
            gradient keeps its size.
        share: Share of the soft loss in the loss of a row that also has a label; the rest is the loss of the label. A
            row without a label has the soft loss only.
    """

    temperature: float = 1.0
    share: float = 1.0

    @classmethod
    def of(cls, option: Mapping[str, float] | None) -> Distillation:
        """The values of the option `distillation`; None gives the defaults.

        Raises:
            ValueError: A key is unknown, the temperature is not above 0, or the share is not from 0 to 1.
        """
        unknown = sorted(set(option or {}) - set(cls._fields))
        if unknown:
            raise ValueError(f"distillation must have the keys temperature and share, got {', '.join(unknown)}")
        found = cls(**{name: float(value) for name, value in (option or {}).items()})
        if not 0 < found.temperature < float("inf"):
            raise ValueError(f"distillation.temperature must be above 0 and finite, got {found.temperature:g}")
        if not 0 <= found.share <= 1:
            raise ValueError(f"distillation.share must be from 0 to 1, got {found.share:g}")
        return found

    def mixed(self, hard: Tensor, soft: Tensor, is_hard: Tensor, is_soft: Tensor) -> Tensor:
        """The loss of each element from its hard and its soft loss, and whether it has these labels; all one shape.

        An element without either has the loss 0.

        >>> one, no = torch.tensor([True, True, False]), torch.tensor([True, False, True])
        >>> Distillation(2.0, 0.25).mixed(torch.full((3,), 8.0), torch.ones(3), one, no).tolist()
        [7.0, 8.0, 4.0]
        """
        share = torch.where(is_hard, self.share, 1.0) * is_soft
        return hard * is_hard * (1 - share) + soft * share * self.temperature**2

    def classes(self, logits: Tensor, probabilities: Tensor, class_weights: Tensor | None) -> Tensor:
        """The cross-entropy of softmax probabilities with soft targets at the temperature, [N, C] -> [N].

        It differs from the divergence by the entropy of the targets, which has no gradient. With one-hot targets it is
        the usual cross-entropy.
        """
        known = probabilities.clamp(min=0)
        powers = (known / known.amax(-1, keepdim=True)) ** (1 / self.temperature)
        targets = torch.nan_to_num(powers / powers.sum(-1, keepdim=True))  # 0 for rows without a soft label
        return F.cross_entropy(logits / self.temperature, targets, weight=class_weights, reduction="none")

    def labels(self, logits: Tensor, probabilities: Tensor) -> Tensor:
        """The cross-entropy of independent labels with soft targets at the temperature, [B, C] -> [B, C]."""
        targets = torch.sigmoid(torch.logit(probabilities.clamp(min=0)) / self.temperature)
        return F.binary_cross_entropy_with_logits(logits / self.temperature, targets, reduction="none")


def target_of(row: TextRow, labels: Sequence[str]) -> list[float]:
    """The probability of each label, `UNKNOWN` for those that the row does not give.

    >>> target_of(TextRow("1", "1", "Fever.", probabilities={"no": 0.25}), ["yes", "no"])
    [-1.0, 0.25]
    """
    given = row.probabilities or {}
    return [float(given.get(label, UNKNOWN)) for label in labels]


def collated(examples: Sequence[Example]) -> dict[str, Tensor]:
    """The field `probabilities` [B, C]; none if no example has a soft label.

    >>> collated([{"probabilities": [-1.0, -1.0]}])
    {}
    """
    given = [example["probabilities"] for example in examples if "probabilities" in example]
    probabilities = torch.tensor(given, dtype=torch.float)
    return {"probabilities": probabilities} if bool((probabilities >= 0).any()) else {}


def word_targets(row: SpanRow, words: Sequence[Span], tags: Sequence[str]) -> list[list[float]]:
    """The probability of each tag for each word, `UNKNOWN` for words without a soft label.

    >>> from heads.rows import WordProbabilities
    >>> row = SpanRow("1", "1", "No rash.", probabilities=(WordProbabilities(3, 7, {"B-Sign": 1.0}),))
    >>> word_targets(row, [(0, 2), (3, 7)], ["O", "B-Sign"])
    [[-1.0, -1.0], [0.0, 1.0]]
    """
    given = {(start, end): found for start, end, found in row.probabilities or ()}
    unknown = [UNKNOWN] * len(tags)
    return [[float(given[word].get(tag, 0.0)) for tag in tags] if word in given else unknown for word in words]


def is_known(row: TextRow, label: str) -> bool:
    """Whether someone looked for the label in the row."""
    return row.annotated is None or label in row.annotated


def annotated_problem(row: TextRow, labels: Sequence[str]) -> str | None:
    """The problem of the row's annotated labels, or None."""
    unknown = [name for name in row.annotated or () if name not in labels]
    return f"annotated must name some of: {', '.join(labels)}; got {len(unknown)} other" if unknown else None


def soft_problem(row: TextRow, labels: Sequence[str], *, exclusive: bool) -> str | None:
    """The problem of the row's probabilities, or None.

    Args:
        row: The row.
        labels: Names of the classes or labels.
        exclusive: Whether exactly one class applies, so that all must be given and their sum must be 1.
    """
    if row.probabilities is None:
        return None
    unknown = [name for name in row.probabilities if name not in labels]
    if unknown:
        return f"the probabilities must be of: {', '.join(labels)}; got {len(unknown)} other"
    if not exclusive:
        is_outside = any(not 0 <= value <= 1 for value in row.probabilities.values())
        return "a probability must be from 0 to 1, got another number" if is_outside else None
    missing = [label for label in labels if label not in row.probabilities]
    if missing:
        return f"the probabilities must be of: {', '.join(labels)}; got none of {', '.join(missing)}"
    return _values_problem(row.probabilities.values())


def word_problem(row: SpanRow, words: Sequence[Span], tags: Sequence[str]) -> str | None:
    """The problem of the soft labels of a row's words, or None.

    Args:
        row: The row.
        words: Its words.
        tags: Names of the tags that a word may have.
    """
    if row.probabilities is None:
        return None
    places = [word[:2] for word in row.probabilities]
    elsewhere = set(places) - set(words)
    if elsewhere:
        return f"probabilities must be at words of the text, got {len(elsewhere)} elsewhere"
    if len(set(places)) < len(places):
        return "probabilities must be given once for a word, got a word twice"
    for word in row.probabilities:
        unknown = set(word.tags).difference(tags)
        if unknown:
            return f"the probabilities of a word must be of: {', '.join(tags)}; got {len(unknown)} other"
        problem = _values_problem(word.tags.values())
        if problem is not None:
            return problem
    return None


def _values_problem(values: Collection[float]) -> str | None:
    """The problem of the probabilities of exclusive outcomes, or None."""
    if any(not 0 <= value <= 1 for value in values):
        return "a probability must be from 0 to 1, got another number"
    total = sum(values)
    return f"the probabilities must have the sum 1, got {total:g}" if abs(total - 1) > _ROUNDING else None


def weighed(losses: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
    """The losses of a batch, [B, ...], times the weight of their examples, where the batch has weights.

    >>> weighed(torch.ones(2, 2), {"weight": torch.tensor([1.0, 0.5])}).tolist()
    [[1.0, 1.0], [0.5, 0.5]]
    """
    if "weight" not in fields:
        return losses
    weight = fields["weight"]
    return losses * weight.view(-1, *[1] * (losses.dim() - 1))


def summed_cross_entropy(
    logits: Tensor, label: Tensor, fields: Mapping[str, Tensor], class_weights: Tensor | None = None
) -> Tensor:
    """The summed cross-entropy with hard labels, weighed by the weights of the examples where the batch has them.

    Args:
        logits: Logits, [B, ..., C].
        label: Index of the gold class, or `IGNORE`, [B, ...].
        fields: Fields of the batch.
        class_weights: Weight of each class, [C]; None for 1.
    """
    flat, gold = logits.reshape(-1, logits.shape[-1]), label.flatten()
    if "weight" not in fields:  # summed as one, because the order of a sum decides its last bits
        return F.cross_entropy(flat, gold, weight=class_weights, ignore_index=IGNORE, reduction="sum")
    losses = F.cross_entropy(flat, gold, weight=class_weights, ignore_index=IGNORE, reduction="none")
    return weighed(losses.view(label.shape), fields).sum()


def distilled_cross_entropy(
    logits: Tensor,
    label: Tensor,
    fields: Mapping[str, Tensor],
    distillation: Distillation,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The summed loss of exclusive classes with hard and soft labels, and the number of elements that have either.

    Args:
        logits: Logits, [B, ..., C].
        label: Index of the gold class, or `IGNORE`, [B, ...].
        fields: Fields of the batch: `probabilities` [B, ..., C], `UNKNOWN` for elements without a soft label, if the
            batch has soft labels; `weight` [B], if it has weights.
        distillation: How hard and soft labels are mixed.
        class_weights: Weight of each class, [C]; None for 1.
    """
    is_hard = label != IGNORE
    if "probabilities" not in fields:
        return summed_cross_entropy(logits, label, fields, class_weights), is_hard.sum()
    flat, probabilities = logits.flatten(0, -2), fields["probabilities"].flatten(0, -2)
    hard = F.cross_entropy(flat, label.flatten(), weight=class_weights, ignore_index=IGNORE, reduction="none")
    soft = distillation.classes(flat, probabilities, class_weights)
    is_soft = fields["probabilities"][..., 0] >= 0
    losses = distillation.mixed(hard.view(label.shape), soft.view(label.shape), is_hard, is_soft)
    return weighed(losses, fields).sum(), (is_hard | is_soft).sum()
