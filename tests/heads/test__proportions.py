"""Proportions of a 2 x 2 table, against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from heads import _proportions, scores
from heads._metrics import functions_of

cases = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(cases)
def test_proportions_equal_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    table = torch.from_numpy(confusion_matrix(gold, predicted, labels=[False, True]))
    found = {name: float(scores.ratio(*metric(table))) for name, metric in functions_of(_proportions).items()}
    assert found == pytest.approx(
        {
            "sensitivity": recall_score(gold, predicted, zero_division=0),
            "specificity": recall_score(gold, predicted, pos_label=False, zero_division=0),
            "ppv": precision_score(gold, predicted, zero_division=0),
            "npv": precision_score(gold, predicted, pos_label=False, zero_division=0),
        }
    )


def test_many_tables_give_the_counts_of_each() -> None:
    tables = torch.arange(8).reshape(2, 2, 2)
    for metric in functions_of(_proportions).values():
        part, whole = metric(tables)
        assert [(int(p), int(w)) for p, w in zip(part, whole, strict=True)] == [
            tuple(int(count) for count in metric(table)) for table in tables
        ]
