"""Scores of a confusion matrix, against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from heads import scores

C = 4
NAMES = ("a", "b", "c", "d")
ZERO = {"zero_division": 0.0}

answers = st.lists(st.tuples(st.integers(0, C - 1), st.integers(0, C - 1)), min_size=1, max_size=40)
chosen_classes = st.lists(st.integers(0, C - 1), min_size=1, unique=True)


def confusion_of(pairs: list[tuple[int, int]]) -> torch.Tensor:
    confusion = torch.zeros(C, C, dtype=torch.long)
    for gold, predicted in pairs:
        confusion[gold, predicted] += 1
    return confusion


@given(answers)
def test_accuracy_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    assert float(scores.accuracy(confusion_of(pairs))) == pytest.approx(accuracy_score(gold, predicted))


@given(answers, chosen_classes)
def test_micro_scores_equal_scikit_learn_over_any_classes(pairs: list[tuple[int, int]], classes: list[int]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    expected = precision_recall_fscore_support(gold, predicted, labels=classes, average="micro", **ZERO)[:3]
    assert torch.stack(scores.micro(confusion_of(pairs), classes)).tolist() == pytest.approx(expected)


@given(answers)
def test_micro_f1_of_all_classes_is_the_accuracy(pairs: list[tuple[int, int]]) -> None:
    confusion = confusion_of(pairs)
    assert torch.equal(scores.micro(confusion, range(C))[2], scores.accuracy(confusion))


@given(answers)
@settings(max_examples=500)
def test_macro_f1_of_all_classes_equals_the_default_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    assert float(scores.macro_f1(confusion_of(pairs), range(C))) == pytest.approx(
        f1_score(gold, predicted, average="macro", **ZERO)
    )


@given(answers, chosen_classes)
def test_macro_f1_equals_scikit_learn_over_those_of_any_classes_that_occur(
    pairs: list[tuple[int, int]], classes: list[int]
) -> None:
    gold, predicted = zip(*pairs, strict=True)
    present = [c for c in classes if c in gold or c in predicted]
    expected = f1_score(gold, predicted, labels=present, average="macro", **ZERO) if present else 0.0
    assert float(scores.macro_f1(confusion_of(pairs), classes)) == pytest.approx(expected)


@given(answers, chosen_classes)
def test_the_report_equals_scikit_learn_for_each_class(pairs: list[tuple[int, int]], classes: list[int]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    confusion = confusion_of(pairs)
    report = scores.report(confusion, NAMES, classes)
    lines = zip(*precision_recall_fscore_support(gold, predicted, labels=classes, **ZERO), strict=True)
    expected = [dict(zip(("precision", "recall", "f1", "support"), line, strict=True)) for line in lines]
    assert list(report.per_class) == [NAMES[c] for c in classes]
    assert [report.per_class[NAMES[c]] for c in classes] == [pytest.approx(line) for line in expected]
    assert (report.classes, report.confusion) == (NAMES, confusion.tolist())


def test_an_empty_matrix_scores_0_everywhere() -> None:
    empty = torch.zeros(C, C)
    assert float(scores.accuracy(empty)) == 0.0
    assert torch.stack(scores.micro(empty, [1, 2])).tolist() == [0.0, 0.0, 0.0]
    assert float(scores.macro_f1(empty, [1, 2])) == 0.0


@given(st.lists(answers, min_size=1, max_size=4), chosen_classes)
def test_many_matrices_have_bit_identical_scores_to_each_alone(
    many: list[list[tuple[int, int]]], classes: list[int]
) -> None:
    confusions = [confusion_of(pairs) for pairs in many]
    together = torch.stack(confusions)
    assert scores.accuracy(together).tolist() == [float(scores.accuracy(one)) for one in confusions]
    assert scores.macro_f1(together, classes).tolist() == [float(scores.macro_f1(one, classes)) for one in confusions]
    each = torch.stack([torch.stack(scores.micro(one, classes)) for one in confusions], dim=1)
    assert torch.equal(torch.stack(scores.micro(together, classes)), each)


@pytest.mark.parametrize(
    ("true", "predicted", "gold", "expected"),
    [
        (0, 0, 0, (0, 0, 0)),
        (0, 3, 0, (0, 0, 0)),
        (0, 0, 3, (0, 0, 0)),
        (2, 2, 4, (1, 0.5, 2 / 3)),
        (3, 3, 3, (1, 1, 1)),
    ],
)
def test_precision_recall_and_f1_by_hand(
    true: int, predicted: int, gold: int, expected: tuple[float, float, float]
) -> None:
    found = scores.precision_recall_f1(torch.tensor(true), torch.tensor(predicted), torch.tensor(gold))
    assert torch.stack(found).tolist() == pytest.approx(expected)
