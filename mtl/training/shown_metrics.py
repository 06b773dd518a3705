"""Which metrics of a run MLflow shows by default: few enough to read. The folder of the run has all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

DECIDES_RESULTS = False


def main_metrics(primary: Mapping[str, str]) -> Callable[[str], bool]:
    """Returns whether a metric is one of the main ones, by its name.

    Main are the score that selects checkpoints, the primary metric of each task on dev and test, on test also that on
    seen and on unseen mentions, that of its strongest trivial predictor, its losses, the learning rate of the encoder,
    and whatever the user logs.

    Args:
        primary: The primary metric of each task.

    >>> shows = main_metrics({"gad": "f1"})
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
                return group not in primary
            case ["val", task, metric] if task in primary:
                return metric in (primary[task], "loss")
            case ["test", task, metric] if task in primary:
                return metric.removeprefix("un").removeprefix("seen_") == primary[task]
            case ["baseline", _, task, *rest] if task in primary:
                return rest == [primary[task]]
            case _:
                return True

    return shows
