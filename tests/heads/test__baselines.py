from __future__ import annotations

import numpy as np
import pytest

from heads import TextRow
from heads._baselines import classes, label_sets, predictor, values

WORDS = ["aspirin helps", "aspirin helps now", "fever stays", "fever stays long", "aspirin helps again"]


def rows(texts: list[str], pairs: list[str] | None = None) -> list[TextRow]:
    return [TextRow(str(n), "d", text, text_pair=pairs[n] if pairs else None) for n, text in enumerate(texts)]


def test_class_probabilities_add_up_to_1_and_follow_the_words() -> None:
    found = classes(rows(WORDS), [0, 0, 2, 2, 0], 3)
    assert found["majority"](rows(["any"])).tolist() == [[0.6, 0.0, 0.4]]
    probabilities = found["tfidf"](rows(["aspirin helps", "fever stays"]))
    assert probabilities.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert probabilities.argmax(axis=1).tolist() == [0, 2]
    assert not probabilities[:, 1].any()  # a class that training lacks


@pytest.mark.parametrize("texts", [["", " "], ["a", "b"]])
def test_a_model_of_words_needs_words_and_two_classes(texts: list[str]) -> None:
    assert set(classes(rows(texts), [1, 1], 2)) == {"majority"}
    assert ("tfidf" in classes(rows(texts), [0, 1], 2)) == bool(texts[0].strip())


def test_label_sets_predict_the_most_frequent_set_and_constant_labels() -> None:
    gold = [[1, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1]]
    found = label_sets(rows(WORDS), gold)
    assert found["majority"](rows(["any", "other"])).tolist() == [[1, 0, 1]] * 2
    probabilities = found["tfidf"](rows(["aspirin helps", "fever stays"]))
    assert probabilities[:, 1:].tolist() == [[0, 1], [0, 1]]
    assert probabilities[0, 0] > 0.5 > probabilities[1, 0]


def test_values_are_the_mean_a_ridge_and_for_pairs_the_cosine() -> None:
    single = values(rows(WORDS), [1, 1, 3, 3, 2])
    assert single["mean"](rows(["any"])).tolist() == [[2.0]]
    assert set(single) == {"mean", "tfidf"}
    pairs = rows(WORDS, [WORDS[0], "fever stays", "fever stays", "aspirin", WORDS[4]])
    gold = [4.0, 0.0, 4.0, 0.0, 4.0]
    found = values(pairs, gold)
    predicted = found["cosine"](pairs)
    assert predicted.shape == (5, 1)
    assert np.corrcoef(predicted[:, 0], gold)[0, 1] > 0.99


def test_without_rows_there_is_no_predictor_and_a_predictor_of_no_rows_is_empty() -> None:
    assert classes([], [], 2) == label_sets([], []) == values([], []) == {}
    assert predictor(classes(rows(WORDS), [0, 0, 1, 1, 0], 2)["majority"], list)([]) == []
