"""A suite in MLflow: what is sent can be read, and problems with MLflow stop nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.suites.suite_studies import EXPERIMENT
from mtl.suites.suite_tracker import SuiteTracker
from mtl.tracking import send_queue
from tests.mlflow_server import free_port
from tests.study.finished import client
from tests.suites.test_model_results import results


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name, seconds in {"PATIENCE": 2.0, "SEND_EVERY": 0.05, "LAST_TRY": 0.05}.items():
        monkeypatch.setattr(send_queue, name, seconds)


def report(tracker: SuiteTracker, folder: Path, *models: Any, metric: float = 0.5) -> None:
    (folder / "report.md").write_text("# Toy\n", encoding="utf-8")
    columns = {"task": ["a"], "score": [metric]}
    tracker.report({"ours/a": metric}, columns, {"ours": 50.0}, [folder / "report.md"], models, note="A note.")
    tracker.close()


def runs_in(store: str) -> list[Any]:
    found = client(store.removeprefix("sqlite:///"))
    return list(found.search_runs([found.get_experiment_by_name(EXPERIMENT).experiment_id]))


def test_models_are_read_as_they_were_sent_and_a_later_report_joins_the_same_run(store: str, tmp_path: Path) -> None:
    first, second = results(a=0.5), results(model="theirs", b=0.75)
    report(SuiteTracker("toy", store), tmp_path, first)
    report(SuiteTracker("toy", store), tmp_path, second, metric=0.75)
    assert SuiteTracker("toy", store).models() == [first, second]
    (run,) = runs_in(store)
    assert (run.info.status, run.info.run_name, run.data.metrics["ours/a"]) == ("FINISHED", "toy", 0.75)
    assert run.data.tags["mlflow.note.content"] == "A note."


def test_models_of_another_suite_are_not_read(store: str, tmp_path: Path) -> None:
    report(SuiteTracker("toy", store), tmp_path, results(a=0.5))
    report(SuiteTracker("it's other", store), tmp_path, results(b=0.5))
    assert SuiteTracker("toy", store).models() == [results(a=0.5)]
    assert SuiteTracker("it's other", store).models() == [results(b=0.5)]
    assert len(runs_in(store)) == 2


def test_a_store_without_reports_has_no_models(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert SuiteTracker("toy", store).models() == []
    assert capsys.readouterr().err == ""


def test_an_unreachable_mlflow_has_no_models_and_what_is_not_sent_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = SuiteTracker("toy", f"http://me:s3cret@127.0.0.1:{free_port()}")
    assert tracker.models() == []
    report(tracker, tmp_path, results(a=0.5))
    error = capsys.readouterr().err
    assert error.count("unreachable") == 1
    assert "report" in error.splitlines()[-1]
    assert "s3cret" not in error
