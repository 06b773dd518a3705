"""A study in MLflow: what is there, that it is enough for the report, and what happens while MLflow is away."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from mtl.commands import run as run_mtl
from mtl.study.design.spec import load_study
from mtl.study.running import study_tracker, train_run
from mtl.study.running.session import Session
from mtl.study.running.study_tracker import StudyTracker
from mtl.tracking import mlflow_client
from tests import five_tasks
from tests.five_tasks import SECRET
from tests.mlflow_server import Server, free_port, servers

NAME = "kind's study"
"""With a quote, which means something in MLflow's queries."""

SEEDS = (0, 1)


class Finished(NamedTuple):
    """A finished study, which the tests share and don't change."""

    folder: Path
    parent: Any
    nested: list[Any]
    findings: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.folder / "runs" / "studies" / NAME / "report"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow has migrated: copied, it saves each test the seconds that takes."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow_client.prepare_mlflow()
    client(path).get_experiment_by_name("none")
    return path


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path], empty_store: Path
) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    five_tasks.write(folder, tiny_encoder("bert"))
    shutil.copy(empty_store, folder / "mlflow.db")
    study = {
        "name": NAME,
        "mixture": "five.yaml",
        "tasks": ["kind", "mentions"],
        "designs": ["pairwise", "sequential", {"refine_finetune": {"heads": "fresh"}}],
        "controls": ["self_partner"],
        "seeds": len(SEEDS),
        "budget": {"updates": 4, "evaluations": 2},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    with five_tasks.surroundings(folder):
        assert run_mtl(["study", "run", "study.yaml"]) == 0
    parents = runs(folder / "mlflow.db", "study")
    assert len(parents) == 1
    report = folder / "runs" / "studies" / NAME / "report" / "findings.json"
    return Finished(folder, parents[0], runs(folder / "mlflow.db", "study_run"), json.loads(report.read_text()))


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    """An empty store where `toy_study` has its own."""
    return Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(order: Any, ledger: Any) -> None:
        raise AssertionError(f"'{order.name}' is trained again")

    monkeypatch.setattr(train_run, "train", train)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with servers() as start:
        yield start


def client(place: Path | str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(str(place) if str(place).startswith("http") else f"sqlite:///{place}")


def runs(place: Path | str, kind: str) -> list[Any]:
    found = client(place)
    experiments = [experiment.experiment_id for experiment in found.search_experiments()]
    return list(found.search_runs(experiments, f"tags.kind = '{kind}'"))


def artefacts(place: Path | str, run: Any) -> set[str]:
    return {item.path for item in client(place).list_artifacts(run.info.run_id)}


def findings_at(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    return found


# --- what is in MLflow ------------------------------------------------------------------------------------------------


def test_a_study_is_a_finished_run_and_every_training_a_finished_run_below_it(finished: Finished) -> None:
    assert finished.parent.info.status == "FINISHED"
    assert finished.parent.info.run_name == NAME
    assert {run.data.tags["mlflow.parentRunId"] for run in finished.nested} == {finished.parent.info.run_id}
    assert {run.info.status for run in finished.nested} == {"FINISHED"}
    assert {run.info.experiment_id for run in finished.nested} == {finished.parent.info.experiment_id}
    assert sorted(run.data.tags["key"] for run in finished.nested) == sorted(
        cost["key"] for cost in finished.findings["costs"]
    )


def test_a_run_is_found_by_its_study_design_target_partner_and_seed(finished: Finished) -> None:
    names = ("study", "design", "target", "partner", "seed")
    found = {tuple(run.data.tags.get(name, "") for name in names) for run in finished.nested}
    expected = {
        (NAME, design, target, partner, str(seed))
        for seed in SEEDS
        for design, target, partner in (
            ("single", "kind", ""),
            ("single", "mentions", ""),
            ("pairwise", "kind, mentions", "kind, mentions"),
            ("sequential", "kind", "mentions"),
            ("sequential", "mentions", "kind"),
            ("refine_finetune", "kind", "kind + mentions"),
            ("refine_finetune", "mentions", "kind + mentions"),
            ("refine_finetune", "kind", "kind"),
            ("refine_finetune", "mentions", "mentions"),
            ("self_partner", "kind", "kind__self"),
            ("self_partner", "mentions", "mentions__self"),
        )
    }
    assert found == expected
    assert len(finished.nested) == len(expected)


def test_a_run_shows_its_curves_over_own_updates_its_test_scores_and_its_cost(finished: Finished) -> None:
    run = next(run for run in finished.nested if run.data.tags["design"] == "pairwise")
    history = client(finished.folder / "mlflow.db").get_metric_history(run.info.run_id, "val/kind/accuracy")
    assert [point.step for point in sorted(history, key=lambda point: point.step)] == [2, 4]
    gains = next(family for family in finished.findings["families"] if family["design"] == "pairwise")["gains"]
    seed = SEEDS.index(int(run.data.tags["seed"]))
    for gain in gains:
        metric = finished.findings["targets"][gain["target"]]["metric"]
        assert run.data.metrics[f"test/{gain['target']}/{metric}"] == gain["treated"][seed]
    (cost,) = [cost for cost in finished.findings["costs"] if cost["key"] == run.data.tags["key"]]
    for name in ("seconds", "training_seconds", "evaluation_seconds", "examples", "tokens"):
        assert run.data.metrics[f"cost/{name}"] == cost[name]


def test_gains_are_metrics_of_the_study_as_the_report_has_them(finished: Finished) -> None:
    metrics = finished.parent.data.metrics
    expected = {
        f"{'' if family['design'] == 'pairwise' else family['design'] + '/'}gain/{gain['target']}/{gain['partner']}": (
            sum(gain["differences"]) / len(SEEDS)
        )
        for family in finished.findings["families"]
        for gain in family["gains"]
    }
    expected = {mlflow_client.allowed_name(name): value for name, value in expected.items()}
    assert {"gain/kind/mentions", "gain/mentions/kind", "sequential/gain/kind/mentions"} <= set(expected)
    assert {name: value for name, value in metrics.items() if "gain/" in name} == pytest.approx(expected)
    for target, facts in finished.findings["targets"].items():
        assert metrics[f"single/{target}"] == pytest.approx(sum(facts["single"]) / len(SEEDS))
    assert metrics["cost/runs"] == len(finished.nested)


def test_gains_and_costs_are_tables_that_mlflow_loads(finished: Finished) -> None:
    with five_tasks.surroundings(finished.folder):
        found = client(finished.folder / "mlflow.db")
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


def test_pictures_pages_and_tables_are_artefacts_of_the_study(finished: Finished) -> None:
    designs = ("pairwise", "sequential", "refine_finetune", "self_partner")
    there = artefacts(finished.folder / "mlflow.db", finished.parent)
    assert there == {
        *(f"heat_map_{design}.{kind}" for design in designs for kind in ("png", "html")),
        *(f"{kind}_{target}.png" for kind in ("forest", "curves") for target in ("kind", "mentions")),
        *("report.html", "findings.json", "gains.csv", "gains.json", "costs.json", "study.json"),
    }
    for run in finished.nested:
        assert artefacts(finished.folder / "mlflow.db", run) == {"result.json", "counts.npz"}


@pytest.mark.usefixtures("store")
def test_what_lies_beside_the_report_is_not_sent(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    toy_study(designs=["single"], tasks=["cause"])
    (tmp_path / "patients.csv").write_text(SECRET)
    assert run_mtl(["study", "run", "study.yaml", "--out", "."]) == 0  # where mlflow.db and mlruns are, too
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    there = artefacts(tmp_path / "mlflow.db", parent)
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


def test_the_description_in_mlflow_says_what_may_be_claimed(finished: Finished) -> None:
    note = finished.parent.data.tags["mlflow.note.content"]
    assert "Which task helps which?" in note
    assert "significant" in note
    assert "report.html" in note


def test_versions_and_machine_are_parameters_of_the_study(finished: Finished) -> None:
    assert {"version.torch", "version.transformers", "machine.threads"} <= set(finished.parent.data.params)


def test_settings_versions_and_device_are_parameters_of_every_run(finished: Finished) -> None:
    results = {
        path.parent.name: json.loads(path.read_text())
        for path in (finished.folder / "runs" / "ledger").glob("*/*/result.json")
    }
    assert len(results) == len(finished.nested)
    for run in finished.nested:
        found, result = run.data.params, results[run.data.tags["key"]]
        assert result["versions"].items() <= found.items()
        assert {"version.torch", "machine.device", "machine.threads"} <= set(found)
        for task in result["tasks"]:
            assert found[f"mixture.tasks.{task}.head"] in ("classification", "token_classification")
        expected = {
            "evaluations": "2",
            "model.learning_rate": "5e-05",
            "mixture.seed": str(result["seed"]),
            "mixture.encoder.max_length": "24",
            "trainer.precision": "32-true",
            "targets": json.dumps(result["targets"]),
        }
        assert {name: found[name] for name in expected} == expected
    (one,) = finished.findings["trained_on"]
    assert one["num_runs"] == len(finished.nested)
    assert {one["commit"]} == {result["versions"].get("git.biomtl.commit", "") for result in results.values()}


@pytest.mark.usefixtures("store")
def test_a_setting_that_is_too_long_for_mlflow_points_to_the_studys_description(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_tracker, "PARAM_LENGTH", 20)
    made = Session(load_study(toy_study(designs=["single"], tasks=["cause"])), Path("runs"))
    made.run("first")
    found = runs(tmp_path / "mlflow.db", "study_run")[0].data.params
    folder = made.plan.orders[0].mixture["tasks"]["cause"]["data"]["path"]
    assert found["mixture.tasks.cause.data.path"] == f"{len(folder)} characters, see study.json"


def test_no_word_of_a_row_is_anywhere_in_mlflow(finished: Finished) -> None:
    assert SECRET in (finished.folder / "kind" / "train.jsonl").read_text()  # it could be found
    files = [finished.folder / "mlflow.db", *(finished.folder / "mlruns").rglob("*")]
    files = [path for path in files if path.is_file()]
    assert len(files) > 2 * len(finished.nested)
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                content = b" ".join(" ".join(map(str, arrays[name].ravel())).encode() for name in arrays.files)
        assert SECRET.encode() not in content, path


# --- MLflow alone is enough -------------------------------------------------------------------------------------------


def test_a_report_is_made_of_mlflow_alone_to_the_last_digit(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with five_tasks.surroundings(finished.folder):
        os.chdir(tmp_path)
        monkeypatch.setenv("MTL_CACHE", str(tmp_path / "no-cache"))
        assert run_mtl(["study", "report", NAME]) == 0
        made = tmp_path / "runs" / "studies" / NAME / "report"
        assert findings_at(made) == finished.findings
        assert {path.name for path in made.iterdir()} == {path.name for path in finished.report.iterdir()}
        for name in ("gains.csv", "report.html", "heat_map_pairwise.html"):
            assert (made / name).read_bytes() == (finished.report / name).read_bytes(), name
        capsys.readouterr()
        assert run_mtl(["study", "report", NAME, "--json", "--out", "out"]) == 0
        assert json.loads(capsys.readouterr().out) == findings_at(tmp_path / "out") == finished.findings
    assert not (tmp_path / "no-cache").exists()  # no data was read


def test_a_report_on_a_study_that_mlflow_has_not_got_names_those_it_has(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with five_tasks.surroundings(finished.folder):
        os.chdir(tmp_path)
        assert run_mtl(["study", "report", "kinds"]) == 2
    told = capsys.readouterr().err
    assert "has no study 'kinds'" in told
    assert f"It has: {NAME}." in told


@pytest.mark.usefixtures("no_training")
def test_runs_of_another_folder_or_machine_are_brought_from_mlflow(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))  # so that the shared one stays as it is
    shutil.rmtree(folder / "runs")
    with five_tasks.surroundings(folder):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{finished.folder / 'mlflow.db'}"
        study = load_study("study.yaml")
        Session(study, Path("runs")).run("again")
        again = Session(study, Path("runs")).findings()
    from mtl.files import finite

    assert json.loads(json.dumps(finite(again.to_dict()))) == finished.findings
    assert len(runs(finished.folder / "mlflow.db", "study_run")) == len(finished.nested)
    assert not list((folder / "runs" / "ledger").glob("*/*/failure.json"))


def test_a_run_whose_artefacts_are_gone_is_missing_and_holds_no_other_up(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    gone, real = finished.nested[0], MlflowClient.download_artifacts

    def download(self: MlflowClient, run_id: str, *arguments: Any) -> Any:
        if run_id == gone.info.run_id:
            raise MlflowException("no such file")
        return real(self, run_id, *arguments)

    monkeypatch.setattr(MlflowClient, "download_artifacts", download)
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    shutil.rmtree(folder / "runs")
    with five_tasks.surroundings(folder):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{finished.folder / 'mlflow.db'}"
        assert run_mtl(["study", "report", NAME]) == 1
        told = capsys.readouterr().err
        assert f"The artefacts of MLflow's run {gone.info.run_id} can't be read (no such file)." in told
        assert f"'{gone.info.run_name}' has not been run." in told
        made = Session(load_study("study.yaml"), Path("runs"))
        made.bring_known_runs()
        assert [order.key for order in made.plan.orders if not made.is_done(order)] == [gone.data.tags["key"]]


# --- what is unfinished -----------------------------------------------------------------------------------------------


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
            (parent,) = runs(tmp_path / "mlflow.db", "study")
            assert parent.info.status == "RUNNING"
        return real(order, ledger)

    monkeypatch.setattr(train_run, "train", fragile)
    assert run_mtl(["study", "run", "study.yaml"]) == 1
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    assert parent.info.status == "FAILED"
    assert "Missing: 2 gains lack runs" in parent.data.tags["mlflow.note.content"]
    monkeypatch.setattr(train_run, "train", real)
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    (parent,) = runs(tmp_path / "mlflow.db", "study")
    assert parent.info.status == "FINISHED"
    assert "Missing" not in parent.data.tags["mlflow.note.content"]


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


# --- while MLflow is away ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_a_run_that_was_half_sent_is_sent_whole_and_once(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    path = toy_study(designs=["single"], tasks=["cause"])
    ended = MlflowClient.set_terminated

    def lost(self: Any, run_id: str, *arguments: Any, **options: Any) -> Any:
        if self.get_run(run_id).data.tags["kind"] == "study_run":
            raise ConnectionError("away")
        return ended(self, run_id, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "set_terminated", lost)
    Session(load_study(path), Path("runs")).run("first")
    assert [run.info.status for run in runs(tmp_path / "mlflow.db", "study_run")] == ["RUNNING"]
    monkeypatch.setattr(MlflowClient, "set_terminated", ended)
    Session(load_study(path), Path("runs")).run("second")
    found = runs(tmp_path / "mlflow.db", "study_run")
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    for run in found:
        history = client(tmp_path / "mlflow.db").get_metric_history(run.info.run_id, "val/cause/accuracy")
        assert sorted(point.step for point in history) == [2, 4]
    told = capsys.readouterr().err
    assert told.count("can't be reached (away)") == 1


def test_drivers_of_two_machines_that_begin_at_once_share_one_parent(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    first, second = (StudyTracker("shared", uri=f"sqlite:///{store}") for _ in range(2))
    real = MlflowClient.create_run

    def create_run(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(MlflowClient, "create_run", real)
        assert first.parent  # between the second's look at what is there and its own beginning
        return real(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    monkeypatch.setattr(study_tracker, "creation_lock", lambda uri: nullcontext())  # no file that both machines see
    assert second.parent == first.parent
    assert [run.info.run_id for run in runs(store, "study")] == [first.parent]


@pytest.mark.usefixtures("store")
def test_between_runs_an_mlflow_that_is_away_is_asked_once_and_then_left_alone_for_a_while(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(toy_study(designs=["single"]))
    Session(study, Path("runs")).run("first")
    made = Session(study, Path("runs"))
    asked = []

    def lost(self: StudyTracker, order: Any, ledger: Any) -> None:
        asked.append(order.key)
        raise ConnectionError("away")

    monkeypatch.setattr(StudyTracker, "_send", lost)
    for marker in Path("runs/ledger").glob("*/*/published.json"):
        marker.unlink()
    made.tracker.publish(made.plan.orders, made.ledger, between_runs=True)
    made.tracker.publish(made.plan.orders, made.ledger, between_runs=True)
    assert len(asked) == 1
    made.tracker.publish(made.plan.orders, made.ledger)
    assert len(asked) == 2
    monkeypatch.setattr(study_tracker, "PAUSE", 0.0)
    made.tracker.publish(made.plan.orders, made.ledger, between_runs=True)
    assert len(asked) == 3


@pytest.mark.usefixtures("store")
def test_a_run_that_mlflow_refuses_is_told_and_holds_no_other_up(
    toy_study: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = StudyTracker._send

    def picky(self: StudyTracker, order: Any, ledger: Any) -> None:
        if order.name == "cause, seed 0":
            raise ValueError("not this one")
        real(self, order, ledger)

    monkeypatch.setattr(StudyTracker, "_send", picky)
    Session(load_study(toy_study(designs=["single"])), Path("runs")).run("first")
    assert len(runs(tmp_path / "mlflow.db", "study_run")) == 5
    assert capsys.readouterr().err.count("refused what it was sent (not this one)") == 1


@pytest.mark.slow
def test_a_server_that_dies_half_way_gets_the_rest_from_the_next_command_and_nothing_is_trained_twice(
    toy_study: Callable[..., Path],
    store: Path,
    serve: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toy_study()
    port = free_port()
    arguments = ("--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(tmp_path / "artifacts"))
    server = serve(*arguments, port=port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    real, trained = train_run.train, []

    def train(order: Any, ledger: Any) -> Any:
        trained.append(order.key)
        if len(trained) == 6:
            server.kill()
        return real(order, ledger)

    monkeypatch.setattr(train_run, "train", train)
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mtl:")]
    assert len(told) == 1
    assert "can't be reached" in told[0]
    assert "the next `mtl study run` sends them" in told[0]
    on_disk = tmp_path / "runs" / "studies" / "toy_study" / "report"
    first = findings_at(on_disk)
    assert not first["missing"]
    assert len(trained) == len(set(trained)) == 12

    serve(*arguments, port=port)
    assert len(runs(server.url, "study_run")) == 5
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    assert len(trained) == 12
    assert findings_at(on_disk) == first
    nested = runs(server.url, "study_run")
    assert sorted(run.data.tags["key"] for run in nested) == sorted(trained)
    assert {run.info.status for run in nested} == {"FINISHED"}
    (parent,) = runs(server.url, "study")
    assert parent.info.status == "FINISHED"
    address = f"{server.url}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    assert f"See it in MLflow: {address}" in capsys.readouterr().out

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run_mtl(["study", "report", "toy_study"]) == 0
    assert findings_at(elsewhere / "runs" / "studies" / "toy_study" / "report") == first
    for family in first["families"]:
        for gain in family["gains"]:
            assert parent.data.metrics[f"gain/{gain['target']}/{gain['partner']}"] == gain["cell"]["mean"]
            assert math.isfinite(gain["cell"]["mean"])
