import atexit
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mtl.tracking import run_folder, send_queue, versions
from mtl.tracking.mlflow_client import end_run, open_store
from mtl.tracking.mlflow_run import MLflowRun
from mtl.tracking.run_folder import FOLDER_VARIABLE, RunFolder
from mtl.tracking.tracker import MLflowTracker
from tests.mlflow_server import Server, free_port, wait_for

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_BACKEND_STORE_URI", FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(send_queue, "SEND_EVERY", 0.05)
    monkeypatch.setattr(send_queue, "LAST_TRY", 0.05)
    monkeypatch.chdir(tmp_path)


def tracker_for(folder: RunFolder | None = None, **arguments: Any) -> MLflowTracker:
    return MLflowTracker(folder or RunFolder.create(Path("runs"), "demo", 1), run_name="demo s1", **arguments)


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_parameters_metrics_tags_and_the_status_finished(store: str) -> None:
    tracker = tracker_for(tags={"mixture": "demo"})
    tracker.log_hyperparams({"encoder": {"name": "tiny", "layers": [1, 2]}, "seed": 1, "empty": {}, "none": None})
    for step in range(3):
        tracker.log_metrics({"train/gad/loss": 1.0 / (step + 1)}, step=step)
    tracker.set_tags({"selected by": "mean"})
    tracker.finalize("success")
    run = client(store).get_run(tracker.run_id)
    assert run.data.params == {
        "encoder.name": "tiny",
        "encoder.layers": "[1, 2]",
        "seed": "1",
        "empty": "{}",
        "none": "None",
    }
    history = client(store).get_metric_history(run.info.run_id, "train/gad/loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert run.data.tags["mixture"] == "demo"
    assert run.data.tags["selected by"] == "mean"
    assert (run.info.status, run.info.run_name) == ("FINISHED", "demo s1")
    assert client(store).get_experiment(run.info.experiment_id).name == "biomtl"


def test_the_folder_names_the_mlflow_run_and_has_the_same_numbers(store: str) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"val/gad/f1": 0.5}, step=4)
    tracker.finalize("success")
    info = tracker.folder.info
    assert info["status"] == "FINISHED"
    assert info["mlflow"].pop("token")
    assert info["mlflow"] == {
        "run_id": tracker.run_id,
        "experiment": "biomtl",
        "tracking_uri": store,
        "state": "ok",
    }
    first = next(line for line in lines(tracker.folder.path / "metrics.jsonl") if "val/gad/f1" in line["metrics"])
    assert (first["step"], first["metrics"]) == (4, {"val/gad/f1": 0.5})


def test_no_user_and_no_host_is_sent(store: str) -> None:
    tracker = tracker_for()
    tracker.log_versions()
    tracker.finalize("success")
    run = client(store).get_run(tracker.run_id)
    assert "mlflow.user" not in run.data.tags
    assert run.info.user_id in ("", "unknown", None)
    sent = " ".join([*run.data.tags.values(), *run.data.params.values()])
    assert socket.gethostname() not in sent
    assert str(Path.home()) not in sent


@pytest.mark.parametrize(("reported", "status"), [("success", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED")])
def test_the_final_status_is_recorded(store: str, reported: str, status: str) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize(reported)
    assert client(store).get_run(tracker.run_id).info.status == status
    assert tracker.folder.info["status"] == status


def test_an_interrupt_that_lightning_reports_as_failed_is_killed(store: str) -> None:
    tracker = tracker_for()
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        tracker.finalize("failed")
    assert tracker.folder.info["status"] == "KILLED"
    assert client(store).get_run(tracker.run_id).info.status == "KILLED"


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


def in_mlflow(store: str, folder: RunFolder) -> str:
    return str(client(store).get_run(folder.info["mlflow"]["run_id"]).info.status)


forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")


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


def points_of(store: str, run_id: str | None) -> dict[str, list[tuple[int, float]]]:
    """All points that MLflow has of a run, by metric."""
    metrics = client(store).get_run(run_id).data.metrics
    histories = {name: client(store).get_metric_history(run_id, name) for name in metrics}
    return {name: [(point.step, point.value) for point in history] for name, history in histories.items()}


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
    on_disk = [(name, line["step"]) for line in lines(first.folder.path / "metrics.jsonl") for name in line["metrics"]]
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
        monkeypatch.setattr(tracker, "_connect", lambda: None)
        tracker = tracker_for(RunFolder.open(tracker.folder.path))
        tracker.log_metrics({"train/loss": 0.5}, step=1)
    tracker.finalize("success")
    assert tracker.run_id is not None
    (run,) = client(store).search_runs([client(store).get_experiment_by_name("biomtl").experiment_id])
    assert (run.info.run_id, run.info.status) == (tracker.run_id, "FINISHED")
    assert points_of(store, tracker.run_id)["train/loss"] == [(0, 1.0), (1, 0.5)][: 2 if is_killed else 1]


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


def test_more_tables_than_mlflow_can_list_are_stored_all_the_same(store: str) -> None:
    tracker = tracker_for()
    for number in range(200):
        tracker.log_table(
            {"class": ["x"], "f1": [number / 200]}, f"test/a_task_with_a_long_name_{number}/per_class.json"
        )
    tracker.finalize("success")
    stored = client(store).list_artifacts(tracker.run_id, "test")
    assert len(stored) == 200
    assert tracker.folder.info["mlflow"]["state"] == "ok"
    listed = json.loads(client(store).get_run(tracker.run_id).data.tags["mlflow.loggedArtifacts"])
    assert 60 < len(listed) < 200


def test_an_unknown_run_is_replaced_and_named_in_a_tag(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = tracker_for(run_id="0" * 32)
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.finalize("success")
    assert client(store).get_run(tracker.run_id).data.tags["resumed.from"] == "0" * 32
    assert "has no run 000" in capsys.readouterr().err


def test_nan_is_sent_to_mlflow_and_null_on_disk(store: str) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": float("nan"), "train/norm": float("inf"), "train/ok": 1.0}, step=0)
    tracker.finalize("success")
    metrics = client(store).get_run(tracker.run_id).data.metrics
    assert metrics["train/loss"] != metrics["train/loss"]
    assert metrics["train/norm"] > 1e300
    assert lines(tracker.folder.path / "metrics.jsonl")[0]["metrics"] == {
        "train/loss": None,
        "train/norm": None,
        "train/ok": 1.0,
    }


def test_logging_a_step_does_not_wait_for_mlflow(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    gate = threading.Event()

    def hang(_: MLflowTracker) -> None:
        gate.wait(60)
        raise ConnectionError("away")

    monkeypatch.setattr(MLflowTracker, "_connect", hang)
    monkeypatch.setattr("mtl.tracking.send_queue.PATIENCE", 0.1)
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": 1.0}, step=0)  # loads MLflow
    start = time.perf_counter()
    for step in range(100):
        tracker.log_metrics({"train/loss": 1.0, "train/gad/loss": 2.0}, step=step)
    tracker.finalize("success")
    assert time.perf_counter() - start < 1.0
    assert tracker.folder.info["mlflow"]["state"] == "incomplete"
    gate.set()
    wait_for(lambda: not any(thread.name == "mtl-tracking" for thread in set(threading.enumerate()) - before))


def test_reports_are_stored_as_text_table_figure_and_json(store: str) -> None:
    from matplotlib.figure import Figure

    tracker = tracker_for()
    tracker.log_text("hello", "notes/a.txt")
    tracker.log_dict({"a": 1}, "b.json")
    for _ in range(2):  # a resumed run reports again: replaced, not appended
        tracker.log_table({"class": ["x", "y"], "f1": [0.5, float("nan")]}, "report/c.json")
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    tracker.log_figure(figure, "report/d.png")
    tracker.folder.write_metrics("dev", {"gad": {"f1": 0.5}})
    tracker.finalize("success")
    mlflow = client(store)
    held = {item.path for folder in ("", "notes", "report") for item in mlflow.list_artifacts(tracker.run_id, folder)}
    assert held == {"notes", "report", "notes/a.txt", "b.json", "report/c.json", "report/d.png", "metrics.json"}
    table = mlflow.load_table(client(store).get_run(tracker.run_id).info.experiment_id, "report/c.json")
    assert table["class"].tolist() == ["x", "y"]
    assert table["f1"].tolist()[0] == 0.5
    assert (tracker.folder.artifacts / "report/d.png").read_bytes()[1:4] == b"PNG"


def test_artifacts_are_beside_the_database_not_in_the_working_folder(store: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with contextlib.chdir(elsewhere):
        tracker = tracker_for(tracking_uri=store)
        tracker.log_text("hello", "a.txt")
        tracker.finalize("success")
    assert [path.read_text() for path in (tmp_path / "mlruns").rglob("a.txt")] == ["hello"]
    assert not (elsewhere / "mlruns").exists()


def test_versions_threads_and_the_commit_are_parameters(store: str, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    tracker = tracker_for()
    clean = tracker.log_versions()
    tracker.finalize("success")
    (tmp_path / "file").write_text("2")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    run = client(store).get_run(tracker.run_id)
    import torch

    assert torch.__version__.startswith(run.data.params["version.torch"])
    assert run.data.params["machine.threads"] == str(torch.get_num_threads())
    assert run.data.params["git.commit"] == run.data.tags["mlflow.source.git.commit"] == commit
    assert (clean["git.dirty"], versions.versions()["git.dirty"]) == ("false", "true")
    (tmp_path / "file").write_text("1")
    (tmp_path / "mlflow.txt").write_text("what a run leaves is no code")
    assert versions.versions()["git.dirty"] == "false"
    (tmp_path / "new_head.py").write_text("")
    assert versions.versions()["git.dirty"] == "true"


def test_the_load_of_the_machine_is_sampled_on_request(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    quiet = tracker_for()
    quiet.log_metrics({"train/loss": 1.0}, step=0)
    quiet.finalize("success")
    assert client(store).get_run(quiet.run_id).data.metrics == {"train/loss": 1.0}
    tracker = tracker_for(samples_load=True)
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    assert tracker.run_id
    tracker.finalize("success")
    metrics = client(store).get_run(tracker.run_id).data.metrics
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in metrics


def test_metrics_that_are_not_sent_are_in_the_folder(store: str) -> None:
    def sends(name: str) -> bool:
        return name.startswith("val/")

    first = tracker_for(sends=sends)
    first.log_metrics({"val/f1": 0.5, "data/rows": 7.0}, step=0)
    first.finalize("killed")
    lines = [json.loads(line) for line in (first.folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["metrics"] for line in lines] == [{"val/f1": 0.5, "data/rows": 7.0}]
    resumed = tracker_for(run_id=first.run_id, sends=sends)
    resumed.log_metrics({"val/f1": 0.6, "data/rows": 7.0}, step=1)
    resumed.finalize("success")
    assert client(store).get_run(first.run_id).data.metrics == {"val/f1": 0.6}


def test_the_experiment_is_taken_from_the_environment_unless_given(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert tracker_for().experiment_name == "mine"
    assert tracker_for(experiment="given").experiment_name == "given"


def test_other_ranks_write_nothing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(Path("runs"), "demo", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    tracker = tracker_for(folder)
    tracker.log_hyperparams({"a": 1})
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    tracker.log_text("x", "a.txt")
    tracker.log_table({"a": [1]}, "t.json")
    tracker.finalize("success")
    assert tracker.run_id is None
    assert [path.name for path in folder.path.iterdir()] == ["run.json"]
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        assert database.execute("select count(*) from runs").fetchone() == (0,)


# --- under Lightning's trainer ---------------------------------------------------------------------------------------


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning answers an interrupt by ignoring all further ones."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("error", "seen", "status"),
    [(None, None, "FINISHED"), (RuntimeError, RuntimeError, "FAILED"), (KeyboardInterrupt, SystemExit, "KILLED")],
)
def test_training_with_lightning_records_the_right_status(
    store: str, error: type[BaseException] | None, seen: type[BaseException] | None, status: str
) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.demos.boring_classes import BoringModel

    class Model(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            out = super().training_step(batch, batch_idx)
            self.log("train/loss", out["loss"])
            if error is not None and batch_idx == 2:
                raise error
            return out

    tracker = tracker_for()
    trainer = pl.Trainer(
        logger=tracker,
        max_steps=4,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    with pytest.raises(seen) if seen else contextlib.nullcontext():
        trainer.fit(Model())
    run = client(store).get_run(tracker.run_id)
    assert (run.info.status, tracker.folder.info["status"]) == (status, status)
    assert "train/loss" in run.data.metrics


# --- where MLflow is -------------------------------------------------------------------------------------------------


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


# --- while MLflow is away --------------------------------------------------------------------------------------------


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
    assert len(lines(tracker.folder.path / "metrics.jsonl")) == 5
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


# --- real processes --------------------------------------------------------------------------------------------------


def run_python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LOG_ONE = """
from pathlib import Path
from mtl.tracking.run_folder import RunFolder
from mtl.tracking.tracker import MLflowTracker
tracker = MLflowTracker(RunFolder.create(Path("runs"), "demo", 1), run_name="demo")
tracker.log_metrics({"val/f1": 0.5}, step=1)
"""


def statuses(uri: str) -> list[str]:
    found = client(uri)
    return [r.info.status for r in found.search_runs([e.experiment_id for e in found.search_experiments()])]


@pytest.mark.slow
def test_a_process_that_ends_without_finalizing_leaves_a_failed_run_with_its_numbers(store: str) -> None:
    process = run_python(LOG_ONE + "raise SystemExit(3)")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3, errors
    assert errors == ""
    assert statuses(store) == ["FAILED"]
    assert RunFolder.latest(Path("runs"), "demo").info["status"] == "FAILED"


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
