"""`mtl serve` as a process, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mtl.prediction.predicting import predict
from tests.conftest import REPOSITORY
from tests.mlflow_server import free_port, wait_for

SINGLE = ["mentions", "links", "kind"]


def post(port: int, content: Any) -> tuple[int, Any]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
def test_a_run_is_served_and_asked_over_http(served_run: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mtl",
        "serve",
        str(served_run),
        "--port",
        str(port),
        "--task",
        *SINGLE,
        "--timeout",
        "300",
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: is_up(port), 240)
            rows = [{"text": "Zyzzyva after aspirin", "id": "n1"}, {"text": "no fever", "id": "n2"}]
            expected = json.loads(json.dumps(predict(served_run, rows, tasks=SINGLE, trainer={"accelerator": "cpu"})))
            status, answer = post(port, {"dataframe_records": rows})
            assert status == 200
            assert [line["id"] for line in answer["predictions"]] == ["n1", "n2"]
            for line, own in zip(answer["predictions"], expected, strict=True):
                assert set(line["predictions"]) == set(SINGLE)
                assert line["predictions"]["kind"]["scores"] == pytest.approx(own["predictions"]["kind"]["scores"])
            asked = {"dataframe_records": rows, "params": {"tasks": ["kind"]}}
            assert set(post(port, asked)[1]["predictions"][0]["predictions"]) == {"kind"}
            for content, keys in (
                ({"dataframe_records": [{"text": ""}]}, ["text"]),
                ({"dataframe_records": rows, "params": {"tasks": ["kindd"]}}, ["tasks"]),
                ({"dataframe_records": [{"note": "Zyzzyva"}]}, ["text"]),
                ({"instances": ["Zyzzyva"]}, ["text"]),
                ({"dataframe_records": rows, "params": {"coverage": "x"}}, []),
                (b"{", []),
            ):
                status, answer = post(port, content)
                assert (status, "message" in answer) == (400, True)
                assert [one["key"] for one in answer.get("problems", [])] == keys
            assert post(port, {"dataframe_records": rows})[0] == 200
            busy = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (busy.returncode, "--port" in busy.stderr) == (2, True)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    wait_for(lambda: not is_up(port))
    assert "Zyzzyva" not in (tmp_path / "log").read_text(encoding="utf-8")


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
