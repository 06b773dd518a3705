"""The trivial predictor `frozen`: a linear model on states of the encoder without fine-tuning.

Features are standardised. The strength of the regularisation is chosen on a fixed grid by cross-validation inside the
training rows, with whole documents in each fold. Nothing is drawn at random except the sample of a large training set,
which is always the same. scikit-learn is imported when a model is fitted, because its import takes seconds and training
does not need it.

Shapes: N items (texts, candidate pairs or words), H hidden size, V features, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heads import FrozenEncoder, PooledInput, TextRow
from heads._sequences import Text
from heads._text import encode_texts

DECIDES_RESULTS = False

Numbers = npt.NDArray[Any]
Weights = npt.NDArray[np.float32]
"""A linear model, [V + 1, C]; the last line is the bias."""

MAX_TEXTS = 20_000
"""Maximum number of training texts, pairs of texts or candidate pairs; a larger training set is sampled."""

MAX_WORDS = 50_000
"""Maximum number of training words of a tagger; a larger training set is sampled by rows."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The grid of C, the inverse of the regularisation strength of a logistic regression."""

PENALTIES = tuple(float(10.0**exponent) for exponent in range(-2, 6))
"""The grid of the penalty of a ridge regression."""

_FOLDS = 3
_MANY = 2000  # items above which one fold is enough to choose the strength
_DEFAULT_STRENGTH = 1e-2  # if the training rows cannot be divided
_MAX_ITERATIONS = 1000
_CERTAIN = 100.0  # logits and log-likelihoods that stand for a probability of 0 or 1


def sample(sizes: Sequence[int], most: int) -> list[int]:
    """The indices of the training rows to use: all, or a fixed random sample with at most `most` items.

    Args:
        sizes: Number of items of each row.
        most: Maximum number of items; at least one row is used.

    >>> sample([2, 3], 5), len(sample([1] * 10, 4))
    ([0, 1], 4)
    """
    if sum(sizes) <= most:
        return list(range(len(sizes)))
    order = np.random.default_rng(0).permutation(len(sizes))
    within = np.searchsorted(np.cumsum(np.asarray(sizes)[order]), most, side="right")
    return sorted(order[: max(1, int(within))].tolist())


def sampled(rows: Sequence[TextRow]) -> list[TextRow]:
    """The training texts to use: all, or a fixed random sample of at most `MAX_TEXTS`."""
    return [rows[index] for index in sample([1] * len(rows), MAX_TEXTS)]


# --- features ---------------------------------------------------------------------------------------------------------


def text_features(rows: Sequence[TextRow], encoder: FrozenEncoder, weights: Weights | None = None) -> Numbers:
    """Mean states over all tokens: u [N, H] of single texts, or [u, v, |u - v|, u * v] of pairs [N, 4H].

    The two texts of a pair are encoded separately.

    Args:
        rows: Texts or pairs.
        encoder: Gives the states.
        weights: The model that reads the features, whose size decides which they are; None if it is to be fitted, and
            the features are those of pairs if any row is one.
    """
    first = text_means([row.text for row in rows], encoder)
    is_pair = any(row.text_pair is not None for row in rows) if weights is None else len(weights) > first.shape[1] + 1
    if not is_pair:
        return first
    second = text_means([row.text_pair or "" for row in rows], encoder)
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


def cosines(rows: Sequence[TextRow], encoder: FrozenEncoder) -> Numbers:
    """The cosine of the mean states of the two texts of each row, [N, 1]."""
    first = text_means([row.text for row in rows], encoder)
    second = text_means([row.text_pair or "" for row in rows], encoder)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / np.maximum(lengths, 1e-12)).reshape(-1, 1)


def text_means(texts: Sequence[Text], encoder: FrozenEncoder) -> Numbers:
    """The mean state over all tokens of each text, special tokens included, [N, H]."""
    examples = encode_texts(texts, encoder.tokenizer, encoder.max_length)
    inputs = [PooledInput(example, [range(len(example["input_ids"]))]) for example in examples]
    return np.concatenate(encoder.means(inputs)).astype(np.float64)


# --- linear models ----------------------------------------------------------------------------------------------------


def class_probabilities(features: Numbers, weights: Weights) -> Numbers:
    """The softmax of a linear model, [N, C]."""
    logits = linear(features, weights)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def label_probabilities(features: Numbers, weights: Weights) -> Numbers:
    """The sigmoid of a linear model, [N, C]."""
    from scipy.special import expit

    return np.asarray(expit(linear(features, weights)))


def linear(features: Numbers, weights: Weights) -> Numbers:
    """The outputs of a linear model, [N, C]."""
    of_model = weights.astype(np.float64)
    return np.asarray(features @ of_model[:-1] + of_model[-1])


def fit_classes(features: Numbers, gold: Sequence[int], documents: Sequence[str], num_classes: int) -> Weights:
    """A logistic regression over exclusive classes.

    Args:
        features: Features of the training items, [N, V].
        gold: Class index of each item; classes that do not occur are never predicted.
        documents: Document of each item.
        num_classes: C.
    """
    labels = np.asarray(gold)
    weights = np.zeros((features.shape[1] + 1, num_classes))
    weights[-1] = -_CERTAIN
    if len(np.unique(labels)) == 1:
        weights[-1, labels[0]] = _CERTAIN
        return weights.astype(np.float32)
    scaled, unscaled = _standardised(features)
    model = _fit(_logistic(_strength(scaled, labels, documents)), scaled, labels)
    # With two classes, scikit-learn has the weights of the second class only.
    binary = len(model.classes_) == 2
    coefficients = np.concatenate([-model.coef_, model.coef_]) / 2 if binary else model.coef_
    biases = np.concatenate([-model.intercept_, model.intercept_]) / 2 if binary else model.intercept_
    weights[:, model.classes_] = unscaled(coefficients, biases)
    return weights.astype(np.float32)


def fit_labels(features: Numbers, gold: Sequence[Sequence[int]], documents: Sequence[str]) -> Weights:
    """One logistic regression per label.

    Args:
        features: Features of the training items, [N, V].
        gold: 0 or 1 for each item and label, [N, C].
        documents: Document of each item.
    """
    # The sigmoid of the difference of two outputs is the softmax of the two.
    models = [fit_classes(features, labels.tolist(), documents, 2) for labels in np.asarray(gold).T]
    return np.stack([weights[:, 1] - weights[:, 0] for weights in models], axis=1)


def fit_values(features: Numbers, gold: Sequence[float]) -> Weights:
    """A ridge regression whose penalty has the smallest leave-one-out error.

    Args:
        features: Features of the training items, [N, V].
        gold: Number of each item.
    """
    from sklearn.linear_model import RidgeCV

    scaled, unscaled = _standardised(features)
    if len(gold) < 2:  # nothing can be left out
        return unscaled(np.zeros((1, scaled.shape[1])), np.asarray(gold, dtype=np.float64)).astype(np.float32)
    model = RidgeCV(alphas=PENALTIES).fit(scaled, gold)
    return unscaled(model.coef_.reshape(1, -1), np.array([model.intercept_])).astype(np.float32)


def fit_line(features: Numbers, gold: Sequence[float]) -> Weights:
    """A linear regression on one feature, without regularisation.

    Args:
        features: Feature of the training items, [N, 1].
        gold: Number of each item.
    """
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(features, gold)
    return np.array([[model.coef_[0]], [model.intercept_]], dtype=np.float32)


def _standardised(features: Numbers) -> tuple[Numbers, Callable[[Numbers, Numbers], Numbers]]:
    """Features with mean 0 and standard deviation 1, and a function that returns weights for the original features.

    With more features than items, the standardised features are rotated into as many dimensions as there are items.
    That changes no model with an L2 penalty, and a fit is faster.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    scaled = (features - mean) / deviation
    rotation: Numbers | None = None
    if features.shape[0] < features.shape[1]:
        rotation = np.linalg.svd(scaled, full_matrices=False)[2]  # [N, V]
        scaled = scaled @ rotation.T

    def unscaled(coefficients: Numbers, biases: Numbers) -> Numbers:
        own = coefficients if rotation is None else coefficients @ rotation
        own = own / deviation  # [C, V]
        return np.concatenate([own.T, (biases - own @ mean)[None]])

    return scaled, unscaled


def _strength(features: Numbers, gold: Numbers, documents: Sequence[str]) -> float:
    """The C with the highest log-likelihood of documents that were left out; the smallest of equals."""
    totals = np.zeros(len(STRENGTHS))
    for fitted, scored in _folds(gold, documents):
        model = _logistic(STRENGTHS[0], warm_start=True)
        for place, strength in enumerate(STRENGTHS):
            _fit(model.set_params(C=strength), features[fitted], gold[fitted])
            columns = np.searchsorted(model.classes_, gold[scored])
            log_likelihoods = model.predict_log_proba(features[scored])[np.arange(len(columns)), columns]
            totals[place] += np.maximum(log_likelihoods, -_CERTAIN).sum()
    return STRENGTHS[int(totals.argmax())] if totals.any() else _DEFAULT_STRENGTH


def _folds(gold: Numbers, documents: Sequence[str]) -> Iterator[tuple[Numbers, Numbers]]:
    """Masks of the items to fit on and of those to score: the rest, without classes that only the rest has."""
    number = {document: place for place, document in enumerate(dict.fromkeys(documents))}
    fold = np.array([number[document] % _FOLDS for document in documents])
    for left_out in range(1 if len(gold) > _MANY else _FOLDS):
        held_out = fold == left_out
        classes = np.unique(gold[~held_out])
        known = held_out & np.isin(gold, classes)
        if known.any() and len(classes) > 1:
            yield ~held_out, known


def _logistic(strength: float, *, warm_start: bool = False) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS, warm_start=warm_start)


def _fit(model: Any, features: Numbers, gold: Numbers) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not quite optimal is a predictor, too
        return model.fit(features, gold)
