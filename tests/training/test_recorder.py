import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml

from heads import Head
from mtl import commands as cli
from mtl.config.loading import load_mixture
from mtl.evaluation.predictions import PredictionFiles
from mtl.evaluation.units import unit_of
from mtl.problems import InputError
from mtl.tracking import mlflow_client
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_data, build_heads, build_module
from mtl.training.checkpoints import checkpoint_mixture, read_checkpoint
from mtl.training.recorder import RunRecorder
from mtl.training.selection import Selection
from tests import five_tasks
from tests.five_tasks import CPU, SECRET, TASKS

Encoder = Callable[[str], Path]
PARTS = ("used", "unlabelled", "refused", "crossed", "limited", "excluded")


def client_of(folder: Path) -> Any:
    mlflow_client.prepare_mlflow()
    from mlflow import MlflowClient

    with five_tasks.surroundings(folder):
        return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Path:
    return five_tasks.trained(tmp_path_factory.mktemp, tiny_encoder("bert"))


@pytest.fixture
def metrics(run: Path) -> dict[str, Any]:
    return read(run / "metrics.json")


@pytest.fixture(scope="module")
def client(run: Path) -> Any:
    return client_of(root(run))


@pytest.fixture(scope="module")
def tracked(run: Path, client: Any) -> Any:
    return client.get_run(read(run / "run.json")["mlflow"]["run_id"])


def root(run: Path) -> Path:
    return run.parents[2]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def artifacts(client: Any, run_id: str, path: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, path):
        yield from artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]


# --- the run's folder -------------------------------------------------------------------------------------------------


def test_metrics_hold_every_split_and_task_with_all_metrics_of_its_head(run: Path, metrics: dict[str, Any]) -> None:
    heads, _ = build_heads(checkpoint_mixture(RunFolder(run).resolve_checkpoint("best")))
    assert set(metrics) == {"train", "dev", "test", "baseline", "interval"}
    assert set(metrics["train"]) == set(metrics["dev"]) == set(metrics["baseline"]) == set(TASKS)
    assert set(metrics["test"]) == set(TASKS) - {"score"}, "a task without a test split has no test score"
    for task, scores in metrics["dev"].items():
        assert set(scores) == {"loss", *heads[task].metrics}
        assert metrics["baseline"][task].keys() == set(heads[task].metrics)
        assert math.isfinite(metrics["train"][task]["loss"])


def test_dev_scores_are_those_of_the_selected_checkpoint(run: Path, metrics: dict[str, Any]) -> None:
    pointers = read(run / "checkpoints.json")
    heads, _ = build_heads(checkpoint_mixture(RunFolder(run).resolve_checkpoint("best")))
    primary = {task: metrics["dev"][task][head.primary_metric] for task, head in heads.items()}
    assert pointers["best"]["score"] == pytest.approx(sum(primary.values()) / len(primary), abs=1e-6)
    for task, value in primary.items():
        assert pointers[f"best:{task}"]["score"] >= value - 1e-6


def test_validating_the_best_checkpoint_again_gives_the_same_numbers(run: Path, metrics: dict[str, Any]) -> None:
    with five_tasks.surroundings(root(run)):
        options = [*CPU, "--trainer.enable_progress_bar=false", "--run.track=false"]
        assert cli.run(["validate", f"--mixture={root(run) / 'five.yaml'}", *options]) == 0
    after = read(run / "metrics.json")
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")  # of a run that others share
    assert after["test"] == metrics["test"]
    assert after["baseline"] == metrics["baseline"], "the baselines on test remain next to the test scores"
    for task, scores in metrics["dev"].items():
        again = {name: value for name, value in after["dev"][task].items() if name in scores}
        assert again == pytest.approx(scores, abs=1e-6)
    assert {"seen_f1", "seen_share"} <= after["dev"]["mentions"].keys(), "which only an evaluation has"
    best = RunFolder(run).resolve_checkpoint("best").name
    assert read(run / "run.json")["evaluated"] == {"test": best, "dev": best}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_scores_follow_from_the_counts_of_documents(run: Path, metrics: dict[str, Any], split: str) -> None:
    heads, _ = build_heads(checkpoint_mixture(RunFolder(run).resolve_checkpoint("best")))
    files = [file for file in sorted((run / "counts" / split).iterdir()) if not file.stem.endswith("seen")]
    assert [file.stem for file in files] == sorted(metrics[split])
    for file in files:
        head: Head = heads[file.stem]
        with np.load(file) as stored:
            counts = torch.from_numpy(stored["counts"])
        scores = head.score(counts if head.reduction == "cat" else counts.sum(0))
        assert scores == pytest.approx({k: v for k, v in metrics[split][file.stem].items() if k in scores})


def test_the_baseline_is_scored_on_test_or_on_dev_without_a_test_split(run: Path, metrics: dict[str, Any]) -> None:
    heads, _ = build_heads(checkpoint_mixture(RunFolder(run).resolve_checkpoint("best")))
    baselines = read(run / "baselines.json")
    assert set(baselines) == {"dev", "test"}
    assert baselines["test"]["score"] == baselines["dev"]["score"]
    for task, found in baselines["test"].items():
        primary = heads[task].primary_metric
        assert metrics["baseline"][task][primary] == max(scores[primary] for scores in found.values())


def test_every_test_score_has_an_interval(run: Path, metrics: dict[str, Any]) -> None:
    assert set(metrics["interval"]) == set(metrics["test"])
    for task, intervals in metrics["interval"].items():
        shares = {"seen_share", "ambiguous_share"}  # which describe the data
        assert {"loss", *intervals} == set(metrics["test"][task]) - shares
        table = read(run / "artifacts" / "test" / task / "intervals.json")
        assert table["columns"] == ["metric", "value", "low", "high", "method"]
        tracked = {line[0]: line[1:] for line in table["data"]}
        for name, interval in intervals.items():
            value = metrics["test"][task][name]
            assert interval["low"] <= interval["high"]
            assert tracked[name] == [pytest.approx(value), interval["low"], interval["high"], interval["method"]]
    assert metrics["interval"]["kind"]["accuracy"]["method"] == "wilson"
    assert metrics["interval"]["mentions"]["f1"]["method"] == "bootstrap"


def test_the_resolved_mixture_and_configuration_are_saved(run: Path) -> None:
    kept = yaml.safe_load((run / "mixture.yaml").read_text())
    assert load_mixture(kept) == load_mixture(root(run) / "five.yaml")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["mixture"] == kept
    assert (config["trainer"]["max_epochs"], config["model"]["learning_rate"]) == (2, 0.01)


def test_thresholds_tuned_on_dev_are_in_the_checkpoint(run: Path) -> None:
    thresholds = read_checkpoint(RunFolder(run).resolve_checkpoint("best"))["state_dict"]["heads.topics.thresholds"]
    assert thresholds.tolist() != [0.5, 0.5]


# --- MLflow -----------------------------------------------------------------------------------------------------------


def test_mlflow_holds_the_parameters_flattened(tracked: Any) -> None:
    parameters = tracked.data.params
    assert parameters["mixture.tasks.kind.head"] == "classification"
    assert parameters["mixture.encoder.max_length"] == "24"
    assert parameters["trainer.max_epochs"] == "2"
    assert parameters["model.learning_rate"] == "0.01"


def test_mlflow_holds_the_main_scores_of_every_task(tracked: Any, metrics: dict[str, Any], run: Path) -> None:
    found = tracked.data.metrics
    baselines = read(run / "baselines.json")
    for task, scores in metrics["dev"].items():
        names = [name.split("/")[2] for name in found if name.startswith(f"val/{task}/")]
        (primary,) = [name for name in names if name != "loss"]
        assert "loss" in names
        if task in metrics["test"]:
            assert found[f"test/{task}/{primary}"] == pytest.approx(metrics["test"][task][primary], abs=1e-6)
        strongest = max(one[primary] for one in baselines["dev"][task].values() if not math.isnan(one[primary]))
        assert found[f"baseline/dev/{task}/{primary}"] == pytest.approx(strongest)
        assert f"train/{task}/loss" in found
        assert scores[primary] == pytest.approx(scores[primary])
    assert {"val/selection", "learning_rate/encoder"} <= found.keys()
    assert len(found) < 60
    assert not any(name.startswith(("data/", "system/")) for name in found)


def test_mlflow_holds_all_scores_and_counts_of_rows_as_tables(
    client: Any, tracked: Any, metrics: dict[str, Any], tmp_path: Path
) -> None:
    def table(name: str) -> list[dict[str, Any]]:
        content = read(Path(client.download_artifacts(tracked.info.run_id, name, str(tmp_path))))
        return [dict(zip(content["columns"], line, strict=True)) for line in content["data"]]

    scores = {(line["task"], line["metric"]): line for line in table("scores.json")}
    for split in ("train", "dev", "test", "baseline"):
        for task, values in metrics[split].items():
            for name, value in values.items():
                assert scores[task, name][split] == (None if math.isnan(value) else pytest.approx(value))
    rows = [line for line in table("data.json") if line["split"] == "train"]
    assert {line["task"] for line in rows} == set(TASKS)
    assert sum(line["rate"] for line in rows) == pytest.approx(1.0)
    for line in rows:
        assert line["read"] == sum(line[part] for part in PARTS) == five_tasks.SIZES["train"]


def test_the_description_of_the_run_shows_scores_and_commands_without_paths_of_users(
    tracked: Any, run: Path, metrics: dict[str, Any]
) -> None:
    note = tracked.data.tags["mlflow.note.content"]
    assert "Best checkpoint: `checkpoints/best-step" in note
    for task in metrics["test"]:
        (line,) = [line for line in note.splitlines() if line.startswith((f"| {task} |", f"| {task} * |"))]
        assert any(f"{value:.4f}" in line for value in metrics["test"][task].values())
    assert f"{run.parent.name}/{run.name}" in note
    assert str(root(run)) not in note
    assert note.count("`mtl ") == 3


def test_the_learning_rate_over_time_is_in_mlflow_and_those_of_the_heads_are_in_the_folder(
    run: Path, client: Any, tracked: Any
) -> None:
    lines = five_tasks.read_lines(run / "metrics.jsonl")
    for group in ["encoder", *TASKS]:
        name = f"learning_rate/{group}"
        values = [line["metrics"][name] for line in lines if name in line["metrics"]]
        assert len(values) > 3
        assert max(values) <= 0.01
        assert values[-1] < max(values), "the learning rate falls at the end"
        history = client.get_metric_history(tracked.info.run_id, name)
        assert len(history) == (len(values) if group == "encoder" else 0)


def test_mlflow_holds_the_data_sets_with_their_fingerprints(run: Path, tracked: Any) -> None:
    named = {
        (entry.dataset.name, json.loads(entry.dataset.profile)["fingerprint"])
        for entry in tracked.inputs.dataset_inputs
    }
    fingerprints = {record["fingerprint"] for record in five_tasks.read_lines(run / "datasets.jsonl")}
    assert len(fingerprints) == 14, "five tasks with three splits, but one without test"
    assert {fingerprint for _, fingerprint in named} == fingerprints


def test_mlflow_holds_configuration_reports_figures_and_metrics(client: Any, tracked: Any) -> None:
    found = set(artifacts(client, tracked.info.run_id))
    with_matrix = {"kind", "mentions", "links"}
    expected = {"mixture.yaml", "config.yaml", "metrics.json", "leakage.json"}
    expected |= {
        f"{split}/{task}/confusion.{kind}"
        for split in ("dev", "test")
        for task in with_matrix
        for kind in ("png", "json")
    }
    expected |= {f"{split}/{task}/per_class.json" for split in ("dev", "test") for task in with_matrix | {"topics"}}
    assert found >= expected
    assert not any("/score/" in path for path in found), "a regression has no classes"
    local = Path(client.download_artifacts(tracked.info.run_id, "mixture.yaml"))
    assert yaml.safe_load(local.read_text())["name"] == "five"
    assert "{" not in local.read_text().splitlines()[0], "a file called .yaml is written as YAML"


def test_leakage_is_counted_in_the_folder_of_the_run_and_in_mlflow_without_ids(
    run: Path, client: Any, tracked: Any
) -> None:
    sent = read(Path(client.download_artifacts(tracked.info.run_id, "leakage.json")))
    kept = read(run / "leakage.json")
    assert set(sent) == set(kept) == {"policy", "overlaps", "excluded"}
    assert sent["policy"]["documents"] == "error"
    assert len(sent["overlaps"]) == len(kept["overlaps"]) > 0
    for without, complete in zip(sent["overlaps"], kept["overlaps"], strict=True):
        assert complete == {**without, "first_documents": complete["first_documents"]}


def test_the_report_on_dev_is_that_of_the_selected_epoch(run: Path, metrics: dict[str, Any]) -> None:
    table = read(run / "artifacts" / "dev" / "kind" / "confusion.json")
    matrix = np.array([line[1:] for line in table["data"]])
    assert matrix.sum() == five_tasks.SIZES["dev"]
    assert matrix.trace() / matrix.sum() == pytest.approx(metrics["dev"]["kind"]["accuracy"])
    assert table["columns"] == ["gold", "yes", "no"]


def test_a_class_name_may_be_invalid_as_an_mlflow_key(run: Path) -> None:
    table = read(run / "artifacts" / "test" / "mentions" / "confusion.json")
    assert table["columns"] == ["gold", "@CHEMICAL$", "Disease", "none"]
    per_class = read(run / "artifacts" / "test" / "mentions" / "per_class.json")
    assert [line[0] for line in per_class["data"]] == ["@CHEMICAL$", "Disease"]


def test_versions_status_and_tags_are_recorded(run: Path, tracked: Any) -> None:
    assert tracked.info.status == "FINISHED"
    assert read(run / "run.json")["status"] == "FINISHED"
    recorded = {**tracked.data.params, **tracked.data.tags}
    assert any("torch" in name for name in recorded), sorted(recorded)
    assert tracked.data.tags["mixture"] == "five"
    assert tracked.data.tags["seed"] == "3"


def test_undertrained_tasks_are_marked_in_the_metrics_and_in_mlflow(
    tracked: Any, metrics: dict[str, Any], run: Path
) -> None:
    flags = {task: values["undertrained"] for task, values in metrics["train"].items()}
    mixture = checkpoint_mixture(RunFolder(run).resolve_checkpoint("best"))
    with five_tasks.surroundings(root(run)):
        data = build_data(mixture)
        data.setup()
    records = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    by_hand = {}
    for task, head in data.heads.items():
        name = f"val/{task}/{head.primary_metric}"
        before, last = [math.nan if record[name] is None else record[name] for record in records if name in record]
        by_hand[task] = last - before > unit_of(head, data.tasks[task]["dev"].rows) * (1 + 1e-6)
    assert flags == by_hand
    assert tracked.data.tags["undertrained"] == (", ".join(t for t, flag in flags.items() if flag) or "no task")
    note = tracked.data.tags["mlflow.note.content"]  # of `mtl test`, another process than the training
    assert {task: f"| {task} * |" in note for task in flags} == flags
    assert ("**Caution:**" in note) == any(flags.values())


def test_no_text_of_a_row_is_written_outside_the_data(run: Path) -> None:
    exempt = {root(run) / name for name in ("cache", *TASKS)}
    planted = secret_files(root(run) / "kind")
    assert len(planted) == 3, "the search finds the planted text"
    files = [f for f in root(run).rglob("*") if f.is_file() and not any(folder in f.parents for folder in exempt)]
    assert any(file.name == "mlflow.db" for file in files)
    assert any(file.name == "metrics.json" for file in files)
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


def secret_files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


# --- whole runs -------------------------------------------------------------------------------------------------------


def train(folder: Path, encoder: Path, *arguments: str, **changes: Any) -> Path:
    return five_tasks.train(folder, encoder, "--run.track=false", "--run.baselines=false", *arguments, **changes)


def test_the_table_shows_dev_test_and_baseline(
    tmp_path: Path, tiny_encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = five_tasks.train(tmp_path, tiny_encoder("bert"), "--run.track=false", only=["kind", "score"])
    fitted = capsys.readouterr().out
    assert f"Run folder: {run}" in fitted
    five_tasks.test(tmp_path, "--run.track=false")
    tested = capsys.readouterr().out
    metrics = read(run / "metrics.json")
    lines = {task: next(line for line in tested.splitlines() if f" {task} " in line) for task in ("kind", "score")}
    for split in ("dev", "test", "baseline"):
        assert f"{metrics[split]['kind']['accuracy']:.3f}" in lines["kind"]
    cells = [cell.strip() for cell in lines["score"].split("│")[1:-1]]
    mark = " *" * metrics["train"]["score"]["undertrained"]
    assert cells[:2] == [f"score{mark}", "pearson"]
    assert cells[3] == "–", "there is no test split"
    assert f"{metrics['baseline']['score']['pearson']:.3f}" in cells[4]
    assert "Test metric" not in tested


def test_labels_of_test_change_neither_the_checkpoint_nor_dev(tmp_path: Path, tiny_encoder: Encoder) -> None:
    runs = {}
    for name in ("given", "turned"):
        folder = tmp_path / name
        mixture = five_tasks.write(folder, tiny_encoder("bert"), only=["kind"])
        rows = five_tasks.read_lines(folder / "kind" / "test.jsonl")
        if name == "turned":
            rows = [{**row, "label": "no" if row["label"] == "yes" else "yes"} for row in rows]
            five_tasks.write_lines(folder / "kind" / "test.jsonl", rows)
        runs[name] = five_tasks.fit(folder, mixture, "--run.track=false")
        five_tasks.test(folder, "--run.track=false")
    best = [read_checkpoint(RunFolder(run).resolve_checkpoint("best"))["state_dict"] for run in runs.values()]
    assert all(torch.equal(value, best[1][name]) for name, value in best[0].items())
    given, turned = (read(run / "metrics.json") for run in runs.values())
    assert given["dev"] == turned["dev"]
    assert given["test"]["kind"]["accuracy"] == pytest.approx(1 - turned["test"]["kind"]["accuracy"])


def test_training_works_with_a_limit_on_dev_batches(tmp_path: Path, tiny_encoder: Encoder) -> None:
    run = train(tmp_path, tiny_encoder("bert"), "--trainer.limit_val_batches=1", "--trainer.max_epochs=1")
    assert set(read(run / "metrics.json")["dev"]) == set(TASKS)


def test_without_dev_batches_there_is_no_dev_score_and_no_crash(tmp_path: Path, tiny_encoder: Encoder) -> None:
    run = train(tmp_path, tiny_encoder("bert"), "--trainer.limit_val_batches=0", only=["kind"])
    assert read(run / "metrics.json").get("dev", {}) == {}


@pytest.mark.slow
def test_a_run_that_raises_an_exception_has_failed(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtl.training.module import MultiTaskModule

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MultiTaskModule, "validation_step", fail)
    with pytest.raises(ZeroDivisionError):
        five_tasks.train(tmp_path, tiny_encoder("bert"), only=["kind"])
    info = read(five_tasks.newest(tmp_path) / "run.json")
    assert info["status"] == "FAILED"
    assert client_of(tmp_path).get_run(info["mlflow"]["run_id"]).info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("tracked", ["true", "false"])
def test_a_failed_test_does_not_change_the_status_of_a_finished_training(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tracked: str
) -> None:
    from mtl.training.module import MultiTaskModule

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    run = train(tmp_path, tiny_encoder("bert"), f"--run.track={tracked}", "--trainer.max_epochs=1", only=["kind"])
    before = read(run / "run.json")
    monkeypatch.setattr(MultiTaskModule, "test_step", fail)
    with pytest.raises(ZeroDivisionError):
        five_tasks.test(tmp_path, f"--run.track={tracked}")
    after = read(run / "run.json")
    assert (after["status"], after["ended" if tracked == "true" else "status"]) == (
        "FINISHED",
        before["ended" if tracked == "true" else "status"],
    )
    if tracked == "true":
        assert client_of(tmp_path).get_run(after["mlflow"]["run_id"]).info.status == "FINISHED"


@pytest.mark.slow
def test_testing_a_failed_training_does_not_change_its_status(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtl.training.recorder import RunRecorder

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(RunRecorder, "on_fit_end", fail)
        with pytest.raises(ZeroDivisionError):
            five_tasks.train(tmp_path, tiny_encoder("bert"), "--trainer.max_epochs=1", only=["kind"])
    five_tasks.test(tmp_path)
    info = read(five_tasks.newest(tmp_path) / "run.json")
    tracked = client_of(tmp_path).get_run(info["mlflow"]["run_id"])
    assert info["status"] == tracked.info.status == "FAILED"
    assert "test/kind/accuracy" in tracked.data.metrics  # its scores are recorded nevertheless


@pytest.mark.slow
def test_a_resumed_run_without_improvement_still_reports_its_best_epoch(tmp_path: Path, tiny_encoder: Encoder) -> None:
    unchanged = ("--model.learning_rate=1e-30", "--run.predictions=true")  # so the second epoch is not better
    run = five_tasks.train(tmp_path, tiny_encoder("bert"), *unchanged, "--trainer.max_epochs=1", only=["kind"])
    tracked = client_of(tmp_path).get_run(read(run / "run.json")["mlflow"]["run_id"])
    predictions = Path("predictions/dev/kind.jsonl")
    reports = [run / "artifacts" / "dev" / "kind" / name for name in ("confusion.json", "per_class.json")]
    reports.append(local_path(tracked.info.artifact_uri) / predictions)
    before = [path.read_text(encoding="utf-8") for path in reports]
    for path in reports:
        path.unlink()
    assert five_tasks.fit(tmp_path, tmp_path / "five.yaml", *unchanged, "--ckpt_path=last") == run
    scored = [line for line in five_tasks.read_lines(run / "metrics.jsonl") if "val/selection" in line["metrics"]]
    assert len(scored) == 2
    assert [path.read_text(encoding="utf-8") for path in reports] == before


def local_path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def has_last_checkpoint(folder: Path) -> bool:
    return any('"last"' in path.read_text() for path in folder.glob("runs/five/*/checkpoints.json"))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_is_marked_as_killed(
    tmp_path: Path, tiny_encoder: Encoder, sent: signal.Signals
) -> None:
    mixture = five_tasks.write(tmp_path, tiny_encoder("bert"), only=["kind"])
    with five_tasks.surroundings(tmp_path):
        command = [sys.executable, "-m", "mtl", "fit", f"--mixture={mixture}", *CPU, "--trainer.max_epochs=100000"]
        log = (tmp_path / "output").open("wb")
        process = subprocess.Popen(
            [*command, "--trainer.enable_progress_bar=false"],
            stdout=log,
            stderr=log,
            # A shell that runs the tests in the background makes its processes ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        try:
            deadline = time.monotonic() + 120
            while not has_last_checkpoint(tmp_path) and time.monotonic() < deadline:
                assert process.poll() is None, (tmp_path / "output").read_text()
                time.sleep(0.2)
            os.kill(process.pid, sent)
            code = process.wait(60)
        finally:
            process.kill()
            log.close()
    assert code == 1
    output = (tmp_path / "output").read_text()
    assert "Traceback" not in output
    run = five_tasks.newest(tmp_path)
    resume = shlex.join(["mtl", *command[3:], "--trainer.enable_progress_bar=false", "--ckpt_path", str(run)])
    message = output.splitlines()[-1]
    assert message.startswith("mtl: ")
    assert str(run) in message.removesuffix(resume)
    assert message.endswith(f" {resume}")
    info = read(run / "run.json")
    assert info["status"] == "KILLED"
    assert client_of(tmp_path).get_run(info["mlflow"]["run_id"]).info.status == "KILLED"
    assert SECRET not in output


def test_predictions_are_saved_by_id_only_if_requested(run: Path, tmp_path: Path, tiny_encoder: Encoder) -> None:
    predicted = train(tmp_path, tiny_encoder("bert"), "--run.predictions=true", only=["kind"])
    lines = [json.loads(line) for line in (predicted / "predictions/dev/kind.jsonl").read_text().splitlines()]
    assert {"id", "prediction"} == set(lines[0])
    assert len({line["id"] for line in lines}) == len(lines) > 0
    assert not (run / "predictions").exists()
    assert secret_files(predicted) == []


def test_saved_predictions_are_those_of_the_selected_epoch(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[tuple[str, Any]]] = []
    scores: list[float] = []
    begin, add, select = PredictionFiles.__init__, PredictionFiles.add, Selection.score

    def beginning(self: PredictionFiles, *arguments: Any, **options: Any) -> None:
        made.append([])
        begin(self, *arguments, **options)

    def adding(self: PredictionFiles, task: str, row: Any, prediction: Any) -> None:
        made[-1].append((row.id, prediction))
        add(self, task, row, prediction)

    def selecting(self: Selection, results: Any) -> float:
        scores.append(select(self, results))
        return scores[-1]

    monkeypatch.setattr(PredictionFiles, "__init__", beginning)
    monkeypatch.setattr(PredictionFiles, "add", adding)
    monkeypatch.setattr(Selection, "score", selecting)
    run = train(tmp_path, tiny_encoder("bert"), "--trainer.max_epochs=4", *UNSTEADY, only=["kind"])
    assert len(made) == len(scores) == 4
    selected = scores.index(max(scores))
    assert made[selected] != made[-1]  # otherwise this test would show nothing
    folder = run / "predictions" / "dev"
    assert [path.name for path in folder.iterdir()] == ["kind.jsonl"]  # and no parts of ranks
    kept = [(line["id"], line["prediction"]) for line in five_tasks.read_lines(folder / "kind.jsonl")]
    assert kept == made[selected]


UNSTEADY = ("--model.learning_rate=0.3", "--model.warmup=0", "--run.predictions=true")
"""A learning rate so high that predictions change from epoch to epoch."""


def test_saved_predictions_include_text_if_the_mixture_allows_it(tmp_path: Path, tiny_encoder: Encoder) -> None:
    predicted = train(
        tmp_path, tiny_encoder("bert"), "--run.predictions=true", "--mixture.privacy.log_text=true", only=["kind"]
    )
    line = json.loads((predicted / "predictions/dev/kind.jsonl").read_text().splitlines()[0])
    assert set(line) == {"id", "prediction", "text", "text_pair"}
    assert json.loads((predicted / "run.json").read_text())["status"] == "FINISHED"


def test_a_diverged_training_stops_as_failed(
    tmp_path: Path, tiny_encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model.learning_rate=1e30", "--trainer.gradient_clip_val=null")
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, tiny_encoder("bert"), *words, only=["kind"])
    assert stopped.value.code == 1
    folder = next(tmp_path.rglob("run.json")).parent
    info = json.loads((folder / "run.json").read_text())
    lines = five_tasks.read_lines(folder / "guard.jsonl")
    assert info["status"] == "FAILED"
    assert info["guard"] == {"not_finite": len(lines)}
    ids = {line["id"] for line in five_tasks.read_lines(next(tmp_path.rglob("kind/train.jsonl")))}
    for line in lines:
        assert line["reason"] == "not_finite"
        assert set(line["rows"]) == {"kind"}
        assert set(line["rows"]["kind"]) <= ids
    first = lines[0]
    printed = capsys.readouterr().err
    assert f"update {first['update']}" in printed
    assert first["rows"]["kind"][0] in printed


def test_a_training_loss_that_ends_far_above_its_start_is_named(
    tmp_path: Path, tiny_encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model.learning_rate=30", "--model.warmup=0.5", "--trainer.log_every_n_steps=1")
    folder = train(tmp_path, tiny_encoder("bert"), *words, only=["score"])
    risen = json.loads((folder / "run.json").read_text())["risen_losses"]
    assert set(risen) == {"score"}
    assert risen["score"] > 3
    assert "Caution" in capsys.readouterr().out
    with five_tasks.surroundings(tmp_path):  # as in another process, which knows only the folder
        words = ["--run.track=false", "--run.baselines=false", *CPU]
        assert cli.run(["validate", f"--mixture={tmp_path / 'five.yaml'}", *words]) == 0
    assert f"score {risen['score']:.3g}" in capsys.readouterr().out


def test_a_data_module_that_is_not_of_a_mixture_is_an_input_error(
    toy_mixture: Callable[..., Path], tmp_path: Path
) -> None:
    module = build_module(load_mixture(toy_mixture()))
    recorder = RunRecorder(RunFolder.create(tmp_path / "runs", "toy", 1), None, {})
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1}
    trainer = pl.Trainer(**options, callbacks=[recorder])
    with pytest.raises(InputError) as caught:
        trainer.fit(module, train_dataloaders=[], val_dataloaders=[])
    assert [problem.key for problem in caught.value.problems] == ["datamodule"]
