"""How workers are spread over devices. That every launcher trains the same is in `test_session.py`."""

from __future__ import annotations

import pytest
import torch

from mtl.study.running import worker
from mtl.study.running.launchers.processes import Processes


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """A machine with so many GPUs; the list gets the GPU that each worker chooses."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize(
    ("gpus", "expected"), [(0, []), (1, []), (2, [0, 1, 0, 1, 0, 1])], indirect=["gpus"], ids=["none", "one", "two"]
)
def test_workers_are_spread_evenly_over_the_devices(gpus: list[int], expected: list[int]) -> None:
    launcher = Processes(7, 1, workers_per_device=3)
    assert launcher.workers == 3 * max(1, torch.cuda.device_count())
    for number in range(launcher.workers):
        worker._choose_device(number)
    assert gpus == expected


@pytest.mark.parametrize("gpus", [4], indirect=True)
def test_without_the_option_the_number_of_workers_is_as_given(gpus: list[int]) -> None:
    assert Processes(7, 1).workers == 7
