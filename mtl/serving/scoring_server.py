"""MLflow's server of a model, `mlflow models serve --env-manager local`, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtl.serving.ports import address

GRACE = 10.0
"""Seconds that a server has to end before it is killed."""


@contextmanager
def scoring_server(folder: Path, host: str, port: int, timeout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a model, with all of its processes, until the context ends.

    Args:
        folder: Folder of the model.
        host: Address at which it listens.
        port: Port at which it listens.
        timeout: Seconds after which a request is answered with an error; None takes MLflow's setting.
    """
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--model-uri", str(folder)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # MLflow looks for uvicorn
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_DISABLE_SCHEMA_DETAILS": "true"}
    limits = {} if timeout is None else {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(timeout)}
    environment = {"TOKENIZERS_PARALLELISM": "false", **quiet, **os.environ, **limits, "PATH": path}
    process = subprocess.Popen(  # noqa: S603  # our own arguments, without a shell
        [*command, "--host", host, "--port", str(port)], env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        _end(process)


def wait_until_ready(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Waits until a server answers; returns whether it does, and False if its process has ended."""
    while process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://{address(host, port)}/ping", timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and those that it started."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return
