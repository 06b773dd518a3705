"""Trivial predictors for texts, which show what a model must beat.

Each function takes labelled training rows and returns fitted predictors by name. scikit-learn is imported when they are
fitted, because its import takes seconds and training does not need it.

Shapes: N rows, C classes, K values of a row, V features.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heads import Prediction, Row, TextRow

DECIDES_RESULTS = False

Numbers = npt.NDArray[np.float64]
Fitted = Callable[[Sequence[TextRow]], Numbers]
"""From rows to their values, [N, K]."""

_MAX_FEATURES = 50_000  # bounds the memory of a fit; the rarest words and pairs of words are dropped first
_WORD = r"(?u)\w+|[^\w\s]"  # punctuation counts too, so that every text that is not blank has a feature


def predictor(fitted: Fitted, prediction: Callable[[Sequence[float]], Prediction]) -> Callable[..., list[Prediction]]:
    """A predictor in the form that `Head.baselines` returns.

    Args:
        fitted: Returns the values of each row.
        prediction: Turns the values of one row into its prediction.
    """

    def predict(rows: Sequence[Row]) -> list[Prediction]:
        texts = [row for row in rows if isinstance(row, TextRow)]
        assert len(texts) == len(rows)
        return [prediction(values) for values in fitted(texts).tolist()] if texts else []

    return predict


def classes(rows: Sequence[TextRow], gold: Sequence[int], num_classes: int) -> dict[str, Fitted]:
    """Predictors of class probabilities, [N, C].

    `majority` returns the share of each class in training. `tfidf` is a logistic regression, fitted only if the
    training rows have more than one class.

    Args:
        rows: Training rows.
        gold: Class index of each row.
        num_classes: C.
    """
    if not rows:
        return {}
    shares = np.bincount(gold, minlength=num_classes) / len(gold)
    predictors = {"majority": _constant(shares)}
    if len(set(gold)) > 1 and _has_words(rows):
        predictors["tfidf"] = _tfidf_classes(rows, gold, num_classes)
    return predictors


def label_sets(rows: Sequence[TextRow], gold: Sequence[Sequence[int]]) -> dict[str, Fitted]:
    """Predictors of label probabilities, [N, C].

    `majority` returns the most frequent set of labels, as zeros and ones. `tfidf` is one logistic regression per label,
    with balanced class weights, because most labels are rare and would never be predicted otherwise.

    Args:
        rows: Training rows.
        gold: 0 or 1 for each row and label, [N, C].
    """
    if not rows:
        return {}
    # Of equally frequent sets the first in training wins, since Counter keeps the order of insertion.
    majority = Counter(tuple(labels) for labels in gold).most_common(1)[0][0]
    predictors = {"majority": _constant(np.array(majority, dtype=float))}
    if _has_words(rows):
        predictors["tfidf"] = _tfidf_labels(rows, np.array(gold))
    return predictors


def values(rows: Sequence[TextRow], gold: Sequence[float]) -> dict[str, Fitted]:
    """Predictors of a number, [N, 1].

    `mean` returns the mean of the training rows. `tfidf` is a ridge regression. `cosine` is a linear regression on the
    cosine similarity of the two texts, fitted only if all rows are pairs.

    Args:
        rows: Training rows.
        gold: Label of each row.
    """
    if not rows:
        return {}
    predictors = {"mean": _constant(np.array([np.mean(gold)]))}
    if not _has_words(rows):
        return predictors
    predictors["tfidf"] = _tfidf_values(rows, gold)
    if all(row.text_pair is not None for row in rows):
        predictors["cosine"] = _cosine_values(rows, gold)
    return predictors


def shares(
    keys: Sequence[Hashable], gold: Sequence[int], num_classes: int
) -> Callable[[Sequence[Hashable]], list[list[float]]]:
    """A predictor of class probabilities from a key, such as an entity type: the shares of the classes among its items.

    A key without training items has the shares of the classes among all of them.

    Args:
        keys: The key of each training item.
        gold: Class index of each item.
        num_classes: C.

    >>> shares(["Drug", "Drug", "Sign"], [0, 1, 1], 2)(["Drug", "Sign"])
    [[0.5, 0.5], [0.0, 1.0]]
    """
    counts: defaultdict[Hashable, Counter[int]] = defaultdict(Counter)
    for key, label in zip(keys, gold, strict=True):
        counts[key][label] += 1
    everything = Counter(gold)

    def of(key: Hashable) -> list[float]:
        own = counts.get(key, everything)
        return [own[label] / own.total() for label in range(num_classes)]

    return lambda keys: [of(key) for key in keys]


def _has_words(rows: Sequence[TextRow]) -> bool:
    return any(row.text.strip() for row in rows)


# --- features ---------------------------------------------------------------------------------------------------------


class _TfIdf:
    """TF-IDF weights of words and pairs of adjacent words, fitted on the training texts.

    For single texts, the features are their weights, [N, V]. For pairs, they are the weights of both texts, their
    product and their absolute difference, [N, 4V].
    """

    def __init__(self, rows: Sequence[TextRow]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._is_pair = any(row.text_pair is not None for row in rows)
        self._vectorizer = TfidfVectorizer(
            token_pattern=_WORD, ngram_range=(1, 2), sublinear_tf=True, max_features=_MAX_FEATURES
        )
        self._vectorizer.fit([text for row in rows for text in (row.text, row.text_pair) if text is not None])

    def __call__(self, rows: Sequence[TextRow]) -> Any:
        from scipy.sparse import hstack

        if not self._is_pair:
            return self._vectorizer.transform([row.text for row in rows])
        first, second = self._both(rows)
        return hstack([first, second, first.multiply(second), abs(first - second)]).tocsr()

    def cosine(self, rows: Sequence[TextRow]) -> Numbers:
        """The cosine similarity of the two texts of each row, [N, 1]; 1 for equal texts."""
        first, second = self._both(rows)
        return np.asarray(first.multiply(second).sum(axis=1), dtype=float).reshape(-1, 1)  # weights have norm 1

    def _both(self, rows: Sequence[TextRow]) -> tuple[Any, Any]:
        transform = self._vectorizer.transform
        return transform([row.text for row in rows]), transform([row.text_pair or "" for row in rows])


# --- fitting ----------------------------------------------------------------------------------------------------------


def _constant(values: Numbers) -> Fitted:
    return lambda rows: np.tile(values, (len(rows), 1))


def _tfidf_classes(rows: Sequence[TextRow], gold: Sequence[int], num_classes: int) -> Fitted:
    features = _TfIdf(rows)
    model = _logistic().fit(features(rows), gold)

    def probabilities(texts: Sequence[TextRow]) -> Numbers:
        result = np.zeros((len(texts), num_classes))
        result[:, model.classes_] = model.predict_proba(features(texts))
        return result

    return probabilities


def _tfidf_labels(rows: Sequence[TextRow], gold: npt.NDArray[np.int_]) -> Fitted:
    features = _TfIdf(rows)
    train = features(rows)
    # A label that all training rows have, or none, is a constant.
    models = [_logistic("balanced").fit(train, column) if len(set(column)) > 1 else column[0] for column in gold.T]

    def probabilities(texts: Sequence[TextRow]) -> Numbers:
        inputs = features(texts)
        columns = [
            model.predict_proba(inputs)[:, 1] if hasattr(model, "predict_proba") else np.full(len(texts), float(model))
            for model in models
        ]
        return np.stack(columns, axis=1)

    return probabilities


def _tfidf_values(rows: Sequence[TextRow], gold: Sequence[float]) -> Fitted:
    from sklearn.linear_model import Ridge

    features = _TfIdf(rows)
    model = Ridge().fit(features(rows), gold)
    return lambda texts: np.asarray(model.predict(features(texts)), dtype=float).reshape(-1, 1)


def _cosine_values(rows: Sequence[TextRow], gold: Sequence[float]) -> Fitted:
    from sklearn.linear_model import LinearRegression

    features = _TfIdf(rows)
    model = LinearRegression().fit(features.cosine(rows), gold)
    return lambda texts: np.asarray(model.predict(features.cosine(texts)), dtype=float).reshape(-1, 1)


def _logistic(class_weight: str | None = None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, C=10.0, class_weight=class_weight)
