"""Which metrics of a run MLflow shows by default: few enough to read. The folder of the run has all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heads._metrics import PROPORTIONS
from mtl.evaluation import strict

if TYPE_CHECKING:
    from heads import Head

DECIDES_RESULTS = False


def metrics_of_interest(head: Head, options: Mapping[str, Any]) -> list[str]:
    """The primary metric of a task, then those that its options ask for: by name, or by the threshold of a class.

    Args:
        head: Head of the task.
        options: Options of the head.

    >>> from heads.classification import Classification
    >>> options = {"positive": "yes", "metrics": ["mcc"]}
    >>> metrics_of_interest(Classification(["yes", "no"], 8, **options), options)
    ['accuracy', 'mcc']
    """
    asked = {*options.get("metrics", ()), *PROPORTIONS}
    return list(dict.fromkeys([head.primary_metric, *(name for name in head.metrics if name in asked)]))


def main_metrics(shown: Mapping[str, Sequence[str]]) -> Callable[[str], bool]:
    """Returns whether a metric is one of the main ones, by its name.

    Main are the score that selects checkpoints, the metrics of interest of each task on dev and test, on test also the
    scores end to end and the primary metric on seen and on unseen mentions, the primary metric of the strongest trivial
    predictor, losses, the learning rate of the encoder, and whatever the user logs.

    Args:
        shown: The metrics of interest of each task, the primary one first.

    >>> shows = main_metrics({"gad": ["f1"]})
    >>> [name for name in ("val/gad/f1", "val/gad/recall", "val/gad/loss", "data/gad/train/read") if shows(name)]
    ['val/gad/f1', 'val/gad/loss']
    """

    def shows(name: str) -> bool:
        match name.split("/"):
            case ["epoch"]:
                return False
            case ["data", _, *_]:
                return False
            case ["learning_rate", group]:
                return group not in shown
            case ["val", task, metric] if task in shown:
                return metric in (*shown[task], "loss")
            case ["test", task, metric] if task in shown:
                on_mentions = metric.removeprefix("un").removeprefix("seen_") == shown[task][0]
                return metric in shown[task] or on_mentions or metric.startswith(strict.PREFIX)
            case ["baseline", _, task, *rest] if task in shown:
                return rest == [shown[task][0]]
            case _:
                return True

    return shows
