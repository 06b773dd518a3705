"""The figure of the design `sizes`: gain against the number of training rows of the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtl.study.report.presentation import is_known, level, short
from mtl.study.statistics.findings import Findings, SizeGain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ONCE_MORE = "no partner, trained once more"
_APART = 1.03
"""Factor between the places of two lines at the same number of rows, so that their intervals do not overlap."""


def size_curves(findings: Findings) -> Figure:
    """Curves of gain against training rows: a panel for each target, a line with intervals for each partner.

    Args:
        findings: Findings of a study with the design `sizes`.
    """
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(point.target for point in findings.sizes))
    partners = list(dict.fromkeys(point.partner for point in findings.sizes))
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(max(3.4 * columns, 5.0) + 0.4, 2.6 * rows + 1.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in list(panels)[len(targets) :]:
        axes.set_axis_off()
    for axes, target in zip(figure.axes, targets, strict=False):
        points = [point for point in findings.sizes if point.target == target]
        for number, partner in enumerate(partners):
            _draw_line(axes, [point for point in points if point.partner == partner], number)
        _label(axes, points)
        axes.set_title(f"{short(target)} ({findings.targets[target].metric})", fontsize=10, parse_math=False)
    title = f"{findings.study}: gain by size of the target's training set"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)
    figure.supylabel("gain × 100 (positive is better)", fontsize=9)
    lines: dict[str, Any] = {str(one.get_label()): one for axes in figure.axes for one in axes.containers}
    note = f"Mean over {len(findings.seeds)} seeds with its {level(findings)} interval; partners have all of their rows"
    legend = figure.legend(
        list(lines.values()),
        list(lines),
        title=note,
        loc="outside lower left",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        ncols=3,
    )
    legend.set_alignment("left")
    return figure


def _draw_line(axes: Axes, points: Sequence[SizeGain], number: int) -> None:
    shown = sorted((point for point in points if point.cell.n), key=lambda point: point.num_rows)
    if not shown:
        return
    means = [100 * point.cell.mean for point in shown]
    ends = [
        (100 * point.cell.interval.low, 100 * point.cell.interval.high)
        if is_known(point.cell.interval)
        else (mean, mean)
        for point, mean in zip(shown, means, strict=True)
    ]
    is_alone = not shown[0].partner
    axes.errorbar(
        [point.num_rows * _APART**number for point in shown],
        means,
        yerr=[
            [mean - low for mean, (low, _) in zip(means, ends, strict=True)],
            [high - mean for mean, (_, high) in zip(means, ends, strict=True)],
        ],
        color="#6b6b6b" if is_alone else f"C{number}",
        linestyle="--" if is_alone else "-",
        marker="o",
        markersize=3.5,
        linewidth=1.5,
        elinewidth=1.0,
        capsize=2,
        label=_ONCE_MORE if is_alone else f"with {short(shown[0].partner)}",
    )


def _label(axes: Axes, points: Sequence[SizeGain]) -> None:
    from matplotlib.ticker import NullFormatter

    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    sizes = sorted({point.num_rows for point in points})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training rows of the target", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)
    # With two seeds, an interval reaches 13 standard errors to either side.
    most = max(5.0, 8 * max((abs(100 * point.cell.mean) for point in points if point.cell.n), default=0.0))
    low, high = axes.get_ylim()
    if not math.isfinite(low + high):
        return
    axes.set_ylim(max(low, -most), min(high, most))
