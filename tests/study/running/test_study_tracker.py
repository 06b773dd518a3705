"""A study in MLflow: what is there, and what happens while MLflow is unreachable."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.commands import run as run_mtl
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.study_file import load_study
from mtl.study.running import study_tracker, train_run
from mtl.study.running.ledger import Ledger
from mtl.study.running.session import Session
from mtl.study.running.study_tracker import StudyTracker
from mtl.tracking import mlflow_run, send_queue
from tests import five_tasks
from tests.five_tasks import SECRET
from tests.mlflow_server import Server, free_port, wait_for
from tests.study.finished import NAME, SEEDS, Finished, artifacts, client, runs

# --- what is in MLflow ------------------------------------------------------------------------------------------------


def test_a_study_is_a_finished_run_with_a_finished_nested_run_for_each_run(finished: Finished) -> None:
    assert finished.parent.info.status == "FINISHED"
    assert finished.parent.info.run_name == NAME
    assert {run.data.tags["mlflow.parentRunId"] for run in finished.nested} == {finished.parent.info.run_id}
    assert {run.info.status for run in finished.nested} == {"FINISHED"}
    assert {run.info.experiment_id for run in finished.nested} == {finished.parent.info.experiment_id}
    assert sorted(run.data.tags["key"] for run in finished.nested) == sorted(
        cost["key"] for cost in finished.findings["costs"]
    )


def test_gains_are_metrics_of_the_study_equal_to_the_report(finished: Finished) -> None:
    metrics = finished.parent.data.metrics
    expected = {
        f"{'' if family['design'] == 'pairwise' else family['design'] + '/'}gain/{gain['target']}/{gain['partner']}": (
            sum(gain["differences"]) / len(SEEDS)
        )
        for family in finished.findings["families"]
        for gain in family["gains"]
    }
    expected = {mlflow_run.allowed_name(name): value for name, value in expected.items()}
    assert {"gain/kind/mentions", "gain/mentions/kind", "sequential/gain/kind/mentions"} <= set(expected)
    assert {name: value for name, value in metrics.items() if "gain/" in name} == pytest.approx(expected)
    for target, facts in finished.findings["targets"].items():
        assert metrics[f"single/{target}"] == pytest.approx(sum(facts["single"]) / len(SEEDS))
    assert metrics["cost/runs"] == len(finished.nested)


def test_gains_and_costs_are_tables_that_mlflow_loads(finished: Finished) -> None:
    with five_tasks.surroundings(finished.folder):
        found = client(finished.store)
        gains = found.load_table(finished.parent.info.experiment_id, "gains.json")
        costs = found.load_table(finished.parent.info.experiment_id, "costs.json")
    rows = {(row["design"], row["target"], row["partner"]): row for _, row in gains.iterrows()}
    for family in finished.findings["families"]:
        for gain in family["gains"]:
            row = rows[family["design"], gain["target"], gain["partner"]]
            assert row["mean"] == pytest.approx(sum(gain["differences"]) / len(SEEDS), abs=1e-9)
            assert row["n"] == len(SEEDS)
            assert row["verdict"] == ("control" if family["is_control"] else "unresolvable")
    assert len(gains) == 8
    assert sorted(costs["key"]) == sorted(run.data.tags["key"] for run in finished.nested)
    assert (costs["seconds"] > 0).all()


def test_figures_pages_and_tables_are_artifacts_of_the_study(finished: Finished) -> None:
    designs = ("pairwise", "sequential", "refine_finetune", "self_partner")
    there = artifacts(finished.store, finished.parent)
    assert there == {
        *(f"heat_map_{design}.{kind}" for design in designs for kind in ("png", "html")),
        *(f"{kind}_{target}.png" for kind in ("forest", "curves") for target in ("kind", "mentions")),
        *("report.html", "findings.json", "gains.csv", "gains.json", "costs.json", "stages.json", "study.json"),
        "surfaces.json",
    }
    for run in finished.nested:
        assert artifacts(finished.store, run) == {"result.json", "counts.npz"}


@pytest.mark.usefixtures("store")
def test_other_files_in_the_folder_of_the_report_are_not_sent(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    toy_study(designs=["single"], tasks=["cause"])
    (tmp_path / "patients.csv").write_text(SECRET)
    assert run_mtl(["study", "run", "study.yaml", "--out", "."]) == 0  # where mlflow.db and mlruns are, too
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    there = artifacts(tmp_path / "mlflow.db", parent)
    assert there == {
        "report.html",
        "findings.json",
        "gains.csv",
        "gains.json",
        "costs.json",
        "study.json",
        "curves_cause.png",
    }
    assert not [
        path for path in (tmp_path / "mlruns").rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")
    ]


def test_the_description_in_mlflow_names_significant_gains(finished: Finished) -> None:
    note = finished.parent.data.tags["mlflow.note.content"]
    assert "Which task helps which?" in note
    assert "significant" in note
    assert "report.html" in note


def test_versions_and_machine_are_parameters_of_the_study(finished: Finished) -> None:
    assert {"version.torch", "version.transformers", "machine.threads"} <= set(finished.parent.data.params)


def test_no_text_of_a_row_is_in_mlflow(finished: Finished) -> None:
    assert SECRET in (finished.folder / "kind" / "train.jsonl").read_text()  # it could be found
    files = [finished.store, *(finished.folder / "mlruns").rglob("*")]
    files = [path for path in files if path.is_file()]
    assert len(files) > 2 * len(finished.nested)
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                content = b" ".join(" ".join(map(str, arrays[name].ravel())).encode() for name in arrays.files)
        assert SECRET.encode() not in content, path


# --- what is unfinished -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_study_that_lacks_runs_does_not_look_finished(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_study(tasks=["cause", "risk"])
    real = train_run.train

    def fragile(order: Any, ledger: Any) -> Any:
        if order.name == "cause + risk, seed 1":
            raise MemoryError("no room")
        if order.name == "risk, seed 0":
            wait_for(lambda: [run.info.status for run in runs(tmp_path / "mlflow.db", "study")] == ["RUNNING"])
        return real(order, ledger)

    monkeypatch.setattr(train_run, "train", fragile)
    assert run_mtl(["study", "run", "study.yaml"]) == 1
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    assert parent.info.status == "FAILED"
    assert "runs are missing" in parent.data.tags["mlflow.note.content"]
    monkeypatch.setattr(train_run, "train", real)
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    assert parent.info.status == "FINISHED"
    assert "missing" not in parent.data.tags["mlflow.note.content"]


@pytest.mark.usefixtures("store")
def test_a_study_that_is_interrupted_is_killed_in_mlflow_too(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_study(designs=["single"])

    def interrupted(order: Any, ledger: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_run, "train", interrupted)
    assert run_mtl(["study", "run", "study.yaml"]) == 1
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    assert parent.info.status == "KILLED"


# --- order, outages and other drivers, with invented results ----------------------------------------------------------


DESCRIPTION: dict[str, Any] = {"study": "invented", "runs": {}, "versions": {"version.torch": "2"}}


def invent(ledger: Ledger, *names: str) -> list[RunSpec]:
    """Runs that are finished in the ledger, of one task and with two points on its curve."""
    mixture: dict[str, Any] = {"tasks": {"cause": {"head": "classification"}}}
    orders = []
    for name in names:
        order = RunSpec(
            key=f"key of {name}",
            configuration=f"configuration of {name}",
            name=name,
            trains="cause",
            tasks=("cause",),
            targets=("cause",),
            seed=0,
            designs=("single",),
            mixture=mixture,
            evaluations=2,
            select="best",
            model={},
            trainer={},
        )
        curve = [{"updates": {"cause": 2 * n}, "dev": {"cause": {"accuracy": 0.1 * n, "auc": None}}} for n in (1, 2)]
        result = {"test": {"cause": {"accuracy": 0.5, "auc": None}}, "curve": curve, "cost": {"seconds": 3.0}}
        ledger.finish(order.key, result, {"cause": {"counts": np.ones((2, 2))}})
        orders.append(order)
    return orders


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the seconds between two attempts."""
    monkeypatch.setattr(send_queue, "SEND_EVERY", 0.05)
    monkeypatch.setattr(send_queue, "LAST_TRY", 0.05)


def publish(orders: list[RunSpec], ledger: Ledger, uri: str) -> StudyTracker:
    """What a command does that finds these runs finished."""
    tracker = StudyTracker("invented", uri=uri)
    tracker.describe(DESCRIPTION)
    tracker.publish(orders, ledger)
    tracker.close()
    return tracker


def sent(uri: str) -> dict[str, str]:
    """The status of every nested run, by name, which no two share."""
    found = [(run.info.run_name, run.info.status) for run in runs(uri, "study_run")]
    assert len(dict(found)) == len(found)
    return dict(found)


def markers(ledger: Ledger) -> int:
    return len(list(ledger.folder.glob("*/*/published.json")))


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_partly_sent_is_completed_once(
    store: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    def lost(*_: Any, **__: Any) -> None:
        raise ConnectionError("away")

    orders = invent(ledger, "first", "second")
    with monkeypatch.context() as outage:
        outage.setattr(MlflowClient, "set_terminated", lost)
        publish(orders, ledger, store)
    assert sent(store) == {"first": "RUNNING"}  # the second waits for it
    assert markers(ledger) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("unreachable (away)") for line in lines] == [1, 0]
    assert "run 'first', run 'second'" in lines[1]
    publish(orders, ledger, store)
    assert sent(store) == {"first": "FINISHED", "second": "FINISHED"}
    assert markers(ledger) == 2
    for run in runs(store, "study_run"):
        history = client(store).get_metric_history(run.info.run_id, "val/cause/accuracy")
        assert sorted((point.step, point.value) for point in history) == [(2, 0.1), (4, 0.2)]
        assert run.data.metrics == {"val/cause/accuracy": 0.2, "test/cause/accuracy": 0.5, "cost/seconds": 3.0}
        assert run.info.end_time - run.info.start_time == 3000
    assert capsys.readouterr().err == ""


def test_a_run_that_another_machine_sent_is_not_sent_again(store: str, ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other machine")
    first = publish(invent(other, "first", "second"), other, store)
    second = publish(invent(ledger, "second", "third"), ledger, store)
    assert sent(store) == dict.fromkeys(("first", "second", "third"), "FINISHED")
    assert markers(ledger) == 2
    assert first.ui_hint() == second.ui_hint()
    assert len(runs(store, "study")) == 1


def test_a_run_that_was_deleted_in_mlflow_is_sent_by_the_next_command(store: str, ledger: Ledger) -> None:
    orders = invent(ledger, "first", "second")
    publish(orders, ledger, store)
    kept = {run.info.run_name: run.info.run_id for run in runs(store, "study_run")}
    client(store).delete_run(kept.pop("first"))
    publish(orders, ledger, store)
    assert sent(store) == {"first": "FINISHED", "second": "FINISHED"}
    assert kept.items() <= {run.info.run_name: run.info.run_id for run in runs(store, "study_run")}.items()


def test_a_run_that_mlflow_refuses_is_reported_and_sent_by_the_next_command(
    store: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    real = MlflowClient.create_run

    def picky(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        if options.get("run_name") == "first":
            raise ValueError("not this one")
        return real(self, *arguments, **options)

    orders = invent(ledger, "first", "second")
    with monkeypatch.context() as refusing:
        refusing.setattr(MlflowClient, "create_run", picky)
        publish(orders, ledger, store)
    assert sent(store) == {"second": "FINISHED"}
    assert capsys.readouterr().err.count("refused: run 'first' (not this one)") == 1
    publish(orders, ledger, store)
    assert sent(store) == {"first": "FINISHED", "second": "FINISHED"}


def test_drivers_on_two_machines_that_start_at_once_share_one_parent(
    store: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    real = MlflowClient.create_run
    orders = invent(ledger, "first", "second")

    def create_run(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(MlflowClient, "create_run", real)
        publish(orders[:1], ledger, store)  # between the second's look at what is there and its own beginning
        return real(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    monkeypatch.setattr(study_tracker, "creation_lock", lambda uri: nullcontext())  # no file that both machines see
    publish(orders[1:], ledger, store)
    (parent,) = runs(store, "study")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(store, "study_run")} == {parent.info.run_id}
    assert sent(store) == {"first": "FINISHED", "second": "FINISHED"}


@pytest.mark.usefixtures("quick")
def test_an_outage_is_reported_once_for_reading_and_sending(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = StudyTracker("invented", uri=f"http://me:s3cret@127.0.0.1:{free_port()}")
    assert tracker.finished() is None
    assert tracker.known_description() == {}
    tracker.publish(invent(ledger, "first"), ledger)
    tracker.end("KILLED")
    tracker.close()
    error = capsys.readouterr().err
    assert ["unreachable" in line for line in error.splitlines()] == [True, False]
    assert ": run 'first', status" in error
    assert "s3cret" not in error


@pytest.mark.usefixtures("store")
def test_training_does_not_wait_for_mlflow(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    made = Session(load_study(toy_study(designs=["single"], tasks=["cause"])), Path("runs"))
    real, real_create = train_run.train, MlflowClient.create_run
    trained: list[str] = []
    last_begins = threading.Event()

    def train(order: RunSpec, ledger: Ledger) -> Any:
        trained.append(order.key)
        if len(trained) == len(made.plan.run_specs):
            last_begins.set()
        return real(order, ledger)

    def create_run(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        assert options["tags"]["kind"] == "study" or last_begins.wait(60)
        return real_create(self, *arguments, **options)

    monkeypatch.setattr(train_run, "train", train)
    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    made.run("first")
    made.tracker.close()
    assert sorted(run.data.tags["key"] for run in runs(tmp_path / "mlflow.db", "study_run")) == sorted(trained)
    assert len(trained) == 2


@pytest.mark.slow
def test_after_a_server_failure_the_next_command_sends_the_rest_and_trains_nothing(
    toy_study: Callable[..., Path],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toy_study(name="interrupted", tasks=["cause", "risk"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ledger, real, trained = Ledger(tmp_path / "runs" / "ledger"), train_run.train, []

    def train(order: Any, into: Any) -> Any:
        trained.append(order.key)
        if len(trained) == 4:
            wait_for(lambda: markers(ledger) == 3)
            server.kill()
        return real(order, into)

    monkeypatch.setattr(train_run, "train", train)
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mtl:")]
    assert len(lines) == 2
    assert "unreachable" in lines[0]
    assert "and 2 more" in lines[1]  # three runs, the description and the report
    report = tmp_path / "runs" / "studies" / "interrupted" / "report" / "findings.json"
    first = json.loads(report.read_text())
    assert not first["missing"]
    assert len(trained) == len(set(trained)) == 6

    server.start()
    assert len(runs(server.url, "study_run", "interrupted")) == 3
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    assert len(trained) == 6
    assert json.loads(report.read_text()) == first
    nested = runs(server.url, "study_run", "interrupted")
    assert sorted(run.data.tags["key"] for run in nested) == sorted(trained)
    assert {run.info.status for run in nested} == {"FINISHED"}
    (parent,) = runs(server.url, "study", "interrupted")
    assert parent.info.status == "FINISHED"
    address = f"{server.url}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    assert f"See it in MLflow: {address}" in capsys.readouterr().out

    monkeypatch.chdir(tmp_path / "cache")
    assert run_mtl(["study", "report", "interrupted", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    gains = {(gain["target"], gain["partner"]): gain for family in first["families"] for gain in family["gains"]}
    assert len(gains) == 2
    for (target, partner), gain in gains.items():
        assert parent.data.metrics[f"gain/{target}/{partner}"] == gain["cell"]["mean"]
