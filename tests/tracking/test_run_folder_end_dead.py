"""A run whose process is dead gets its status in its folder and in MLflow from a later one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mtl.tracking import run_folder, send_queue
from mtl.tracking.mlflow_client import open_store
from mtl.tracking.mlflow_run import MLflowRun
from mtl.tracking.run_folder import RunFolder
from tests.mlflow_server import wait_for
from tests.tracking.trackers import client, in_mlflow, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")

forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")


def killed_training(store: str) -> RunFolder:
    """A run whose process, a fork of this one, was killed after MLflow had its first number."""
    open_store(store)  # or the fork would have to migrate it
    folder = RunFolder.create(Path("runs"), "demo", 1)
    child = os.fork()
    if not child:
        try:
            folder.begin_training()
            tracker = tracker_for(folder, tracking_uri=store)
            tracker.log_metrics({"train/loss": 1.0}, step=0)
            time.sleep(60)
        finally:
            os._exit(1)
    try:
        wait_for(lambda: "run_id" in folder.info.get("mlflow", {}))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return folder


@forks
def test_a_killed_run_is_killed_in_its_folder_and_in_mlflow_once_another_run_starts(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = killed_training(store)
    assert (folder.info["status"], in_mlflow(store, folder)) == ("RUNNING", "RUNNING")
    RunFolder.create(Path("runs"), "another mixture", 2)
    assert (folder.info["status"], in_mlflow(store, folder)) == ("KILLED", "KILLED")
    assert str(folder.path) in capsys.readouterr().err
    tracker = tracker_for(folder, run_id=folder.info["mlflow"]["run_id"])  # it is resumed
    folder.begin_training()
    tracker.log_metrics({"train/loss": 0.5}, step=1)
    tracker.finalize("success")
    RunFolder.create(Path("runs"), "another mixture", 3)
    assert (folder.info["status"], in_mlflow(store, folder)) == ("FINISHED", "FINISHED")


@forks
def test_a_status_that_mlflow_could_not_take_is_sent_later(store: str) -> None:
    folder = killed_training(store)
    database, away = Path("mlflow.db"), Path("away.db")
    database.rename(away)
    RunFolder.end_dead(Path("runs"))
    assert (folder.info["status"], folder.info["mlflow"]["unsent_status"]) == ("KILLED", "KILLED")
    assert not database.exists()
    away.rename(database)
    assert in_mlflow(store, folder) == "RUNNING"
    RunFolder.end_dead(Path("runs"))
    assert in_mlflow(store, folder) == "KILLED"
    assert "unsent_status" not in folder.info["mlflow"]


def test_the_status_of_a_run_that_ends_while_mlflow_is_away_is_sent_later(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OSError("no route")

    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    assert tracker.run_id is not None
    with monkeypatch.context() as patch:
        patch.setattr(MLflowRun, "end", away)
        patch.setattr(send_queue, "LAST_TRY", 0.1)
        tracker.finalize("success")
    folder = tracker.folder
    assert (folder.info["status"], in_mlflow(store, folder)) == ("FINISHED", "RUNNING")
    RunFolder.create(Path("runs"), "another mixture", 2)
    assert (folder.info["status"], in_mlflow(store, folder)) == ("FINISHED", "FINISHED")
    assert "unsent_status" not in folder.info["mlflow"]


def test_an_address_that_does_not_answer_is_asked_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def end(tracked: Mapping[str, Any], status: str) -> bool:
        asked.append((tracked["tracking_uri"], status))
        return tracked["tracking_uri"] == "http://there"

    monkeypatch.setattr(run_folder, "end_run", end)
    places = ("http://away", "http://away", "http://there", "http://there")
    folders = [RunFolder.create(Path("runs"), f"mixture {seed}", seed) for seed in range(len(places))]
    for seed, (folder, place) in enumerate(zip(folders, places, strict=True)):
        folder.note_tracking(run_id=str(seed), tracking_uri=place)
        folder.update_info(status="KILLED", mlflow={**folder.info["mlflow"], "unsent_status": "KILLED"})
    RunFolder.end_dead(Path("runs"))
    assert sorted(asked) == [("http://away", "KILLED"), *2 * [("http://there", "KILLED")]]
    assert ["unsent_status" in folder.info["mlflow"] for folder in folders] == [True, True, False, False]


def test_a_run_that_was_created_but_never_recorded_is_ended_with_its_process(store: str) -> None:
    folder = RunFolder.create(Path("runs"), "demo", 1)
    mlflow = client(store)
    experiment = mlflow.create_experiment("biomtl")
    lost, other = (mlflow.create_run(experiment, tags={"token": name}).info.run_id for name in ("mine", "another"))
    folder.update_info(status="KILLED", mlflow={"tracking_uri": store, "experiment": "biomtl", "token": "mine"})
    folder.end_in_mlflow()
    assert [mlflow.get_run(run).info.status for run in (lost, other)] == ["KILLED", "RUNNING"]
    folder.update_info(mlflow={"tracking_uri": store, "experiment": "biomtl", "token": "of no run"})
    folder.end_in_mlflow()
    assert "unsent_status" not in folder.info["mlflow"]
