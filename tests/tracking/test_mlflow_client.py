from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtl.tracking.mlflow_client import open_store

REPOSITORY = Path(__file__).parents[2]
CREATE_RUN = """
import sys
from mtl.tracking.mlflow_client import find_experiment, open_store, prepare_mlflow
prepare_mlflow()
client = open_store(sys.argv[1])
client.create_run(find_experiment(client, "demo", sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_that_create_one_store_at_once_both_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE_RUN, uri], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=180)[1], process.returncode) for process in processes]
    assert ended == [("", 0)] * 2
    client = open_store(uri)
    (experiment,) = (found for found in client.search_experiments() if found.name == "demo")
    assert len(client.search_runs([experiment.experiment_id])) == 2
