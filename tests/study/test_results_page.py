"""The page that `experiments/studies/page.py` writes for a finished study."""

import dataclasses
import runpy
from pathlib import Path

import pytest

from mtl.study.statistics.findings import TrainedOn
from tests.study import simulated
from tests.study.simulated import study

PAGE = Path(__file__).parents[2] / "experiments" / "studies" / "page.py"


def test_the_page_shows_every_gain_with_its_verdict_and_the_missing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PAGE.parents[1] / "bench"))
    found = TrainedOn("0.1.0", "0123456789", False, "cpu", "2", 12)
    family = study().families[0]
    unseen = dataclasses.replace(family.gains[0], cell=family.gains[0].cell._replace(n=0, verdict="unresolvable"))
    first = dataclasses.replace(family, gains=(unseen, *family.gains[1:]))
    findings = dataclasses.replace(
        study(),
        families=(first, *study().families[1:]),
        alpha=0.1,
        trained_on=(found,),
        versions={"git.biomtl.commit": "fedcba98"},
    )
    text = "\n".join(runpy.run_path(str(PAGE))["page"](findings, "study.yaml", "A note."))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for family in findings.families:
        for gain in family.gains:
            verdict = "control" if family.is_control else "missing" if not gain.cell.n else gain.cell.verdict
            start = f"| {gain.target} | {gain.partner} | "
            assert any(row.startswith(start) and row.endswith(f"{verdict} |") for row in rows)
    assert all(sentence in text for sentence in findings.missing)
    assert "| 90% interval over seeds |" in text
    assert "A note." in text
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings[:4] == ["pairwise", "Conclusions", "Methods", "Single-task results"]
    assert "`mtl study run study.yaml`" in text
    (trained,) = [line for line in text.splitlines() if line.startswith("- 12 runs: ")]
    assert all(part in trained for part in ("biomtl 0.1.0", "commit 0123456", "cpu", "2 threads"))
    assert "fedcba9" not in text  # the commit of the run's code counts, not of the code that writes the page


def test_the_page_names_collapsed_runs_and_shows_the_comparison_with_further_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(PAGE.parents[1] / "bench"))
    findings = simulated.with_collapse(simulated.with_training(study(), 0.03))
    lines = list(runpy.run_path(str(PAGE))["page"](findings, "study.yaml", ""))
    text = "\n".join(lines)
    assert "- gad + hoc, seed 3: gad 0.4100 on dev, against 0.5000" in text.split("## Collapsed runs")[1]
    (first,) = [line for line in lines if line.startswith("| gad | hoc | +3.00")]
    *_, more, learned, verdict = [cell.strip() for cell in first.strip("|").split("|")]
    assert more.startswith("0.00 (")
    assert learned == "0 of 8, 1 collapsed"
    assert verdict == "matched"
