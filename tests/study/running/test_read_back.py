"""MLflow alone is enough for a report, and for another folder or machine."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtl.commands import run as run_mtl
from mtl.files import finite
from mtl.study.design.study_file import load_study
from mtl.study.running import train_run
from mtl.study.running.session import Session
from tests import five_tasks
from tests.study.finished import NAME, Finished, runs


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(order: Any, ledger: Any) -> None:
        raise AssertionError(f"'{order.name}' is trained again")

    monkeypatch.setattr(train_run, "train", train)


def findings_at(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    return found


def test_a_report_from_mlflow_alone_is_identical(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with five_tasks.surroundings(finished.folder):
        os.chdir(tmp_path)
        monkeypatch.setenv("MTL_CACHE", str(tmp_path / "no-cache"))
        assert run_mtl(["study", "report", NAME, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == finished.findings
        made = tmp_path / "runs" / "studies" / NAME / "report"
        assert findings_at(made) == finished.findings
        assert {path.name for path in made.iterdir()} == {path.name for path in finished.report.iterdir()}
        for name in ("gains.csv", "report.html", "heat_map_pairwise.html"):
            assert (made / name).read_bytes() == (finished.report / name).read_bytes(), name
    assert not (tmp_path / "no-cache").exists()  # no data was read


def test_a_report_on_an_unknown_study_lists_the_available_ones(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with five_tasks.surroundings(finished.folder):
        os.chdir(tmp_path)
        assert run_mtl(["study", "report", "kinds"]) == 2
    error = capsys.readouterr().err
    assert "has no study 'kinds'" in error
    assert f": {NAME}." in error


@pytest.mark.usefixtures("no_training")
def test_runs_of_another_folder_or_machine_are_downloaded_from_mlflow(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))  # so that the shared one stays as it is
    shutil.rmtree(folder / "runs")
    with five_tasks.surroundings(folder):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{finished.store}"
        study = load_study("study.yaml")
        made = Session(study, Path("runs"))
        made.run("again")
        made.tracker.close()
        again = Session(study, Path("runs")).findings()
    assert json.loads(json.dumps(finite(again.to_dict()))) == finished.findings
    assert len(runs(finished.store, "study_run")) == len(finished.nested)
    assert not list((folder / "runs" / "ledger").glob("*/*/failure.json"))


def test_a_run_whose_artifacts_are_gone_is_missing_and_does_not_affect_others(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import artifacts
    from mlflow.exceptions import MlflowException

    gone, real = finished.nested[0], artifacts.download_artifacts

    def download(*places: str, **options: Any) -> Any:
        if any(gone.info.run_id in place for place in places):
            raise MlflowException("no such file")
        return real(*places, **options)

    monkeypatch.setattr(artifacts, "download_artifacts", download)
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    shutil.rmtree(folder / "runs")
    with five_tasks.surroundings(folder):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{finished.store}"
        assert run_mtl(["study", "report", NAME]) == 1
        error = capsys.readouterr().err
        assert f"{gone.info.run_id} cannot be read (no such file)." in error
        assert f"'{gone.info.run_name}'" in error
        made = Session(load_study("study.yaml"), Path("runs"))
        made.bring_known_runs()
        assert [order.key for order in made.plan.run_specs if not made.is_done(order)] == [gone.data.tags["key"]]
