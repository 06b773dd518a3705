"""The reliability diagram of a task before and after calibration, and what withholding predictions gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mtl.calibration.task_calibration import Reliability


def reliability_figure(before: Reliability, after: Reliability, title: str) -> Figure:
    """How often predictions are right at each confidence, before and after, with the number of predictions below.

    On the right, the risk-coverage curves: the share of errors among the most confident predictions.

    Args:
        before: Reliability at temperature 1.
        after: Reliability at the fitted temperature.
        title: Title of the figure, such as task and split.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.0), layout="constrained")  # not pyplot: it keeps every figure open
    figure.suptitle(title, parse_math=False)
    axes = figure.subplot_mosaic([["before", "after", "risk"], ["b", "a", "risk"]], height_ratios=(3, 1))
    for name, below, one in (("before", "b", before), ("after", "a", after)):
        _draw(axes[name], axes[below], one)
        axes[name].set_title(f"{name}: ECE {one.ece:.3f}, Brier {one.brier:.3f}, NLL {one.nll:.3f}", fontsize=9)
    axes["before"].set_ylabel("observed frequency")
    axes["b"].set_ylabel("number")
    _draw_risk(axes["risk"], before, after)
    return figure


def _draw(upper: Axes, lower: Axes, one: Reliability) -> None:
    confidences = [own.confidence for own in one.bins]
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    upper.plot(confidences, [own.frequency for own in one.bins], marker="o", color="tab:blue")
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    lower.bar(confidences, [own.size for own in one.bins], width=0.03, color="tab:blue")
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence")


def _draw_risk(axes: Axes, before: Reliability, after: Reliability) -> None:
    for name, one, style in (("before", before, "--"), ("after", after, "-")):
        shares = [(place + 1) / len(one.risks) for place in range(len(one.risks))]
        axes.plot(shares, one.risks, style, marker="o", markersize=4, label=f"{name}: AURC {one.aurc:.3f}")
    axes.set_title("errors if only the most confident are kept", fontsize=9)
    axes.set_xlabel("share of predictions kept")
    axes.set_ylabel("share of errors among them")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
