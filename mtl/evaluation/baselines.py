"""Scores of trivial predictors, from the same counts as the model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from heads import Head, Prediction, Row
from mtl.data.examples import TaskData
from mtl.evaluation.scoring import score_rows

Scores = dict[str, float]

Predictor = Callable[[Sequence[Row]], list[Prediction]]
"""From rows to the prediction for each of them."""

Frozen = Callable[[str, Head, TaskData, str], Scores | None]
"""From task, head, splits and the name of a split to the scores of `frozen`; None if it has none."""


def trivial_baselines(
    heads: Mapping[str, Head], data: Mapping[str, TaskData], split: str, frozen: Frozen | None = None
) -> dict[str, dict[str, Scores]]:
    """The scores of trivial predictors, fitted on train, by task and predictor.

    They are scored on the rows that the model is scored on. Tasks without the split are left out. If the head of a task
    chooses thresholds on dev, so does each predictor, and one that does not reach what is required there is left out.

    Args:
        heads: The head of each task.
        data: The splits of each task.
        split: Name of the split to score.
        frozen: Scores the predictor `frozen`, such as a `FrozenBaseline`; None leaves it out.
    """
    found = {
        name: fitted_baselines(
            heads[name], splits["train"].rows, splits[split].rows, splits["dev"].rows if "dev" in splits else ()
        )
        for name, splits in data.items()
        if split in splits
    }
    for name, scores in found.items():
        of_frozen = frozen(name, heads[name], data[name], split) if frozen is not None else None
        if of_frozen is not None:
            scores["frozen"] = of_frozen
    return found


def usable_rows(head: Head, rows: Iterable[Row]) -> list[Row]:
    """The rows that this head can read and score."""
    return list(_usable(head, rows))


def _usable(head: Head, rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if isinstance(row, head.row_type) and head.check(row) is None and head.is_labelled(row))


def score_predictions(head: Head, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Scores:
    """The scores of one prediction for each row; there must be at least one row."""
    return score_rows(head, zip(rows, predictions, strict=True)).scores


def fitted_baselines(
    head: Head, train_rows: Iterable[Row], rows: Iterable[Row], dev_rows: Iterable[Row] = ()
) -> dict[str, Scores]:
    """The scores of the trivial predictors of a head on some rows, by predictor.

    Args:
        head: The head.
        train_rows: Rows on which they are fitted.
        rows: Rows to score; without any that the head can score, there are no predictors.
        dev_rows: Rows on which they choose thresholds, if the head does.
    """
    scored = usable_rows(head, rows)
    predictors = head.baselines(_usable(head, train_rows)) if scored else {}
    dev = usable_rows(head, dev_rows) if predictors and head.is_tuned else []
    found = {name: scores_at_goal(head, predict, scored, dev) for name, predict in predictors.items()}
    return {name: scores for name, scores in found.items() if scores is not None}


def scores_at_goal(head: Head, predict: Predictor, rows: Sequence[Row], dev: Sequence[Row]) -> Scores | None:
    """The scores of a trivial predictor, whose thresholds serve the goal of a tuned head best on dev.

    Args:
        head: The head.
        predict: The predictor.
        rows: Rows to score, which the head can score; at least one.
        dev: Rows of dev, which the head can score; empty if the head tunes nothing, or there are none.

    Returns:
        The scores; None if the predictor does not reach a required value on dev, such as a sensitivity.
    """
    predictions = predict(rows)
    if dev:
        decide = head.tuned_decision(dev, predictions if dev == rows else predict(dev))
        if decide is None:
            return None
        predictions = [decide(prediction) for prediction in predictions]
    return score_predictions(head, rows, predictions)
