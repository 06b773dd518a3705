"""Linear models on features, and how training rows become features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heads import TextRow
from heads._frozen import (
    PENALTIES,
    STRENGTHS,
    class_probabilities,
    cosines,
    fit_classes,
    fit_labels,
    fit_line,
    fit_values,
    label_probabilities,
    linear,
    sample,
    text_features,
)
from heads.regression import Regression
from tests.heads.properties import HIDDEN, FrozenEmbeddings


def planted(num: int, size: int, num_classes: int, noise: float, seed: int = 0) -> tuple[Any, Any]:
    """Features [N, V] and the class that a linear model of them with noise gives."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, size)) * rng.uniform(0.1, 20, size) + rng.normal(size=size)
    outputs = (features - features.mean(0)) / features.std(0) @ rng.normal(size=(size, num_classes))
    return features, (outputs + noise * rng.normal(size=outputs.shape)).argmax(axis=1)


def documents(num: int) -> list[str]:
    return [f"d{index // 2}" for index in range(num)]


@pytest.mark.parametrize(("num", "size"), [(60, 8), (40, 100)])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_class_probabilities_are_those_of_scikit_learn_with_the_same_strength(
    num: int, size: int, num_classes: int
) -> None:
    features, gold = planted(num, size, num_classes, noise=2.0)
    found = class_probabilities(features, fit_classes(features, gold.tolist(), documents(num), num_classes))
    by_strength = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(features, gold)
        for strength in STRENGTHS
    ]
    differences = [np.abs(model.predict_proba(features) - found).max() for model in by_strength]
    assert min(differences) < 2e-3
    assert sorted(differences)[1] > 1e-2, "no other strength gives these probabilities"


def test_the_strength_is_the_one_that_predicts_left_out_documents_best() -> None:
    """With noise only, the strongest regularisation wins; without noise, a weak one."""
    features, gold = planted(90, 30, 2, noise=0.0)
    sure = class_probabilities(features, fit_classes(features, gold.tolist(), documents(90), 2)).max(axis=1)
    noise = np.random.default_rng(1).integers(0, 2, 90)
    unsure = class_probabilities(features, fit_classes(features, noise.tolist(), documents(90), 2)).max(axis=1)
    assert sure.mean() > 0.85
    assert unsure.mean() < 0.6


def test_a_document_is_never_both_fitted_and_left_out() -> None:
    """Copies of a row in its own document do not make the regularisation weaker."""
    rng = np.random.default_rng(0)
    features, gold = rng.normal(size=(30, 40)), rng.integers(0, 2, 30)
    copies, labels = np.repeat(features, 4, axis=0), np.repeat(gold, 4)
    by_document = [f"d{index // 4}" for index in range(120)]
    grouped = class_probabilities(copies, fit_classes(copies, labels.tolist(), by_document, 2)).max(axis=1)
    apart = class_probabilities(copies, fit_classes(copies, labels.tolist(), list(map(str, range(120))), 2)).max(axis=1)
    assert grouped.mean() < 0.7 < apart.mean()


def test_linearly_separable_classes_and_labels_are_found_exactly() -> None:
    features, gold = planted(200, 10, 3, noise=1.0)
    features += 100 * np.eye(3, 10)[gold]  # a margin
    found = class_probabilities(features, fit_classes(features, gold.tolist(), documents(200), 3))
    assert (found.argmax(axis=1) == gold).all()
    labels = np.eye(3, dtype=int)[gold]
    predicted = label_probabilities(features, fit_labels(features, labels.tolist(), documents(200))) >= 0.5
    assert (predicted == labels).all()


def test_classes_that_training_lacks_have_no_probability() -> None:
    features, gold = planted(40, 5, 2, noise=1.0)
    found = class_probabilities(features, fit_classes(features, (2 * gold).tolist(), documents(40), 4))
    assert found[:, [1, 3]] == pytest.approx(0)
    assert found.sum(axis=1) == pytest.approx(1)
    only = class_probabilities(features, fit_classes(features, [1] * 40, documents(40), 3))
    assert only == pytest.approx(np.tile([0, 1, 0], (40, 1)))


@pytest.mark.parametrize("ids", [["one"] * 40, ["a"] * 20 + ["b"] * 20])
def test_training_rows_that_cannot_be_divided_are_fitted_too(ids: list[str]) -> None:
    """With one document, or a class in each of two, nothing can be left out."""
    features = np.random.default_rng(0).normal(size=(40, 3))
    features[20:] += 10
    gold = [0] * 20 + [1] * 20
    found = class_probabilities(features, fit_classes(features, gold, ids, 2))
    assert (found.argmax(axis=1) == gold).all()


def test_labels_that_all_rows_have_or_none_are_constant() -> None:
    features, gold = planted(40, 5, 2, noise=1.0)
    labels = np.stack([gold, np.ones_like(gold), np.zeros_like(gold)], axis=1)
    found = label_probabilities(features, fit_labels(features, labels.tolist(), documents(40)))
    assert found[:, 1] == pytest.approx(1)
    assert found[:, 2] == pytest.approx(0)
    own = fit_classes(features, gold.tolist(), documents(40), 2)
    assert found[:, 0] == pytest.approx(class_probabilities(features, own)[:, 1], abs=1e-5)


@pytest.mark.parametrize(("num", "size"), [(60, 8), (20, 50)])
def test_values_are_those_of_scikit_learns_ridge_regression(num: int, size: int) -> None:
    features, _ = planted(num, size, 2, noise=1.0)
    gold = (features[:, 0] + np.random.default_rng(1).normal(size=num)).tolist()
    expected = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES)).fit(features, gold).predict(features)
    assert linear(features, fit_values(features, gold))[:, 0] == pytest.approx(expected, abs=1e-4)


def test_one_row_gives_its_own_value() -> None:
    assert linear(np.ones((3, 4)), fit_values(np.zeros((1, 4)), [2.5]))[:, 0] == pytest.approx([2.5] * 3)


def test_features_of_a_pair_are_both_means_their_difference_and_their_product(tokenizer: Any) -> None:
    encoder = FrozenEmbeddings(tokenizer)
    single = [TextRow("1", "1", "aspirin reduces fever"), TextRow("2", "2", "nausea")]
    u, v = text_features(single, encoder)
    ids = tokenizer("aspirin reduces fever")["input_ids"]
    assert u == pytest.approx(encoder.table[ids].mean(axis=0), abs=1e-6)
    pair = text_features([TextRow("3", "3", "aspirin reduces fever", "nausea")], encoder)
    assert pair[0] == pytest.approx(np.concatenate([u, v, np.abs(u - v), u * v]), abs=1e-6)


def test_a_single_text_among_pairs_is_a_pair_with_an_empty_text(tokenizer: Any) -> None:
    encoder = FrozenEmbeddings(tokenizer)
    rows = [TextRow("1", "1", "fever", "nausea"), TextRow("2", "2", "aspirin")]
    together = text_features(rows, encoder)
    weights = np.zeros((4 * HIDDEN + 1, 2), dtype=np.float32)
    assert text_features(rows[1:], encoder, weights) == pytest.approx(together[1:])
    assert text_features(rows[:1], encoder, weights[: HIDDEN + 1]).shape == (1, HIDDEN)


def test_texts_are_cut_at_the_maximum_length(tokenizer: Any) -> None:
    encoder = FrozenEmbeddings(tokenizer, max_length=4)
    found = text_features([TextRow("1", "1", "aspirin reduces fever and nausea")], encoder)
    ids = tokenizer("aspirin reduces")["input_ids"]
    assert found[0] == pytest.approx(encoder.table[ids].mean(axis=0), abs=1e-6)


def test_the_frozen_predictor_of_pairs_is_a_line_through_their_cosines(tokenizer: Any) -> None:
    encoder = FrozenEmbeddings(tokenizer)
    texts = [("aspirin", "aspirin ."), ("fever", "nausea"), ("cox - 2", "the gene"), ("cancer cell", "cell disease")]
    gold = [4.0, 1.0, 0.0, 3.0]
    rows = [
        TextRow(str(i), str(i), *pair, label=label) for i, (pair, label) in enumerate(zip(texts, gold, strict=True))
    ]
    by_hand = []
    for pair in texts:
        u, v = (encoder.table[tokenizer(text)["input_ids"]].mean(axis=0) for text in pair)
        by_hand.append([u @ v / np.sqrt(u @ u * (v @ v))])
    assert cosines(rows, encoder) == pytest.approx(np.array(by_hand), abs=1e-6)
    head = Regression([], HIDDEN, range=(0, 4))
    weights = head.fit_frozen(rows, encoder)
    assert weights is not None
    predicted = [prediction["value"] for prediction in head.predict_frozen(rows, weights, encoder)]
    assert predicted == pytest.approx(LinearRegression().fit(by_hand, gold).predict(by_hand), abs=1e-5)
    assert fit_line(np.array(by_hand), gold) == pytest.approx(weights, abs=1e-5)


def test_a_large_training_set_is_sampled_the_same_way_each_time() -> None:
    sizes = [3, 50, 1, 7] * 25
    indices = sample(sizes, 400)
    assert indices == sample(sizes, 400) == sorted(set(indices))
    assert 350 <= sum(sizes[index] for index in indices) <= 400
    assert sample(sizes, sum(sizes)) == list(range(100))
    assert len(sample([10, 10], 5)) == 1
    assert sample([], 5) == []
