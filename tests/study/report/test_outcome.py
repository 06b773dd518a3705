"""The files of a report."""

import dataclasses
from pathlib import Path

from mtl.study.report.outcome import outcome, write_report
from tests.study import simulated


def test_a_report_replaces_the_previous_one_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not part of a report")
    (tmp_path / "runs").mkdir()
    write_report(simulated.study(designs=("pairwise", "sequential")), tmp_path)
    assert (tmp_path / "heat_map_sequential.png").is_file()
    written = write_report(simulated.study(tasks=("gad", "hoc", "rqe")), tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert {"mlflow.db", "runs", "report.html", "findings.json", "gains.csv", "heat_map_pairwise.png"} <= found
    assert {"forest_rqe.png", "curves_rqe.png"} <= found
    assert not {name for name in found if "sequential" in name or "biosses" in name}
    assert {path.name for path in written} == found - {"mlflow.db", "runs"}
    assert all(path.parent == tmp_path for path in written)


def test_mlflow_shows_the_number_and_names_of_collapsed_runs() -> None:
    found = outcome(simulated.with_collapse(simulated.study()))
    assert found.metrics["runs/collapsed"] == 1.0
    assert found.metrics["runs/undertrained"] == 0.0
    assert "gad + hoc, seed 3" in found.note.split("Collapsed runs: ")[1]


def test_the_note_of_a_study_of_single_tasks_has_their_scores() -> None:
    note = outcome(dataclasses.replace(simulated.study(), families=())).note
    assert "- gad: f1 0.7035 (SD 0.0024, 8 seeds); trivial predictor majority 0.5000" in note
    assert "0.7035" not in outcome(simulated.study()).note
