"""The reliability diagram of a task before and after calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mtl.calibration.task_calibration import Reliability


def reliability_figure(before: Reliability, after: Reliability, title: str) -> Figure:
    """How often predictions are right at each confidence, before and after, with the number of predictions below.

    Args:
        before: Reliability at temperature 1.
        after: Reliability at the fitted temperature.
        title: Title of the figure, such as task and split.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), layout="constrained")  # not pyplot: it keeps every figure open
    figure.suptitle(title, parse_math=False)
    grid = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
    for column, (name, one) in enumerate((("before", before), ("after", after))):
        _draw(grid[0, column], grid[1, column], one)
        grid[0, column].set_title(f"{name}: ECE {one.ece:.3f}, Brier {one.brier:.3f}, NLL {one.nll:.3f}", fontsize=9)
    grid[0, 0].set_ylabel("observed frequency")
    grid[1, 0].set_ylabel("number")
    return figure


def _draw(upper: Axes, lower: Axes, one: Reliability) -> None:
    confidences = [own.confidence for own in one.bins]
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    upper.plot(confidences, [own.frequency for own in one.bins], marker="o", color="tab:blue")
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    lower.bar(confidences, [own.size for own in one.bins], width=0.03, color="tab:blue")
    lower.set_xlabel("confidence")
