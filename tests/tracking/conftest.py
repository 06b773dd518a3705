"""Fixtures for tests that write runs to folders and to MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.tracking import send_queue
from mtl.tracking.run_folder import FOLDER_VARIABLE


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable says where MLflow is or which rank this is, and no failed request is waited for."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_BACKEND_STORE_URI", FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(send_queue, "SEND_EVERY", 0.05)
    monkeypatch.setattr(send_queue, "LAST_TRY", 0.05)
    monkeypatch.chdir(tmp_path)
