"""Scores on seen and on unseen mentions in the report of a study."""

from __future__ import annotations

import dataclasses
import math

from mtl.study.report.outcome import outcome
from mtl.study.report.page import report_page
from mtl.study.statistics.findings import SurfaceMeans
from tests.study import simulated

LINES = (
    SurfaceMeans("gad", "", "", 8, 0.75, 0.125, 0.9, 0.5),
    SurfaceMeans("gad", "pairwise", "hoc", 7, 0.75, 0.125, 0.91, math.nan),
)


def test_they_are_a_table_metrics_and_a_section() -> None:
    findings = dataclasses.replace(simulated.study(), surfaces=LINES)
    found = outcome(findings)
    assert found.tables["surfaces.json"] == {
        "target": ["gad", "gad"],
        "design": ["", "pairwise"],
        "partner": ["", "hoc"],
        "num_runs": [8, 7],
        "seen_share": [0.75, 0.75],
        "ambiguous_share": [0.125, 0.125],
        "seen_f1": [0.9, 0.91],
        "unseen_f1": [0.5, None],
    }
    assert {name: found.metrics[name] for name in ("seen_f1/gad", "unseen_f1/gad")} == {
        "seen_f1/gad": 0.9,
        "unseen_f1/gad": 0.5,
    }
    section = report_page(findings, {}).partition('id="surfaces"')[2].partition("</section>")[0]
    first, second = section.split("<tr>")[2:]
    assert "75.0" in first
    assert "0.5000" in first
    assert "pairwise: hoc" in second
    assert "–" in second


def test_a_study_whose_runs_kept_none_has_no_section() -> None:
    assert "surfaces.json" not in outcome(simulated.study()).tables
    assert 'id="surfaces"' not in report_page(simulated.study(), {})
