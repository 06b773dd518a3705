"""The load of the machine while a run is tracked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mtl.tracking import system_metrics
from mtl.tracking.system_metrics import SystemMetrics
from tests.tracking.trackers import client, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")


def test_the_load_of_the_machine_is_sampled_on_request(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    quiet = tracker_for()
    quiet.log_metrics({"train/loss": 1.0}, step=0)
    quiet.finalize("success")
    assert client(store).get_run(quiet.run_id).data.metrics == {"train/loss": 1.0}
    tracker = tracker_for(samples_load=True)
    tracker.log_metrics({"train/loss": 1.0}, step=0)
    assert tracker.run_id
    tracker.finalize("success")
    metrics = client(store).get_run(tracker.run_id).data.metrics
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in metrics


@pytest.mark.parametrize(
    ("variable", "asked", "measures"),
    [(None, False, False), (None, True, True), ("true", False, True), ("false", True, False), ("0", True, False)],
)
def test_the_variable_of_mlflow_overrides_what_was_asked_for(
    variable: str | None, asked: bool, measures: bool, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    if variable is not None:
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", variable)
    metrics = SystemMetrics(store, "0" * 32, 0, is_on=asked)
    assert (metrics.sample(closing=True) is not None) is measures


def test_a_sample_is_due_once_an_interval_and_at_the_end_and_its_step_is_the_second_of_the_run(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "10")
    clock = [100.0]
    monkeypatch.setattr(system_metrics, "time", SimpleNamespace(monotonic=lambda: clock[0], time=lambda: clock[0]))
    metrics = SystemMetrics(store, "0" * 32, 97_000, is_on=True)  # milliseconds: the run is 3 seconds old
    steps = []
    for now, closing in ((109.9, False), (110.0, False), (119.0, False), (119.0, True), (128.0, False), (129.9, False)):
        clock[0] = now
        found = metrics.sample(closing=closing)
        steps.append(None if found is None else found[1])
    assert steps == [None, 13, None, 22, None, 32]
