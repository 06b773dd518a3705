"""The fit of a temperature, against planted ones, a grid and properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from heads import IGNORE, Decisions
from mtl.calibration.outcomes import num_outcomes, outcomes_of
from mtl.calibration.task_calibration import calibrated
from mtl.calibration.temperature import LIMIT, at_temperature, fit_temperature, has_no_error, known


def planted(temperature: float, *, labels: bool = False, n: int = 4000, seed: int = 0) -> Decisions:
    """Decisions whose probabilities are right after division by a temperature."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, 3)) * 1.5
    logits = torch.tensor(true * temperature, dtype=torch.float32)
    if labels:
        gold = torch.tensor(rng.random((n, 3)) < 1 / (1 + np.exp(-true))).long()
        return Decisions(logits.sigmoid(), gold, (logits > 0).long())
    p = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    gold = torch.tensor([rng.choice(3, p=one) for one in p])
    return Decisions(logits.softmax(-1), gold, logits.argmax(1))


def nll(decisions: Decisions, temperature: float) -> float:
    probabilities, gold = known(decisions)
    at = at_temperature(probabilities, temperature).numpy()
    if at.ndim == 2:
        return float(-np.log(at[np.arange(len(gold)), gold]).mean())
    return float(-np.log(np.clip(np.where(gold.numpy() == 1, at, 1 - at), 1e-300, None)).mean())


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_planted_temperature_is_found(temperature: float, *, labels: bool) -> None:
    decisions = planted(temperature, labels=labels)
    assert fit_temperature(decisions) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("labels", [False, True])
@given(n=st.integers(5, 60), seed=st.integers(0, 99), temperature=st.floats(0.3, 4))
@example(n=5, seed=69, temperature=0.625)
def test_no_temperature_of_a_grid_is_better(n: int, seed: int, temperature: float, *, labels: bool) -> None:
    decisions = planted(temperature, labels=labels, n=n, seed=seed)
    assume(not has_no_error(*known(decisions)))
    fitted = fit_temperature(decisions)
    grid = np.exp(np.linspace(-np.log(LIMIT), np.log(LIMIT), 61))
    assert nll(decisions, fitted) <= min(nll(decisions, t) for t in grid) + 1e-6


def test_decisions_without_gold_have_no_influence() -> None:
    decisions = planted(2.0, n=200)
    noise = torch.softmax(torch.randn(100, 3, generator=torch.Generator().manual_seed(1)) * 9, -1)
    more = Decisions(
        torch.cat([decisions.probabilities, noise]),
        torch.cat([decisions.gold, torch.full((100,), IGNORE)]),
        torch.cat([decisions.chosen, noise.argmax(1)]),
    )
    assert fit_temperature(more) == fit_temperature(decisions)


def test_labels_that_are_not_annotated_have_no_influence() -> None:
    """The others of the same text have."""
    full = planted(2.0, labels=True, n=300)
    gold = full.gold.clone()
    gold[::2, 1] = IGNORE
    masked = full._replace(gold=gold)
    apart = [(full.probabilities[:, c], full.gold[:, c]) for c in (0, 2)] + [
        (full.probabilities[1::2, 1], full.gold[1::2, 1])
    ]
    columns = [torch.cat(part)[:, None] for part in zip(*apart, strict=True)]
    fitted = fit_temperature(masked)
    assert fitted == pytest.approx(fit_temperature(Decisions(*columns, columns[1])), rel=1e-6)
    assert fitted != pytest.approx(fit_temperature(full), rel=1e-3)
    assert num_outcomes(masked) == 750
    noise = masked._replace(probabilities=masked.probabilities.masked_fill(gold == IGNORE, 0.99))
    for one, other in zip(outcomes_of(masked, 1.5), outcomes_of(noise, 1.5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_a_right_decision_the_temperature_stays_within_its_limits() -> None:
    wrong = Decisions(torch.tensor([[0.6, 0.4], [0.3, 0.7]]), torch.tensor([1, 0]), torch.tensor([0, 1]))
    assert 5 < fit_temperature(wrong) <= LIMIT


@pytest.mark.parametrize("labels", [False, True])
def test_without_an_error_the_temperature_is_1_and_the_user_is_told(*, labels: bool) -> None:
    if labels:
        values, gold = torch.tensor([[0.6, 0.2], [0.3, 0.9]]), torch.tensor([[1, 0], [0, 1]])
    else:
        values, gold = torch.tensor([[0.6, 0.4], [0.3, 0.7]]), torch.tensor([0, 1])
    right = Decisions(values, gold, gold)
    found = calibrated(right, num_rows=1000, test=None)
    assert found.temperature == 1.0
    assert found.note is not None
    one_error = right._replace(gold=1 - gold if labels else torch.tensor([1, 1]))
    assert calibrated(one_error, num_rows=1000, test=None).note is None
