"""A real MLflow server for tests, that can be killed and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any


class Server:
    """A real `mlflow server`, in a session of its own because it starts workers."""

    def __init__(self, *arguments: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port), *arguments]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: urllib.request.urlopen(f"{self.url}/health", timeout=2).read() == b"OK", 90)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait(10)


@contextlib.contextmanager
def servers() -> Iterator[Callable[..., Server]]:
    """Gives what starts a server; all of them are killed at the end."""
    started: list[Server] = []

    def start(*arguments: str, port: int) -> Server:
        started.append(Server(*arguments, port=port))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError):
            if found := condition():
                return found
        time.sleep(0.1)
    raise AssertionError("It did not happen in time.")
