"""Measures the load of the machine during a run."""

from __future__ import annotations

import math
import os
import time
from typing import Any


class SystemMetrics:
    """Load of processors, memory, disk, network and GPU, measured by MLflow's own monitors.

    MLflow's thread for this is not used, because it contacts the server at every sample and ends at the first failure.

    Args:
        uri: Address of MLflow.
        run_id: MLflow id of the run.
        started: Start of the run, in milliseconds since 1970.
        is_on: Whether to measure; the variable of MLflow that switches its own monitors on or off overrides it.
    """

    def __init__(self, uri: str, run_id: str, started: int, *, is_on: bool = False) -> None:
        from mlflow.system_metrics import system_metrics_monitor

        untyped: Any = system_metrics_monitor
        self._monitor = untyped.SystemMetricsMonitor(run_id, tracking_uri=uri)
        self._is_on = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", str(is_on)).lower() not in ("false", "0")
        self._started, self._last = started, -math.inf
        if self._is_on:
            self._read()  # the first reading covers no time and only starts the counters

    def sample(self, *, closing: bool) -> tuple[dict[str, float], int] | None:
        """Returns the load by name, and as its step the seconds since the start of the run; None if none is due."""
        if not self._is_on or not (closing or time.monotonic() - self._last >= self._monitor.sampling_interval):
            return None
        return self._read(), (int(time.time() * 1000) - self._started) // 1000

    def _read(self) -> dict[str, float]:
        self._last = time.monotonic()
        self._monitor.collect_metrics()
        found = {f"system/{name}": value for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return found
