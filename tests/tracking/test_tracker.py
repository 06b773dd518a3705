"""What a tracker records of a run, in its folder and in MLflow."""

from __future__ import annotations

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtl.tracking.run_folder import RunFolder
from mtl.tracking.tracker import MLflowTracker
from tests.mlflow_server import wait_for
from tests.tracking.trackers import client, json_lines, tracker_for

REPOSITORY = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("bare_environment")


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
    first = next(line for line in json_lines(tracker.folder.path / "metrics.jsonl") if "val/gad/f1" in line["metrics"])
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


def test_nan_is_sent_to_mlflow_and_null_on_disk(store: str) -> None:
    tracker = tracker_for()
    tracker.log_metrics({"train/loss": float("nan"), "train/norm": float("inf"), "train/ok": 1.0}, step=0)
    tracker.finalize("success")
    metrics = client(store).get_run(tracker.run_id).data.metrics
    assert metrics["train/loss"] != metrics["train/loss"]
    assert metrics["train/norm"] > 1e300
    assert json_lines(tracker.folder.path / "metrics.jsonl")[0]["metrics"] == {
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
