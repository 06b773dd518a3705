"""The figures of simulated studies: numbers, marks, colours, and texts that do not overlap."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtl.problems import InputError
from mtl.study.report.figures import cell_colour, colour_limit, forest_plot, heat_map, learning_curves, study_figures
from mtl.study.report.presentation import points
from mtl.study.statistics.findings import Findings
from mtl.study.statistics.significance import Interval
from tests.study import simulated

TWELVE = [f"a_task_named_{i}" for i in range(12)]


def cells(figure: Figure) -> dict[tuple[int, int], list[str]]:
    """The texts of each cell by row and column, from top to bottom."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in sorted(figure.axes[0].texts, key=lambda t: t.get_position()[1]):
        column, row = text.get_position()
        found.setdefault((round(row), round(column)), []).append(text.get_text())
    return found


def labels(axes: Axes) -> tuple[list[str], list[str]]:
    return ([t.get_text() for t in axes.get_yticklabels()], [t.get_text() for t in axes.get_xticklabels()])


def frames(figure: Figure, **edge: str) -> list[tuple[int, int]]:
    """Rows and columns of the cells that have a rectangle with these properties."""
    patches = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    wanted = [p for p in patches if all(getattr(p, f"get_{key}")() == value for key, value in edge.items())]
    return [(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in wanted]


# --- heat map ---------------------------------------------------------------------------------------------------------


def test_cells_show_the_mean_gain_its_interval_and_the_mark_of_the_verdict() -> None:
    findings = simulated.study()
    shown = cells(heat_map(findings, "pairwise"))
    assert labels(heat_map(findings, "pairwise").axes[0]) == (
        ["gad (f1)", "hoc (pearson)", "biosses (accuracy)"],
        ["gad", "hoc", "biosses"],
    )
    assert shown[0, 1][0] == "▲ +3.0"
    assert shown[1, 2][0] == "▼ −2.0"
    assert shown[0, 2][0] == shown[1, 0][0] == "· +0.1"
    family = findings.families[0]
    for gain in family.gains:
        if gain.cell.n:
            place = tuple(list(findings.targets).index(name) for name in (gain.target, gain.partner))
            low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in gain.cell.interval)
            assert shown[place[0], place[1]][1] in (
                f"{low} to {high}",
                f"{points(gain.cell.interval.low, 1)} to {high}",
            )


def test_colours_follow_the_bound_of_the_interval_nearer_to_zero_on_a_symmetric_scale() -> None:
    findings = simulated.study()
    image = heat_map(findings, "pairwise").axes[0].images[0]
    bounds = np.ma.filled(image.get_array(), np.nan)
    helping, hurting = (findings.families[0].gains[number].cell.interval for number in (0, 3))
    low, high = 100 * helping.low, 100 * hurting.high
    assert 0 < low < 3.0
    assert -2.0 < high < 0
    expected = [[np.nan, low, 0.0], [0.0, np.nan, high], [np.nan, 0.0, np.nan]]
    assert bounds == pytest.approx(np.array(expected), nan_ok=True)
    assert image.get_clim() == pytest.approx((-low, low))
    red, blue = to_rgb(cell_colour(-0.03, 0.03)), to_rgb(cell_colour(0.03, 0.03))
    assert red[0] > red[2] + 0.3
    assert blue[2] > blue[0] + 0.3


def test_a_gain_whose_interval_includes_zero_is_white_however_large_its_mean() -> None:
    findings = simulated.study()
    family = findings.families[0]
    wide = family.gains[1].cell._replace(mean=0.2, interval=Interval(-0.01, 0.41))
    gains = (family.gains[0], dataclasses.replace(family.gains[1], cell=wide), *family.gains[2:])
    changed = dataclasses.replace(findings, families=(dataclasses.replace(family, gains=gains),))
    image = heat_map(changed, "pairwise").axes[0].images[0]
    assert image.get_array()[0, 2] == 0
    assert min(to_rgb(image.to_rgba(image.get_array())[0, 2])) > 0.96
    assert colour_limit(changed) == family.gains[0].cell.interval.low


def test_a_matched_gain_is_marked_and_not_framed_and_a_collapsed_run_is_marked() -> None:
    figure = heat_map(simulated.with_collapse(simulated.with_training(simulated.study(), 0.03)), "pairwise")
    assert cells(figure)[0, 1][0] == "△ +3.0 !"
    assert frames(figure, linewidth=1.4) == [(1, 2)]
    assert "△ matched" in figure.get_supxlabel()
    assert "! caution" in figure.get_supxlabel()
    plain = heat_map(simulated.study(), "pairwise").get_supxlabel()
    assert "△" not in plain
    assert "! caution" not in plain


def test_all_heat_maps_of_a_study_share_one_colour_scale() -> None:
    findings = simulated.study()
    limits = {heat_map(findings, family.design).axes[0].images[0].get_clim() for family in findings.families}
    assert len(findings.families) > 1
    assert len(limits) == 1


def test_a_tenth_of_a_point_is_pale_if_there_is_no_larger_gain() -> None:
    findings = simulated.study(planted={}, with_controls=False)
    assert colour_limit(findings) == 0.01
    assert min(to_rgb(cell_colour(0.001, 0.01))) > 0.85


def test_black_text_is_readable_on_every_colour() -> None:
    for gain in np.linspace(-1, 1, 21):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(cell_colour(gain, 1.0))]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 > 4.5  # the minimum contrast of WCAG 2.2


def test_missing_cells_are_hatched_and_labelled_and_only_significant_cells_are_framed() -> None:
    figure = heat_map(simulated.study(), "pairwise")
    assert cells(figure)[2, 0] == ["missing"]
    assert frames(figure, hatch="////") == [(2, 0)]
    assert sorted(frames(figure, linewidth=1.4)) == [(0, 1), (1, 2)]
    assert cells(figure)[0, 0] == ["–"]  # not part of the design


def test_with_three_seeds_every_cell_is_unresolvable() -> None:
    figure = heat_map(simulated.study(num_seeds=3, missing=[]), "pairwise")
    shown = [texts[0] for texts in cells(figure).values() if texts != ["–"]]
    assert len(shown) == 6
    assert all(text.startswith("? ") for text in shown)
    assert frames(figure, linewidth=1.4) == []
    legend = figure.get_supxlabel()
    assert "? unresolvable" in legend
    assert "helps" not in legend


def test_a_control_has_no_marks_and_shows_its_partners_in_one_column() -> None:
    figure = heat_map(simulated.study(), "shuffled_partner")
    assert [texts[0] for texts in cells(figure).values()] == ["+0.1"] * 3
    assert labels(figure.axes[0])[0][0] == "gad (f1)\nwith hoc (shuffled labels)"
    assert "Control" in figure.get_supxlabel()
    assert not any(mark in figure.get_supxlabel() for mark in "▲▼·?")
    replicate = heat_map(simulated.study(), "replicate")
    assert labels(replicate.axes[0])[1] == ["replicate"]


def test_a_cell_with_missing_seeds_shows_its_number_of_seeds() -> None:
    findings = simulated.study()
    family = findings.families[0]
    gain = family.gains[0]
    fewer = dataclasses.replace(gain, cell=gain.cell._replace(n=7, adjusted_p=float("nan"), verdict="undecided"))
    family = dataclasses.replace(family, gains=(fewer, *family.gains[1:]))
    figure = heat_map(dataclasses.replace(findings, families=(family,)), "pairwise")
    assert [texts[1][-5:] for texts in cells(figure).values() if ", n=" in texts[-1]] == [", n=7"]


def test_an_unknown_design_is_an_error_that_suggests_a_similar_name() -> None:
    with pytest.raises(InputError) as caught:
        heat_map(simulated.study(), "pairwize")
    (problem,) = caught.value.problems
    assert problem.key == "design"
    assert "'pairwize'" in problem.message
    assert "pairwise" in problem.suggestion


@pytest.mark.parametrize("tasks", [TWELVE[:2], TWELVE])
def test_the_texts_of_a_heat_map_do_not_overlap(tasks: list[str]) -> None:
    figure = heat_map(simulated.study(tasks, planted={}, missing=[]), "pairwise")
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in [*axes.texts, *axes.get_yticklabels()]]
    assert len(boxes) == 2 * len(tasks) * (len(tasks) - 1) + 2 * len(tasks)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


# --- forest plot ------------------------------------------------------------------------------------------------------


def test_a_forest_plot_lists_every_gain_of_the_target_under_its_design() -> None:
    axes = forest_plot(simulated.study(designs=("pairwise", "sequential")), "gad").axes[0]
    lines = ["pairwise", "with hoc", "with biosses", "sequential", "after hoc", "after biosses"]
    controls = ["replicate (control)", "with other seeds", "shuffled_partner (control)", "with hoc (shuffled labels)"]
    assert labels(axes)[0] == lines + controls
    bold = [label.get_text() for label in axes.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ["pairwise", "sequential", "replicate (control)", "shuffled_partner (control)"]


def test_a_forest_plot_draws_means_both_intervals_and_the_noise_floor_to_scale() -> None:
    findings = simulated.study()
    axes = forest_plot(findings, "gad").axes[0]
    gains = [gain for family in findings.families for gain in family.gains if gain.target == "gad"]
    drawn = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() not in ("None", None)]
    assert drawn == pytest.approx([100 * gain.cell.mean for gain in gains])
    spans = [tuple(collection.get_segments()[0][:, 0]) for collection in axes.collections]
    expected = [tuple(interval) for gain in gains for interval in (gain.cell.interval, gain.documents)]
    assert np.array(spans) == pytest.approx(100 * np.array(expected))
    widths = [float(collection.get_linewidth()[0]) for collection in axes.collections]
    assert all(seeds > documents for seeds, documents in zip(widths[::2], widths[1::2], strict=True))
    replicate = findings.family("replicate")
    assert replicate is not None
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    reach = 100 * max(abs(end) for end in replicate.gains[0].cell.interval)
    assert (band.x0, band.x1) == pytest.approx((-reach, reach))


def test_a_forest_plot_names_the_verdicts_of_designs_and_none_of_controls() -> None:
    texts = [text.get_text() for text in forest_plot(simulated.study(), "gad").axes[0].texts]
    assert ["▲ helps" in texts[0], "· undecided" in texts[1]] == [True, True]
    assert not any(word in text for text in texts[2:] for word in ("helps", "hurts", "undecided"))
    few = [text.get_text() for text in forest_plot(simulated.study(num_seeds=3), "gad").axes[0].texts]
    assert all("? unresolvable" in text and "adj. p" not in text for text in few[:2])


def test_a_forest_plot_without_a_replicate_has_no_noise_floor() -> None:
    axes = forest_plot(simulated.study(with_controls=False), "biosses").axes[0]
    assert not axes.patches


def test_a_forest_plot_labels_missing_gains() -> None:
    axes = forest_plot(simulated.study(with_controls=False), "biosses").axes[0]
    assert axes.texts[0].get_text() == "missing"


# --- learning curves --------------------------------------------------------------------------------------------------


def test_each_partner_has_a_panel_that_also_shows_the_single_task_runs() -> None:
    findings = simulated.study()
    panels = learning_curves(findings, "hoc").axes
    assert [panel.get_title() for panel in panels] == ["with gad", "with biosses"]
    by_partner = {curve.partner: curve for curve in findings.curves if curve.target == "hoc"}
    for panel, partner in zip(panels, ("gad", "biosses"), strict=True):
        single, treated = panel.lines
        assert list(single.get_ydata()) == pytest.approx(by_partner["single"].mean)
        assert list(treated.get_ydata()) == pytest.approx(by_partner[partner].mean)
        assert list(treated.get_xdata()) == list(by_partner[partner].updates)


def test_eleven_partners_have_eleven_panels_and_only_the_lowest_have_axis_labels(tmp_path: Path) -> None:
    figure = learning_curves(simulated.study(TWELVE), TWELVE[0])
    figure.savefig(tmp_path / "curves.png")
    used = [axes for axes in figure.axes if axes.axison]
    assert len(used) == 11
    assert [bool(axes.get_xlabel()) for axes in used] == [False] * 7 + [True] * 4


def test_single_task_curves_without_partners_have_one_panel() -> None:
    findings = simulated.study()
    alone = dataclasses.replace(findings, curves=tuple(c for c in findings.curves if c.partner == "single"))
    assert [len(axes.lines) for axes in learning_curves(alone, "gad").axes] == [1]


# --- all --------------------------------------------------------------------------------------------------------------


def test_a_study_has_figures_for_its_designs_and_targets_and_none_without_gains() -> None:
    findings = simulated.study()
    expected = {"heat_map_pairwise", "heat_map_replicate", "heat_map_shuffled_partner"}
    expected |= {f"{kind}_{task}" for kind in ("forest", "curves") for task in ("gad", "hoc", "biosses")}
    assert set(study_figures(findings)) == expected
    empty = dataclasses.replace(findings, families=(), curves=())
    assert study_figures(empty) == {}


def test_names_that_look_like_formulas_are_shown_unchanged(tmp_path: Path) -> None:
    findings: Findings = simulated.study(("$\\gad$", "a$b", "c_1^"))
    for name, figure in study_figures(findings).items():
        if "control" not in name:
            figure.savefig(tmp_path / "figure.png", dpi=40)
    shown = [t.get_text() for t in forest_plot(findings, "$\\gad$").axes[0].get_yticklabels()]
    assert "with a$b" in shown
