"""The figure of gain against the size of the target's training set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mtl.study.report.size_curves import size_curves
from mtl.study.statistics.findings import Findings, SizeGain
from mtl.study.statistics.significance import Interval
from tests.study import simulated

SIZES = (100, 300, 1_000)


def sized() -> Findings:
    findings = simulated.study()
    cell = findings.families[0].gains[0].cell
    gains = [
        SizeGain(target, partner, rows, cell._replace(mean=mean, interval=Interval(mean - 0.01, mean + 0.02)))
        for target in ("gad", "hoc")
        for partner, factor in (("biosses", 1), ("", 0.5))
        for rows, mean in zip(SIZES, (0.06 * factor, 0.03 * factor, 0.01 * factor), strict=True)
    ]
    return dataclasses.replace(findings, sizes=tuple(gains))


def test_each_target_has_a_panel_and_each_partner_a_line_with_its_intervals() -> None:
    figure = size_curves(sized())
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == ["gad (f1)", "hoc (pearson)"]
    for axes in shown:
        partner, alone = axes.containers
        line, _, (bars,) = partner.lines
        assert line.get_xdata() == pytest.approx(SIZES)
        assert line.get_ydata() == pytest.approx([6, 3, 1])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert ends == pytest.approx(np.array([[5, 8], [2, 5], [0, 3]]))
        assert alone.lines[0].get_ydata() == pytest.approx([3, 1.5, 0.5])
        assert alone.lines[0].get_linestyle() == "--"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["100", "300", "1,000"]
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 2


def test_gains_without_finished_runs_are_left_out_and_unknown_intervals_have_no_length() -> None:
    findings = sized()
    unknown = Interval(float("nan"), float("nan"))
    first, second, *others = findings.sizes
    changed = (
        dataclasses.replace(first, cell=first.cell._replace(n=0, mean=float("nan"), interval=unknown)),
        dataclasses.replace(second, cell=second.cell._replace(interval=unknown)),
        *others,
    )
    line, _, (bars,) = size_curves(dataclasses.replace(findings, sizes=changed)).axes[0].containers[0].lines
    assert list(line.get_ydata()) == pytest.approx([3, 1])
    assert np.ptp(bars.get_segments()[0][:, 1]) == pytest.approx(0)
