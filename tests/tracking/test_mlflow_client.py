"""Where MLflow is, how its store is opened, and what the user is told of it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mtl.tracking.mlflow_client import end_run, open_store
from tests.mlflow_server import Server, free_port
from tests.tracking.trackers import client, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")

REPOSITORY = Path(__file__).parents[2]
CREATE_RUN = """
import sys
from mtl.tracking.mlflow_client import find_experiment, open_store, prepare_mlflow
prepare_mlflow()
client = open_store(sys.argv[1])
client.create_run(find_experiment(client, "demo", sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_that_create_one_store_at_once_both_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE_RUN, uri], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=180)[1], process.returncode) for process in processes]
    assert ended == [("", 0)] * 2
    client = open_store(uri)
    (experiment,) = (found for found in client.search_experiments() if found.name == "demo")
    assert len(client.search_runs([experiment.experiment_id])) == 2


# --- through a tracker ------------------------------------------------------------------------------------------------


def test_the_default_store_is_in_the_working_folder_and_plain_mlflow_ui_shows_it(tmp_path: Path) -> None:
    tracker = tracker_for()
    assert tracker.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracker.ui_hint() == "mlflow ui"


def test_the_hint_names_the_store_if_old_runs_would_hide_it(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert tracker_for().ui_hint() == f'mlflow ui --backend-store-uri "sqlite:///{tmp_path}/mlflow.db"'


def test_an_argument_overrides_the_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////a/b.db")
    assert tracker_for().tracking_uri == "sqlite:////a/b.db"
    assert tracker_for().ui_hint() == 'mlflow ui --backend-store-uri "sqlite:////a/b.db"'
    assert tracker_for(tracking_uri="http://me:secret@host:5000/").ui_hint() == "http://host:5000"


def test_a_password_in_the_address_stays_out_of_the_folder_and_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl.tracking.send_queue.PATIENCE", 5.0)
    tracker = tracker_for(tracking_uri=f"http://me:s3cret@127.0.0.1:{free_port()}")
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize("success")
    assert "s3cret" not in json.dumps(tracker.folder.info)
    assert "s3cret" not in capsys.readouterr().err


def test_artifacts_are_beside_the_database_not_in_the_working_folder(store: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with contextlib.chdir(elsewhere):
        tracker = tracker_for(tracking_uri=store)
        tracker.log_text("hello", "a.txt")
        tracker.finalize("success")
    assert [path.read_text() for path in (tmp_path / "mlruns").rglob("a.txt")] == ["hello"]
    assert not (elsewhere / "mlruns").exists()


@pytest.mark.parametrize("name", ["a%2Fb", "what?x=1", "a #1 b", "ä"])
def test_a_working_folder_of_any_name_has_its_store_and_artifacts_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    tracker = tracker_for()
    tracker.log_metrics({"val/gad/f1": 0.5}, step=1)
    tracker.log_text("a report", "report.txt")
    tracker.finalize("success")
    assert tracker.ui_hint().startswith("mlflow ui, then open http://127.0.0.1:5000/#/experiments/")
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert (folder / "mlflow.db").is_file()
    assert [path.read_text() for path in folder.glob("mlruns/**/report.txt")] == ["a report"]
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT step, value FROM metrics WHERE key = 'val/gad/f1'").fetchall() == [(1, 0.5)]


def test_another_process_can_end_a_run_in_mlflow(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    assert tracker.run_id is not None
    tracked = tracker.folder.info["mlflow"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")  # the run knows where it is
    assert end_run(tracked, "FAILED")
    assert client(store).get_run(tracker.run_id).info.status == "FAILED"
    assert not Path("elsewhere.db").exists()
    assert not end_run({**tracked, "tracking_uri": "http://127.0.0.1:9"}, "KILLED")  # nobody answers
    assert end_run({**tracked, "run_id": "0" * 32}, "KILLED")  # nothing is left to do for a run that is not there
    client(store).delete_run(tracker.run_id)
    assert end_run(tracked, "KILLED")
    client(store).restore_run(tracker.run_id)
    tracker.finalize("failed")


@pytest.mark.slow
def test_plain_mlflow_ui_shows_the_run_and_its_artifacts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(server.folder)
    tracker = tracker_for()
    tracker.log_text("hello", "notes/a.txt")
    tracker.finalize("success")
    assert tracker.ui_hint().startswith("mlflow ui, ")  # which is `mlflow server`
    address = f"{server.url}/get-artifact?path=notes/a.txt&run_uuid={tracker.run_id}"
    assert urllib.request.urlopen(address, timeout=10).read() == b"hello"
    assert client(server.url).get_run(tracker.run_id).info.status == "FINISHED"
