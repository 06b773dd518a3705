"""Trivial predictors for texts: what a model must beat before its score means anything.

Each function takes labelled training rows and gives predictors by name: from rows to one line of numbers a row.
scikit-learn is imported when they are fitted, since it costs seconds that training doesn't need.

Shapes: N rows, C classes, V features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heads import Prediction, Row, TextRow

DECIDES_RESULTS = False

Numbers = npt.NDArray[np.float64]
Lines = Callable[[Sequence[TextRow]], Numbers]
"""From rows to numbers [N, K]."""

_MAX_FEATURES = 50_000  # bounds the memory of a fit; the rarest words and pairs of words go first
_WORD = r"(?u)\w+|[^\w\s]"  # signs count too, so that any text that isn't blank has a feature


def predictor(lines: Lines, prediction: Callable[[Sequence[float]], Prediction]) -> Callable[..., list[Prediction]]:
    """A predictor as heads offer them, from one that gives numbers."""

    def predict(rows: Sequence[Row]) -> list[Prediction]:
        texts = [row for row in rows if isinstance(row, TextRow)]
        assert len(texts) == len(rows)
        return [prediction(line) for line in lines(texts).tolist()] if texts else []

    return predict


def classes(rows: Sequence[TextRow], gold: Sequence[int], num_classes: int) -> dict[str, Lines]:
    """`majority`: the share of each class in training. `tfidf`: logistic regression, where there is more than one.

    Gives probabilities [N, C].
    """
    if not rows:
        return {}
    shares = np.bincount(gold, minlength=num_classes) / len(gold)
    found = {"majority": _constant(shares)}
    if len(set(gold)) > 1 and _has_words(rows):
        found["tfidf"] = _tfidf_classes(rows, gold, num_classes)
    return found


def label_sets(rows: Sequence[TextRow], gold: Sequence[Sequence[int]]) -> dict[str, Lines]:
    """`majority`: the most frequent set of labels. `tfidf`: one logistic regression a label.

    The regressions weigh both classes of a label alike, because most labels are rare and would never be predicted.

    Args:
        rows: The training rows.
        gold: 0 or 1 for each row and label, [N, C].

    Gives probabilities [N, C].
    """
    if not rows:
        return {}
    # The set that came first wins among equals: Counter keeps the order of insertion.
    majority = Counter(tuple(line) for line in gold).most_common(1)[0][0]
    found = {"majority": _constant(np.array(majority, dtype=float))}
    if _has_words(rows):
        found["tfidf"] = _tfidf_labels(rows, np.array(gold))
    return found


def values(rows: Sequence[TextRow], gold: Sequence[float]) -> dict[str, Lines]:
    """`mean`: of training. `tfidf`: ridge regression. `cosine`: a line fitted to the similarity of a pair's texts.

    Gives values [N, 1].
    """
    if not rows:
        return {}
    found = {"mean": _constant(np.array([np.mean(gold)]))}
    if not _has_words(rows):
        return found
    found["tfidf"] = _tfidf_values(rows, gold)
    if all(row.text_pair is not None for row in rows):
        found["cosine"] = _cosine_values(rows, gold)
    return found


def _has_words(rows: Sequence[TextRow]) -> bool:
    return any(row.text.strip() for row in rows)


# --- features ---------------------------------------------------------------------------------------------------------


class _TfIdf:
    """TF-IDF of words and pairs of words, with weights from the training texts.

    A pair gives both texts' weights, their product and their difference [N, 4V]; a text its weights [N, V].
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
        one, other = self._both(rows)
        return hstack([one, other, one.multiply(other), abs(one - other)]).tocsr()

    def cosine(self, rows: Sequence[TextRow]) -> Numbers:
        """The cosine of each pair's weights, [N, 1]; 1 for equal texts."""
        one, other = self._both(rows)
        return np.asarray(one.multiply(other).sum(axis=1), dtype=float).reshape(-1, 1)  # rows have length 1

    def _both(self, rows: Sequence[TextRow]) -> tuple[Any, Any]:
        transform = self._vectorizer.transform
        return transform([row.text for row in rows]), transform([row.text_pair or "" for row in rows])


# --- fitting ----------------------------------------------------------------------------------------------------------


def _constant(line: Numbers) -> Lines:
    return lambda rows: np.tile(line, (len(rows), 1))


def _tfidf_classes(rows: Sequence[TextRow], gold: Sequence[int], num_classes: int) -> Lines:
    features = _TfIdf(rows)
    model = _logistic().fit(features(rows), gold)

    def lines(texts: Sequence[TextRow]) -> Numbers:
        probabilities = np.zeros((len(texts), num_classes))
        probabilities[:, model.classes_] = model.predict_proba(features(texts))
        return probabilities

    return lines


def _tfidf_labels(rows: Sequence[TextRow], gold: npt.NDArray[np.int_]) -> Lines:
    features = _TfIdf(rows)
    seen = features(rows)
    models = [_logistic("balanced").fit(seen, column) if len(set(column)) > 1 else column[0] for column in gold.T]

    def lines(texts: Sequence[TextRow]) -> Numbers:
        inputs = features(texts)
        columns = [
            model.predict_proba(inputs)[:, 1] if hasattr(model, "predict_proba") else np.full(len(texts), float(model))
            for model in models
        ]
        return np.stack(columns, axis=1)

    return lines


def _tfidf_values(rows: Sequence[TextRow], gold: Sequence[float]) -> Lines:
    from sklearn.linear_model import Ridge

    features = _TfIdf(rows)
    model = Ridge().fit(features(rows), gold)
    return lambda texts: np.asarray(model.predict(features(texts)), dtype=float).reshape(-1, 1)


def _cosine_values(rows: Sequence[TextRow], gold: Sequence[float]) -> Lines:
    from sklearn.linear_model import LinearRegression

    features = _TfIdf(rows)
    model = LinearRegression().fit(features.cosine(rows), gold)
    return lambda texts: np.asarray(model.predict(features.cosine(texts)), dtype=float).reshape(-1, 1)


def _logistic(class_weight: str | None = None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, C=10.0, class_weight=class_weight)
