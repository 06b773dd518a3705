"""Precision, recall and F1 of entities that match in part.

The four ways of SemEval 2013 (Segura-Bedmar et al.):

- `strict`: same span and type
- `exact`: same span, whatever the type
- `partial`: a span that overlaps counts one half, whatever the type
- `type`: same type and a span that overlaps

Their matches are found and counted as by nervaluate 1.2: predictions take gold entities one after another, in text
order, and two spans overlap if they share at least one hundredth of the gold span.

The way of HunFlair2 (Sänger et al. 2024, "HunFlair2 in a cross-corpus evaluation"):

- `near`: same type, and both offsets differ by at most one character. The matches are the largest set of pairs in which
  each entity occurs once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from heads import scores
from heads._tags import TypedSpan

SCHEMES = ("strict", "exact", "partial", "type", "near")
METRICS = tuple(f"{scheme}_{name}" for scheme in SCHEMES for name in ("f1", "precision", "recall"))
NUM_COUNTS = 3 * len(SCHEMES)

_MIN_OVERLAP = 0.01
"""Least share of the gold span that an overlapping prediction covers; 1% is the default of nervaluate."""

_MAX_DISTANCE = 1
"""Largest difference of offsets in characters at which two entities are near."""


def span_counts(gold: Iterable[TypedSpan], predicted: Iterable[TypedSpan]) -> Tensor:
    """The credit, the number of predictions and the number of gold entities in each way of matching, [NUM_COUNTS].

    The credit of a prediction is 1 if it is correct, 1/2 if it is partially correct, and otherwise 0.

    >>> counts = span_counts([TypedSpan(0, 9, "Drug")], [TypedSpan(0, 5, "Drug")])
    >>> dict(zip(SCHEMES, counts.reshape(len(SCHEMES), 3)[:, 0].tolist()))
    {'strict': 0.0, 'exact': 0.0, 'partial': 0.5, 'type': 1.0, 'near': 0.0}
    """
    truth, guesses = sorted(gold), sorted(predicted)
    lines = [[_credit(scheme, truth, guesses), len(guesses), len(truth)] for scheme in SCHEMES]
    return torch.tensor(lines, dtype=torch.double).flatten()


def span_scores(counts: Tensor) -> dict[str, Tensor]:
    """All `METRICS` of one or many corpora from their summed counts, [..., NUM_COUNTS] -> [...]."""
    found: dict[str, Tensor] = {}
    by_scheme = counts.reshape(*counts.shape[:-1], len(SCHEMES), 3).unbind(-2)
    for scheme, own in zip(SCHEMES, by_scheme, strict=True):
        precision, recall, f1 = scores.precision_recall_f1(*own.unbind(-1))
        found |= {f"{scheme}_f1": f1, f"{scheme}_precision": precision, f"{scheme}_recall": recall}
    return found


class _GoldMatch(NamedTuple):
    """A gold entity that a prediction may take. The best one is the greatest."""

    credit: float
    nearness: int
    order: int
    """Minus the index of the gold entity: of equally good ones, the first is taken."""


def _credit(scheme: str, gold: Sequence[TypedSpan], predicted: Sequence[TypedSpan]) -> float:
    """The summed credit of the predictions. Each takes at most one gold entity, which the next ones cannot take."""
    if scheme == "near":
        return _num_near(gold, predicted)
    free = dict(enumerate(gold))
    total = 0.0
    for guess in predicted:
        matches = [_gold_match(scheme, place, truth, guess) for place, truth in free.items() if _overlaps(truth, guess)]
        if matches:
            best = max(matches)  # one without credit is taken too
            total += best.credit
            del free[-best.order]
    return total


def _gold_match(scheme: str, place: int, gold: TypedSpan, predicted: TypedSpan) -> _GoldMatch:
    credit = _credit_of_pair(scheme, gold, predicted)
    by_distance = scheme == "type" and credit > 0
    distance = abs(gold.start - predicted.start) + abs(gold.end - predicted.end) if by_distance else 0
    return _GoldMatch(credit, -distance, -place)


def _credit_of_pair(scheme: str, gold: TypedSpan, predicted: TypedSpan) -> float:
    same_span = gold[:2] == predicted[:2]
    same_type = gold.type == predicted.type
    if scheme == "partial":
        return 1.0 if same_span else 0.5
    if scheme == "type":
        return float(same_type)
    return float(same_span and (same_type or scheme == "exact"))


def _num_near(gold: Sequence[TypedSpan], predicted: Sequence[TypedSpan]) -> int:
    """The largest number of pairs of near entities in which each occurs once."""
    pairs = [(i, j) for i, one in enumerate(gold) for j, other in enumerate(predicted) if _is_near(one, other)]
    if not pairs:
        return 0
    from scipy.sparse import csr_array  # slow to import
    from scipy.sparse.csgraph import maximum_bipartite_matching

    rows, columns = zip(*pairs, strict=True)
    graph = csr_array(([1] * len(pairs), (rows, columns)), shape=(len(gold), len(predicted)))
    return int((maximum_bipartite_matching(graph) >= 0).sum())


def _is_near(gold: TypedSpan, predicted: TypedSpan) -> bool:
    distance = max(abs(gold.start - predicted.start), abs(gold.end - predicted.end))
    return gold.type == predicted.type and distance <= _MAX_DISTANCE


def _overlaps(gold: TypedSpan, predicted: TypedSpan) -> bool:
    shared = min(gold.end, predicted.end) - max(gold.start, predicted.start)
    return shared >= _MIN_OVERLAP * (gold.end - gold.start)
