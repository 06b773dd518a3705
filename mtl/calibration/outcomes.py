"""What calibration counts: decisions for a class, yes-or-no decisions for labels, or predicted spans.

Shapes: n outcomes, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heads import Decisions
from mtl.calibration.temperature import at_temperature, known, known_mask

Array = NDArray[np.float64]


class Outcomes(NamedTuple):
    """What the measures read.

    `confidence` and `happened` [n] for the bins, `probabilities` [n, C] or [n] and `gold` [n] for proper scores, and
    `certainty` and `is_right` [n] of what was predicted for risk and coverage.
    """

    confidence: Array
    happened: Array
    probabilities: Array
    gold: Array
    certainty: Array
    is_right: Array


def outcomes_of(decisions: Decisions, temperature: float) -> Outcomes:
    """The outcomes of decisions at a temperature, in the order of the decisions."""
    if decisions.spans is not None:
        return _of_spans(decisions, temperature)
    probabilities, gold = known(decisions)
    chosen = decisions.chosen[known_mask(decisions)]
    at = at_temperature(probabilities, temperature)
    is_right = (chosen == gold).double().numpy()
    if at.dim() == 2:
        certainty = at.gather(1, chosen[:, None])[:, 0].numpy()
        return Outcomes(certainty, is_right, at.numpy(), gold.double().numpy(), certainty, is_right)
    happened = gold.double().numpy()
    certainty = torch.where(chosen == 1, at, 1 - at).numpy()
    return Outcomes(at.numpy(), happened, at.numpy(), happened, certainty, is_right)


def _of_spans(decisions: Decisions, temperature: float) -> Outcomes:
    """Each predicted span with the geometric mean of the probabilities of its tags."""
    assert decisions.spans is not None
    at = at_temperature(decisions.probabilities, temperature)
    logs = at.gather(1, decisions.chosen[:, None])[:, 0].log()
    spans = decisions.spans.tolist()
    confidence = np.array([float(logs[start:end].mean().exp()) for start, end, _ in spans])
    is_right = np.array([float(right) for *_, right in spans])
    return Outcomes(confidence, is_right, confidence, is_right, confidence, is_right)


def num_outcomes(decisions: Decisions) -> int:
    """The number of outcomes: known decisions, those for each label counted one by one, or predicted spans."""
    return int(known_mask(decisions).sum()) if decisions.spans is None else len(decisions.spans)
