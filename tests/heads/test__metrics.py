"""Which metrics a head computes."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from heads import _proportions, _ranking_metrics
from heads._metrics import functions_of, mean_over_classes, selected_metrics

SHOWN, OPTIONAL = ("accuracy", "f1"), ("auroc", "fpr")


def test_the_primary_metric_is_first_and_no_metric_is_computed_twice() -> None:
    assert selected_metrics(SHOWN, OPTIONAL, [], "accuracy") == ("accuracy", "f1")
    assert selected_metrics(SHOWN, OPTIONAL, ["f1", "fpr", "auroc"], "auroc") == ("auroc", "accuracy", "f1", "fpr")


def test_an_unknown_name_is_rejected_with_the_most_similar_one() -> None:
    with pytest.raises(ValueError, match=r"metrics.*accuracy, f1, auroc, fpr.*'auruc'.*'auroc'"):
        selected_metrics(SHOWN, OPTIONAL, ["auruc"], "f1")
    with pytest.raises(ValueError, match=r"primary_metric.*'auruc'.*'auroc'"):
        selected_metrics(SHOWN, OPTIONAL, [], "auruc")


def test_a_metric_for_which_lower_is_better_cannot_be_primary() -> None:
    lower = frozenset({"fpr"})
    assert "fpr" in selected_metrics(SHOWN, OPTIONAL, ["fpr"], "f1", lower)
    with pytest.raises(ValueError, match=r"primary_metric.*'fpr'"):
        selected_metrics(SHOWN, OPTIONAL, [], "fpr", lower)


def test_the_metrics_of_a_module_are_the_public_functions_that_it_defines() -> None:
    assert set(functions_of(_ranking_metrics)) == {"auroc", "auprc"}
    assert set(functions_of(_proportions)) == {"sensitivity", "specificity", "ppv", "npv"}


def test_the_mean_leaves_out_classes_that_all_or_no_rows_of_a_corpus_have() -> None:
    probabilities = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.3, 0.4], [0.6, 0.1, 0.7], [0.4, 0.8, 0.1]])
    gold = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 0]]).bool()
    times = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    found = mean_over_classes(_ranking_metrics.auroc, probabilities, gold, times)
    # In the second corpus, no row has the second class and both have the third.
    expected = [roc_auc_score(gold, probabilities, average="macro"), roc_auc_score([1, 0], [0.9, 0.1])]
    assert found.tolist() == pytest.approx(expected)
    assert float(mean_over_classes(_ranking_metrics.auroc, probabilities, gold, torch.zeros(4))) == 0.0
