"""The benchmark of reports, with a small study."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.mark.slow
def test_a_simulated_study_is_reported_from_mlflow_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import study_report

    monkeypatch.setattr(sys, "argv", ["study_report.py", "--tasks", "2", "--seeds", "2"])
    study_report.main()
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["tasks"], found["seeds"]) == (6, 2, 2)
    assert found["report_seconds"] > 0
