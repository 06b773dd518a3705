"""A real MLflow server for tests, which can be killed and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Server:
    """A real `mlflow server`, in a session of its own because it starts workers.

    Args:
        folder: Working folder of the server. It serves the store there, as a bare `mlflow ui` does.
    """

    def __init__(self, folder: Path) -> None:
        port = str(free_port())
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", port]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server where it does not run, and waits until it answers."""
        if self._process is None:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
            environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=environment, start_new_session=True, **quiet
            )
        wait_for(lambda: urllib.request.urlopen(f"{self.url}/health", timeout=2).read() == b"OK", 90)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kills the server where it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait(10)
            self._process = None


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
