"""What MLflow has after it was sent something, once or again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.tracking.mlflow_client import find_experiment, prepare_mlflow
from mtl.tracking.mlflow_run import METRICS_AT_ONCE, MLflowRun, Number, allowed_name, mlflow_table


@pytest.fixture
def run(store: str) -> MLflowRun:
    prepare_mlflow()
    from mlflow import MlflowClient

    client = MlflowClient(store)
    return MLflowRun(client, client.create_run(find_experiment(client, "demo", store)))


def again(run: MLflowRun) -> MLflowRun:
    """The same run in another process."""
    return MLflowRun(run.client, run.client.get_run(run.run_id))


def content(run: MLflowRun) -> dict[str, Any]:
    """All that MLflow has of a run."""
    found = run.client.get_run(run.run_id)
    files = [file.path for folder in ("", "params", "report") for file in run.client.list_artifacts(run.run_id, folder)]
    return {
        "metrics": {
            name: [(point.step, point.value) for point in run.client.get_metric_history(run.run_id, name)]
            for name in found.data.metrics
        },
        "params": found.data.params,
        "tags": found.data.tags,
        "inputs": [(i.dataset.to_dictionary(), [tag.value for tag in i.tags]) for i in found.inputs.dataset_inputs],
        "files": {file: Path(run.client.download_artifacts(run.run_id, file)).stat().st_size for file in files},
        "ended": (found.info.status, found.info.end_time),
    }


DATASET = {"name": "gad", "split": "train", "fingerprint": "f" * 64, "rows": 12, "source": "data/gad"}
OPERATIONS: dict[str, Callable[[MLflowRun], object]] = {
    "metrics": lambda run: run.log_metrics([Number("f1", 0.5, 1000, 1), Number("f1", 0.25, 2000, 2)]),
    "params": lambda run: run.log_params({"seed": 1, "note": "a" * 7000}),
    "tags": lambda run: run.set_tags({"mixture": "demo"}),
    "file": lambda run: run.log_file(Path(__file__), "report"),
    "table": lambda run: run.log_table(mlflow_table({"class": ["x"], "f1": [math.nan]}), "report/table.json"),
    "dataset": lambda run: run.log_dataset(DATASET),
    "end": lambda run: run.end("FINISHED", 3000),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_sent_again_after_a_failure_is_there_once(run: MLflowRun, name: str) -> None:
    before = content(run)
    OPERATIONS[name](run)
    first = content(run)
    assert first != before
    OPERATIONS[name](run)
    OPERATIONS[name](again(run))
    assert content(run) == first


def test_more_than_a_request_takes_all_arrives(run: MLflowRun) -> None:
    numbers = {f"train/{number}": float(number) for number in range(2 * METRICS_AT_ONCE + 3)}
    pairs = {f"key {number}": str(number) for number in range(203)}
    run.log_metrics([Number(name, value, 1000, 0) for name, value in numbers.items()])
    run.log_params(pairs)
    run.set_tags(pairs)
    found = run.client.get_run(run.run_id).data
    assert found.metrics == numbers
    assert found.params == pairs
    assert pairs.items() <= found.tags.items()


def test_a_value_that_is_too_long_is_an_artifact_and_one_at_the_limit_is_not(run: MLflowRun) -> None:
    text = "é" * 7000
    run.log_params({"data": {"note (1)": text}, "limit": "x" * 6000})
    params = run.client.get_run(run.run_id).data.params
    assert params["limit"] == "x" * 6000
    assert params["data.note _1_"].startswith("see artifact params/data.note _1_.txt (7000 characters, sha256 ")
    stored = run.client.download_artifacts(run.run_id, "params/data.note _1_.txt")
    assert Path(stored).read_text(encoding="utf-8") == text


def test_data_sets_are_inputs_with_split_and_fingerprint(run: MLflowRun) -> None:
    run.log_dataset(DATASET)
    run.log_dataset({**DATASET, "split": "dev", "fingerprint": "e" * 64, "rows": 3})
    inputs = run.client.get_run(run.run_id).inputs.dataset_inputs
    profiles = [json.loads(found.dataset.profile) for found in inputs]
    found = {
        (i.dataset.name, i.tags[0].value, p["rows"], p["fingerprint"]) for i, p in zip(inputs, profiles, strict=True)
    }
    assert found == {("gad", "train", 12, "f" * 64), ("gad", "dev", 3, "e" * 64)}


@pytest.mark.parametrize("name", ["a|b", "../up", "x" * 300, "", "é (1)", "a//b"])
def test_every_name_becomes_one_that_mlflow_takes(run: MLflowRun, name: str) -> None:
    run.log_metrics([Number(name, 1.0, 1000, 0)])
    run.log_params({name: 1})
    run.set_tags({name: "1"})
    data = run.client.get_run(run.run_id).data
    assert allowed_name(name) in data.metrics.keys() & data.params.keys() & data.tags.keys()
