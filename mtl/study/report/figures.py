"""The figures of a study: heat maps of gains, and a forest plot and learning curves for each target.

They show only task names and numbers, and are readable for up to 12 tasks.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mtl.study.report.presentation import (
    CAUTION,
    MARKS,
    Matrix,
    State,
    family_of,
    is_known,
    level,
    matrix_of,
    nearer_bound,
    noise_floor,
    p_statement,
    partner_phrase,
    points,
    short,
    span,
    state,
)
from mtl.study.report.size_curves import size_curves
from mtl.study.statistics.findings import Curve, Family, Findings, Gain
from mtl.study.statistics.significance import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_COLOURS: dict[State, str] = {
    "helps": "#1f5fa8",
    "matched": "#5b7083",
    "hurts": "#b3261e",
    "undecided": "#4d4d4d",
    "unresolvable": "#8a8a8a",
    "control": "#000000",
    "missing": "#8a8a8a",
}
_POINTS: dict[State, str] = {
    "helps": "^",
    "matched": "^",
    "hurts": "v",
    "undecided": "o",
    "unresolvable": "o",
    "control": "D",
}
_WITH_PARTNER = "#1f5fa8"


def study_figures(findings: Findings) -> dict[str, Figure]:
    """All figures by name: heat_map_<design>, forest_<target>, curves_<target> and sizes."""
    figures = {f"heat_map_{f.design}": heat_map(findings, f.design) for f in findings.families if f.gains}
    with_gains = {gain.target for family in findings.families for gain in family.gains}
    figures |= {f"forest_{task}": forest_plot(findings, task) for task in findings.targets if task in with_gains}
    with_curves = {curve.target for curve in findings.curves}
    figures |= {f"curves_{t}": learning_curves(findings, t) for t in findings.targets if t in with_curves}
    if findings.sizes:
        figures["sizes"] = size_curves(findings)
    for figure in figures.values():  # laid out once; each save would do so again, which takes as long as drawing
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figures


# --- heat map ---------------------------------------------------------------------------------------------------------


def heat_map(findings: Findings, design: str) -> Figure:
    """A heat map of gains: targets in rows, partners in columns, positive gains blue and negative gains red.

    The number is the mean gain. The colour follows the bound of its interval that is nearer to 0, so that unresolved
    gains stay pale.

    Args:
        findings: Findings of the study.
        design: Name of a design or control.

    Raises:
        InputError: If the study has no design or control of this name.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    family = family_of(findings, design)
    matrix = matrix_of(findings, family)
    limit = 100 * colour_limit(findings)
    width, height = 1.0 * len(matrix.columns), 0.62 * len(matrix.rows)
    figure = Figure(figsize=(max(width + 3.6, 6.5), height + 2.2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(_bounds(matrix), cmap=_colour_map(), norm=Normalize(-limit, limit), aspect="auto")
    for i, row in enumerate(matrix.rows):
        for j, column in enumerate(matrix.columns):
            _draw_cell(axes, (i, j), matrix.cells.get((row, column)), family, len(findings.seeds))
    _label(axes, matrix, findings, family)
    axes.set_title(f"{findings.study}: {design}", loc="left", fontsize=12, fontweight="bold", parse_math=False, pad=10)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3.5 / height), aspect=18, pad=0.02)
    bar.set_label(f"gain × 100: bound of the {level(findings)}\ninterval nearer to 0", fontsize=8)
    bar.outline.set_visible(False)
    figure.supxlabel(_wrapped(heat_map_legend(findings, family), figure.get_figwidth()), x=0.01, ha="left", fontsize=8)
    return figure


def heat_map_legend(findings: Findings, family: Family) -> str:
    """The meaning of the marks and numbers of a matrix."""
    numbers = (
        f"Number: mean gain × 100 over {len(findings.seeds)} seeds, in the target's own metric (positive is better);"
        f" below it the {level(findings)} interval. Colour: the bound of the interval that is nearer to 0; neutral if"
        " the interval includes 0."
    )
    if any(gain.collapsed for gain in family.gains):
        numbers += f" {CAUTION} caution: a run of the cell collapsed."
    if family.is_control:
        return f"{numbers} Control: no conclusions are drawn from it."
    states = {state(gain, family) for gain in family.gains}
    marks = []
    if states & {"helps", "matched", "hurts", "undecided"}:
        marks += [f"▲ helps, ▼ hurts (framed): significant, adjusted p ≤ {findings.alpha:g}"]
        if "matched" in states:
            marks += ["△ matched: significant, but no more than further training brings"]
        marks += ["· undecided: not significant"]
    if "unresolvable" in states:
        marks += [f"? unresolvable: too few seeds for any p ≤ {findings.alpha:g}"]
    return f"{'; '.join(marks)}. {numbers}" if marks else numbers


def colour_limit(findings: Findings) -> float:
    """The bound with the strongest colour: the largest of the study, so that all its matrices share one colour scale.

    It is at least one point, so that noise stays pale.
    """
    gains = [gain for family in findings.families for gain in family.gains]
    return max([0.01, *(abs(nearer_bound(gain.cell.interval)) for gain in gains if gain.cell.n)])


def cell_colour(bound: float, limit: float) -> str:
    """The colour of a gain as #rrggbb; black text is readable on it.

    Args:
        bound: Bound of its interval that is nearer to 0.
        limit: Bound with the strongest colour.
    """
    from matplotlib.colors import to_hex

    return to_hex(_colour_map()(0.5 + 0.5 * bound / limit))


@cache
def _colour_map() -> Colormap:
    """Red to white to blue, safe for colour-blind readers; without the dark ends, so that black text is readable."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    whole = colormaps["RdBu"]
    return LinearSegmentedColormap.from_list("gain", [whole(0.2 + 0.6 * i / 32) for i in range(33)])


def _bounds(matrix: Matrix) -> list[list[float]]:
    def bound(gain: Gain | None) -> float:
        return 100 * nearer_bound(gain.cell.interval) if gain is not None and gain.cell.n else math.nan

    return [[bound(matrix.cells.get((row, column))) for column in matrix.columns] for row in matrix.rows]


def _draw_cell(axes: Axes, place: tuple[int, int], gain: Gain | None, family: Family, num_seeds: int) -> None:
    from matplotlib.patches import Rectangle

    row, column = place
    centre: dict[str, Any] = {"ha": "center", "va": "center"}
    corner = (column - 0.5, row - 0.5)
    if gain is None:
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="none"))
        axes.text(column, row, "–", color="#8a8a8a", fontsize=9, **centre)
        return
    shown = state(gain, family)
    if shown == "missing":
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="#b0b0b0", hatch="////", linewidth=0))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(column, row, "missing", fontsize=7.5, bbox=box, **centre)
        return
    is_significant = shown in ("helps", "hurts")
    if is_significant:
        inner = (corner[0] + 0.03, corner[1] + 0.04)
        axes.add_patch(Rectangle(inner, 0.94, 0.92, fill=False, edgecolor="black", linewidth=1.4))
    caution = f" {CAUTION}" if gain.collapsed else ""
    text = f"{MARKS[shown]} {points(gain.cell.mean, 1)}{caution}".strip()
    weight = "bold" if is_significant else "normal"
    axes.text(column, row - 0.14, text, fontsize=10, fontweight=weight, **centre)
    below = span(gain.cell.interval, 1)
    below += f", n={gain.cell.n}" if gain.cell.n < num_seeds else ""
    axes.text(column, row + 0.24, below, fontsize=6.5, color="#262626", **centre)


def _label(axes: Axes, matrix: Matrix, findings: Findings, family: Family) -> None:
    def row_name(row: str) -> str:
        name = f"{short(row, 24)} ({findings.targets[row].metric})"
        return f"{name}\n{_partner_phrase(matrix, family, row)}" if matrix.has_one_column else name

    rows, columns = [row_name(row) for row in matrix.rows], [short(column, 24) for column in matrix.columns]
    axes.set_yticks(range(len(rows)), rows, fontsize=9, parse_math=False)
    if len(columns) > 1 and max(map(len, columns)) > 12:
        rotated: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(columns)), columns, fontsize=9, parse_math=False, **rotated)
    else:
        axes.set_xticks(range(len(columns)), columns, fontsize=9, parse_math=False)
    axes.set_ylabel("target (metric)", fontsize=9)
    axes.set_xlabel("" if matrix.has_one_column else "partner", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([j - 0.5 for j in range(1, len(columns))], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)


def _partner_phrase(matrix: Matrix, family: Family, row: str) -> str:
    return partner_phrase(family, short(matrix.cells[row, matrix.columns[0]].partner, 30))


# --- forest plot ------------------------------------------------------------------------------------------------------


def forest_plot(findings: Findings, target: str) -> Figure:
    """A forest plot of all gains of a target, by design and control, with both intervals of each gain.

    Args:
        findings: Findings of the study.
        target: Name of the task.
    """
    from matplotlib.figure import Figure

    groups = [(f, [gain for gain in f.gains if gain.target == target]) for f in findings.families]
    groups = [(family, gains) for family, gains in groups if gains]
    num_lines = sum(len(gains) + 1 for _, gains in groups)
    figure = Figure(figsize=(9.5, 0.29 * num_lines + 2.0), layout="constrained")
    axes = figure.add_subplot()
    floor = noise_floor(findings, target)
    if floor is not None:
        label = f"noise floor: {level(findings)} interval of the replicate control, made symmetric around 0"
        axes.axvspan(100 * floor.low, 100 * floor.high, color="#e8e4d8", zorder=0, label=label)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    names: list[str] = []
    headings: list[int] = []
    for family, gains in groups:
        headings.append(len(names))
        names.append(f"{family.design} (control)" if family.is_control else family.design)
        for gain in gains:
            _draw_gain(axes, len(names), gain, family)
            names.append(partner_phrase(family, short(gain.partner, 30)))
    _label_forest(axes, names, headings)
    _limit_forest(axes, [gain for _, gains in groups for gain in gains])
    facts = findings.targets[target]
    axes.set_title(f"{target}: gains in {facts.metric}", loc="left", fontsize=12, fontweight="bold", parse_math=False)
    axes.set_xlabel("gain × 100 (positive is better)", fontsize=9)
    _forest_legend(figure, axes, f"{level(findings)} interval over seeds", facts.unit)
    return figure


def _limit_forest(axes: Axes, gains: Sequence[Gain]) -> None:
    """Cuts the axis far beyond the gains: with two seeds, an interval reaches 13 standard errors to either side."""
    largest = max((abs(100 * gain.cell.mean) for gain in gains if gain.cell.n), default=0.0)
    most = max(5.0, 8 * largest)
    low, high = axes.get_xlim()
    if low < -most or high > most:
        axes.set_xlim(max(low, -most), min(high, most))
        note = "intervals that reach the edge are cut off"
        axes.text(1, 1.0, note, fontsize=7, color="#6b6b6b", ha="right", va="bottom", transform=axes.transAxes)


def _draw_gain(axes: Axes, line: int, gain: Gain, family: Family) -> None:
    shown, cell = state(gain, family), gain.cell
    colour = _COLOURS[shown]
    right = axes.get_yaxis_transform()
    if shown == "missing":
        axes.text(1.01, line, "missing", fontsize=8, va="center", color=colour, transform=right)
        return
    is_tested = shown in ("helps", "matched", "hurts", "undecided")
    _draw_interval(axes, line, cell.interval, colour, 2.2)
    _draw_interval(axes, line + 0.27, gain.documents, colour, 0.8)
    face = colour if is_tested and shown != "matched" else "white"
    axes.plot([100 * cell.mean], [line], _POINTS[shown], color=colour, markerfacecolor=face, markersize=6.5, zorder=4)
    text = f"{points(cell.mean, 1)}  ({span(cell.interval, 1)})"
    if shown != "control":
        text += f"  {MARKS[shown]} {shown}" + (f", adj. {p_statement(cell.adjusted_p)}" if is_tested else "")
    text += f"  {CAUTION} collapsed run" if gain.collapsed else ""
    axes.text(1.01, line, text, fontsize=8, va="center", color=colour, transform=right)


def _draw_interval(axes: Axes, line: float, interval: Interval | None, colour: str, width: float) -> None:
    if interval is not None and is_known(interval):
        axes.hlines(line, 100 * interval.low, 100 * interval.high, color=colour, linewidth=width, zorder=3)


def _label_forest(axes: Axes, names: Sequence[str], headings: Sequence[int]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    for line in headings:
        axes.get_yticklabels()[line].set_fontweight("bold")


def _forest_legend(figure: Figure, axes: Axes, interval: str, unit: str) -> None:
    from matplotlib.lines import Line2D

    def line(width: float, label: str) -> Line2D:
        return Line2D([], [], color="#4d4d4d", linewidth=width, label=label)

    handles = [
        line(2.2, interval),
        line(0.8, f"{interval} and test {unit}s"),
        *axes.get_legend_handles_labels()[0],
    ]
    figure.legend(handles=handles, loc="outside lower left", fontsize=8, frameon=False, ncols=1)


# --- learning curves --------------------------------------------------------------------------------------------------


def learning_curves(findings: Findings, target: str) -> Figure:
    """Learning curves of a target: a panel for each partner, each with the single-task runs for comparison.

    Args:
        findings: Findings of the study.
        target: Name of the task.
    """
    from matplotlib.figure import Figure

    curves = [curve for curve in findings.curves if curve.target == target]
    single = [curve for curve in curves if curve.partner == "single"]
    partners = [curve for curve in curves if curve.partner != "single"]
    num_panels = max(1, len(partners))
    columns = min(4, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(max(2.5 * columns, 4.5) + 0.4, 2.0 * rows + 1.2), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for i, axes in enumerate(panels):
        if i >= num_panels:
            axes.set_axis_off()
            continue
        for curve in single:
            _draw_curve(axes, curve, "#262626", "--", "single-task")
        if partners:
            _draw_curve(axes, partners[i], _WITH_PARTNER, "-", "with the partner")
            axes.set_title(f"with {short(partners[i].partner)}", fontsize=9, parse_math=False)
        _label_panel(axes, is_lowest=i + columns >= num_panels)
    figure.suptitle(f"{target}: learning curves", x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)
    figure.supylabel(f"{findings.targets[target].metric} on dev", fontsize=9, parse_math=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    title = "Mean over seeds, band ± 1 SD"
    legend = figure.legend(
        handles, labels, title=title, loc="outside lower left", fontsize=8, title_fontsize=8, frameon=False, ncols=2
    )
    legend.set_alignment("left")
    return figure


def _label_panel(axes: Axes, *, is_lowest: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.6)
    axes.tick_params(labelsize=8, labelbottom=is_lowest)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if is_lowest:
        axes.set_xlabel("updates on the target task", fontsize=8)


def _draw_curve(axes: Axes, curve: Curve, colour: str, style: str, label: str) -> None:
    low = [m - s for m, s in zip(curve.mean, curve.sd, strict=True)]
    high = [m + s for m, s in zip(curve.mean, curve.sd, strict=True)]
    axes.fill_between(curve.updates, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(curve.updates, curve.mean, style, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=label)


def _wrapped(text: str, inches: float) -> str:
    return "\n".join(textwrap.wrap(text, int(15 * inches)))
