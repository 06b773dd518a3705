"""What is said of outages and refusals, and that nothing is lost in them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from mtl.tracking.outages import LISTED, Outages, is_refusal, reason
from tests.mlflow_server import Server, free_port, wait_for
from tests.tracking.trackers import client, json_lines, points_of, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def notes() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def outages(notes: list[dict[str, Any]]) -> Outages:
    return Outages("run", "http://me:secret@host:5000", "Kept in runs/x.", lambda **values: notes.append(values))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_an_outage_is_reported_once_and_so_is_its_end(
    outages: Outages, notes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    outages.over()  # nothing was lost
    for _ in range(3):
        outages.lost(OSError("no route"))
    outages.over()
    outages.over()
    outages.lost(OSError("no route"))
    assert [("unreachable" in line, "reachable again" in line) for line in lines(capsys)] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert [note["state"] for note in notes] == ["lost"] * 3 + ["ok", "lost"]


def test_a_refusal_is_reported_once_for_each_reason(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    for why in ("too long", "too long", "bad key"):
        outages.refused("a parameter", ValueError(why))
    assert len(lines(capsys)) == 2


def test_what_was_not_sent_is_listed_up_to_a_limit(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"run {number}" for number in range(LISTED + 2)]
    outages.unsent([*names, *names])
    (line,) = lines(capsys)
    assert all(name in line for name in names[:LISTED])
    assert "2 more" in line
    assert names[-1] not in line


def test_no_message_has_a_password(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    outages.lost(OSError("no route to http://me:secret@host:5000/api"))
    outages.unsent(["run"])
    assert all("secret" not in line and "host" in line for line in lines(capsys))


def test_a_reason_is_one_short_line_and_never_empty() -> None:
    assert reason(ValueError("a\n  b\tc")) == "a b c"
    assert len(reason(ValueError("x" * 999))) == 200
    assert reason(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MlflowException("x", error_code=3), False),
        (MlflowException.invalid_parameter_value("x"), True),
        (FileNotFoundError("x"), True),
        (ConnectionError("x"), False),
        (OperationalError("x", {}, Exception()), False),
        (ValueError("x"), True),
    ],
)
def test_only_errors_that_stay_are_refusals(error: Exception, refused: bool) -> None:
    assert is_refusal(error) is refused


# --- through a tracker ------------------------------------------------------------------------------------------------


def test_an_outage_from_the_start_is_reported_once_and_everything_is_on_disk(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracker = tracker_for(tracking_uri=f"http://127.0.0.1:{free_port()}")
    tracker.log_hyperparams({"seed": 1})
    for step in range(5):
        tracker.log_metrics({"val/gad/f1": 0.1 * step}, step=step)
        time.sleep(0.15)
    tracker.log_table({"class": ["x"]}, "report.json")
    assert tracker.run_id is None
    assert tracker.folder.info["mlflow"]["state"] == "lost"
    tracker.finalize("success")
    messages = capsys.readouterr().err.splitlines()
    assert len([line for line in messages if "unreachable" in line]) == 1
    assert ": parameters, metrics, report.json and 1 more" in messages[-1]
    assert len(messages) == 2
    info = tracker.folder.info
    assert (info["status"], info["mlflow"]["state"]) == ("FINISHED", "incomplete")
    assert "error" in info["mlflow"]
    assert len(json_lines(tracker.folder.path / "metrics.jsonl")) == 5
    assert json.loads((tracker.folder.path / "params.json").read_text()) == {"seed": "1"}
    assert json.loads((tracker.folder.artifacts / "report.json").read_text()) == {"columns": ["class"], "data": [["x"]]}


def test_a_store_that_cannot_be_opened_does_not_stop_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    tracker = tracker_for(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize("success")
    assert "unreachable" in capsys.readouterr().err
    assert tracker.folder.info["mlflow"]["state"] == "incomplete"


def test_a_deleted_experiment_is_named_with_its_remedy_and_gets_everything_once_it_is_restored(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = client(store).create_experiment("biomtl")
    client(store).delete_experiment(experiment)
    tracker = tracker_for()
    tracker.log_metrics({"val/gad/f1": 0.5}, step=1)
    assert tracker.run_id is None
    messages = capsys.readouterr().err.splitlines()
    assert len(messages) == 1
    assert f"mlflow experiments restore --experiment-id {experiment}" in messages[0]
    assert "--run.experiment" in messages[0]
    client(store).restore_experiment(experiment)
    tracker.finalize("success")
    assert points_of(store, tracker.run_id)["val/gad/f1"] == [(1, 0.5)]


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_gets_everything(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = tracker_for(tracking_uri=server.url)
    tracker.log_hyperparams({"seed": 1, "empty": "", "note": "n" * 7000})
    tracker.log_metrics({"val/f1": 0.0, "train/loss": float("nan")}, step=0)
    wait_for(lambda: client(server.url).get_run(tracker.run_id).data.metrics["val/f1"] == 0.0)
    server.kill()
    for step in (1, 2):
        tracker.log_metrics({"val/f1": float(step)}, step=step)
    tracker.log_text("hello", "notes/a.txt")
    wait_for(lambda: tracker.folder.info["mlflow"]["state"] == "lost")
    server.start()
    wait_for(lambda: tracker.folder.info["mlflow"]["state"] == "ok")
    tracker.log_dataset("gad", "train", "f" * 64, 12, "data/gad")
    tracker.finalize("success")
    mlflow = client(server.url)
    run = mlflow.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert [m.value for m in mlflow.get_metric_history(tracker.run_id, "val/f1")] == [0.0, 1.0, 2.0]
    assert run.data.metrics["train/loss"] != run.data.metrics["train/loss"]
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["gad"]
    assert [file.path for file in mlflow.list_artifacts(tracker.run_id, "notes")] == ["notes/a.txt"]
    assert [file.path for file in mlflow.list_artifacts(tracker.run_id, "params")] == ["params/note.txt"]
    assert len(capsys.readouterr().err.splitlines()) == 2
    page = f"/#/experiments/{run.info.experiment_id}/runs/{tracker.run_id}?workflowType=machine_learning"
    assert tracker.ui_hint().endswith(page)
