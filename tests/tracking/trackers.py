"""Trackers of small runs, and what is stored of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtl.tracking.run_folder import RunFolder
from mtl.tracking.tracker import MLflowTracker


def tracker_for(folder: RunFolder | None = None, **arguments: Any) -> MLflowTracker:
    return MLflowTracker(folder or RunFolder.create(Path("runs"), "demo", 1), run_name="demo s1", **arguments)


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def in_mlflow(store: str, folder: RunFolder) -> str:
    return str(client(store).get_run(folder.info["mlflow"]["run_id"]).info.status)


def points_of(store: str, run_id: str | None) -> dict[str, list[tuple[int, float]]]:
    """All points that MLflow has of a run, by metric."""
    metrics = client(store).get_run(run_id).data.metrics
    histories = {name: client(store).get_metric_history(run_id, name) for name in metrics}
    return {name: [(point.step, point.value) for point in history] for name, history in histories.items()}


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
