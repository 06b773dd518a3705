"""Probabilities at another temperature, against the softmax and the sigmoid of the divided logits."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from heads._softening import class_decisions, class_logits, label_logits, softened, softened_labels

logits = st.lists(st.floats(-15, 15, width=32), min_size=2, max_size=5).map(torch.tensor)
temperatures = st.floats(0.05, 20)


@given(logits, temperatures)
def test_softened_probabilities_are_the_softmax_of_divided_logits(own: torch.Tensor, temperature: float) -> None:
    expected = (own.double() / temperature).softmax(-1)
    torch.testing.assert_close(softened(own.softmax(-1), temperature), expected, rtol=1e-3, atol=1e-6)


@given(logits, temperatures)
def test_the_order_of_classes_stays(own: torch.Tensor, temperature: float) -> None:
    before, after = own.softmax(-1), softened(own.softmax(-1), temperature)
    assert before.argmax() == after.argmax()
    assert (after.diff()[before.diff() > 0] >= 0).all()


@given(st.floats(-12, 12, width=32), temperatures)
def test_softened_labels_are_the_sigmoid_of_divided_logits(own: float, temperature: float) -> None:
    expected = (torch.tensor(own).double() / temperature).sigmoid()
    torch.testing.assert_close(softened_labels(torch.tensor(own).sigmoid(), temperature), expected, rtol=0.3, atol=2e-3)


def test_probabilities_of_zero_and_one_stay_finite() -> None:
    edges = torch.tensor([0.0, 1.0])
    for own in (class_logits(edges), label_logits(edges), softened(edges, 3.0), softened_labels(edges, 3.0)):
        assert own.isfinite().all()
    assert softened_labels(edges, 3.0)[1] < 1


def test_an_example_counts_once_for_each_gold_class_and_not_at_all_without() -> None:
    outputs = [torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2]), torch.tensor([0.1, 0.1, 0.8])]
    found = class_decisions(outputs, [[2, 1], [0], []], 3)
    assert found.gold.tolist() == [2, 1, 0]
    assert found.chosen.tolist() == [0, 0, 0], "the first of equals"
    assert class_decisions([], [], 3).probabilities.shape == (0, 3)
