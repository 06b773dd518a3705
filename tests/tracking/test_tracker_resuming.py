"""A run that is resumed or evaluated again has each point once, in one run of MLflow."""

from __future__ import annotations

import atexit
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mtl.tracking.run_folder import RunFolder
from tests.mlflow_server import wait_for
from tests.tracking.trackers import client, json_lines, points_of, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")


def test_logging_after_the_end_of_fit_reopens_the_run(store: str) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize("success")
    tracker.log_metrics({"test/gad/f1": 0.5}, step=1)
    assert tracker.folder.info["status"] == "RUNNING"
    tracker.finalize("failed")
    run = client(store).get_run(tracker.run_id)
    assert (run.info.status, run.data.metrics["test/gad/f1"]) == ("FAILED", 0.5)
    assert len(client(store).search_runs([run.info.experiment_id])) == 1


def test_a_resumed_run_continues_and_changed_parameters_become_tags(store: str) -> None:
    first = tracker_for()
    first.log_hyperparams({"seed": 1, "epochs": 2, "note": "a" * 7000})
    first.log_metrics({"train/loss": 1.0}, step=0)
    first.finalize("killed")
    second = tracker_for(RunFolder.open(first.folder.path), run_id=first.run_id)
    second.log_hyperparams({"seed": 1, "epochs": 5, "new": "x", "note": "a" * 7000})
    second.log_metrics({"train/loss": 0.5}, step=1)
    second.finalize("success")
    third = tracker_for(RunFolder.open(first.folder.path), run_id=first.run_id)
    third.log_hyperparams({"note": "b" * 7000})
    third.finalize("success")
    run = client(store).get_run(first.run_id)
    assert second.run_id == third.run_id == first.run_id
    assert {k: run.data.params[k] for k in ("seed", "epochs", "new")} == {"seed": "1", "epochs": "2", "new": "x"}
    assert {k: v for k, v in run.data.tags.items() if k.startswith("resumed")} == {
        "resumed": "2",
        "resumed.1.epochs": "5",
        "resumed.2.note": run.data.tags["resumed.2.note"],
    }
    assert [m.value for m in client(store).get_metric_history(first.run_id, "train/loss")] == [1.0, 0.5]
    assert run.info.status == "FINISHED"


def test_a_killed_run_that_resumes_has_each_point_once(store: str) -> None:
    first = tracker_for()
    first.log_metrics({"data/gad/rows": 7.0}, step=0)
    for step in (1, 2):
        first.log_metrics({"train/gad/loss": 1 / step}, step=step)
    assert first.run_id is not None
    wait_for(lambda: [s for s, _ in points_of(store, first.run_id).get("train/gad/loss", [])] == [1, 2])
    first._queue.close()  # as if killed: nothing ends the run
    atexit.unregister(first._at_exit)
    # Killed within the interval of sending, so this line is on disk only.
    later = {"step": 3, "time": time.time(), "metrics": {"train/gad/loss": 1 / 3, "val/gad/f1": 0.5}}
    with (first.folder.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(later) + "\n")
    second = tracker_for(RunFolder.open(first.folder.path), run_id=first.run_id)
    second.log_metrics({"data/gad/rows": 7.0}, step=0)
    for step in (2, 3, 4):  # from a checkpoint after step 1
        second.log_metrics({"train/gad/loss": 1 / step}, step=step)
    second.log_metrics({"val/gad/f1": 0.5}, step=3)
    second.finalize("success")
    expected = {
        "data/gad/rows": [(0, 7.0)],
        "train/gad/loss": [(step, 1 / step) for step in (1, 2, 3, 4)],
        "val/gad/f1": [(3, 0.5)],
    }
    assert {name: points_of(store, first.run_id)[name] for name in expected} == expected
    on_disk = [
        (name, line["step"]) for line in json_lines(first.folder.path / "metrics.jsonl") for name in line["metrics"]
    ]
    assert len(on_disk) == len(set(on_disk))


def test_a_resumed_run_whose_numbers_are_lost_has_each_point_once(store: str) -> None:
    folder = RunFolder.create(Path("runs"), "demo", 1)
    first = tracker_for(folder)
    for step in range(3):
        first.log_metrics({"data/kind/train/read": 4.0} if not step else {"train/loss": 1.0 / step}, step=step)
    first.finalize("failed")
    (folder.path / "metrics.jsonl").unlink()
    second = tracker_for(folder, run_id=first.run_id)
    second.log_metrics({"data/kind/train/read": 4.0}, step=0)
    for step in (2, 3):
        second.log_metrics({"train/loss": 1.0 / step}, step=step)
    second.finalize("success")
    points = points_of(store, first.run_id)
    assert points["data/kind/train/read"] == [(0, 4.0)]
    assert points["train/loss"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_run_that_mlflow_has_lost_gets_all_points_of_its_folder(store: str) -> None:
    first = tracker_for()
    for step in range(3):
        first.log_metrics({"train/gad/loss": 1.0 + step}, step=step)
    first.finalize("killed")
    client(store).delete_run(first.run_id)
    second = tracker_for(RunFolder.open(first.folder.path), run_id=first.run_id)
    second.log_metrics({"train/gad/loss": 9.0}, step=3)
    second.finalize("success")
    assert points_of(store, second.run_id)["train/gad/loss"] == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 9.0)]


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_run_whose_creation_got_no_answer_is_not_created_twice(
    is_killed: bool, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create, failures = MlflowClient.create_run, [ConnectionError("no answer")]

    def no_answer() -> Any:
        raise ConnectionError("no answer")

    def create_without_answer(self: Any, *arguments: Any, **more: Any) -> Any:
        made = create(self, *arguments, **more)
        if failures:
            raise failures.pop()
        return made

    monkeypatch.setattr(MlflowClient, "create_run", create_without_answer)
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    if is_killed:  # before the next attempt; another process resumes the run
        wait_for(lambda: not failures)
        monkeypatch.setattr(tracker._queue, "_connect", no_answer)
        atexit.unregister(tracker._at_exit)
        tracker = tracker_for(RunFolder.open(tracker.folder.path))
        tracker.log_metrics({"train/loss": 0.5}, step=1)
    tracker.finalize("success")
    assert tracker.run_id is not None
    (run,) = client(store).search_runs([client(store).get_experiment_by_name("biomtl").experiment_id])
    assert (run.info.run_id, run.info.status) == (tracker.run_id, "FINISHED")
    assert points_of(store, tracker.run_id)["train/loss"] == [(0, 1.0), (1, 0.5)][: 2 if is_killed else 1]


def test_an_evaluation_of_another_checkpoint_adds_its_points_and_a_repeated_one_none(store: str) -> None:
    first = tracker_for()
    first.log_metrics({"test/gad/f1": 0.5}, step=0)
    first.finalize("success")
    for value in (0.5, 0.6):
        again = tracker_for(RunFolder.open(first.folder.path), run_id=first.run_id)
        again.keeps_status = True
        again.log_metrics({"test/gad/f1": value}, step=0)
        again.finalize("success")
    assert points_of(store, first.run_id)["test/gad/f1"] == [(0, 0.5), (0, 0.6)]


def test_an_unknown_run_is_replaced_and_named_in_a_tag(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = tracker_for(run_id="0" * 32)
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize("success")
    assert client(store).get_run(tracker.run_id).data.tags["resumed.from"] == "0" * 32
    assert "has no run 000" in capsys.readouterr().err
