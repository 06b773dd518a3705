"""A search in MLflow while MLflow is unreachable; tests/tuning/test_search.py has what is there otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.tracking import send_queue
from mtl.tuning.tuning_tracker import TuningTracker
from tests.mlflow_server import free_port
from tests.study.finished import client
from tests.tuning.test_tuning_report import TRIALS, record


def test_what_mlflow_missed_is_sent_by_the_next_command(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as impatient:
        for name, seconds in {"PATIENCE": 1.0, "SEND_EVERY": 0.1, "LAST_TRY": 0.1}.items():
            impatient.setattr(send_queue, name, seconds)
        impatient.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        away = TuningTracker("x", tmp_path, "biomtl-tuning", f"http://127.0.0.1:{free_port()}")
        away.begin({"seeds": [0, 1]})
        away.begin_trial(0, TRIALS[0].values)
        away.end_trial(TRIALS[0])
        away.close()
    assert "unreachable" in capsys.readouterr().err
    for _ in range(2):  # the second time, nothing is sent twice
        there = TuningTracker("x", tmp_path, "biomtl-tuning", store)
        there.report(record(*TRIALS), "A note.", [])
        there.close()
    found = client(store)
    runs = found.search_runs([found.get_experiment_by_name("biomtl-tuning").experiment_id])
    trials = {run.data.tags["trial"]: run for run in runs if run.data.tags["kind"] == "tuning_trial"}
    assert len(runs) == 1 + len(trials) == 1 + len(TRIALS)
    assert [trials[str(one.number)].data.tags["state"] for one in TRIALS] == [one.state for one in TRIALS]
    assert trials["1"].data.metrics["objective/mean"] == pytest.approx(0.6)
    (parent,) = [run for run in runs if run.data.tags["kind"] == "tuning"]
    assert parent.data.metrics["trials/pruned"] == 1
    assert parent.info.status == "FINISHED"
