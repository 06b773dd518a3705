"""What is in the key of a run, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml

from mtl.study.design.plan import make_plan
from mtl.study.design.resources import TrainerSpec
from mtl.study.design.run_key import resolved_trainer
from mtl.study.design.study_file import load_study
from mtl.training import precision


@pytest.mark.parametrize(
    ("trainer", "has_gpu", "expected"),
    [
        ({}, False, ("cpu", "32-true")),
        ({}, True, ("cuda", "bf16-mixed")),
        ({"accelerator": "gpu"}, True, ("cuda", "bf16-mixed")),
        ({"accelerator": "cpu"}, True, ("cpu", "32-true")),
        ({"accelerator": "mps"}, False, ("mps", "32-true")),
        ({"precision": "32-true"}, True, ("cuda", "32-true")),
        ({"accelerator": "cpu", "precision": "bf16-mixed"}, False, ("cpu", "bf16-mixed")),
    ],
)
def test_device_and_precision_are_resolved_without_timing_the_machine(
    trainer: dict[str, Any], has_gpu: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, `auto` is fp32 however quick bf16 is there: another machine must find the same keys."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(precision, "_has_bf16", lambda _: True)
    monkeypatch.setattr(precision, "bf16_gain", lambda: 100.0)
    spec = TrainerSpec(**trainer)
    found = resolved_trainer(cast(Any, SimpleNamespace(trainer=spec)))
    assert (found["accelerator"], found["precision"]) == expected
    assert found["threads"] == spec.threads


def keys_of(path: Path, *overrides: str) -> set[str]:
    return {spec.key for spec in make_plan(load_study(path, overrides)).run_specs}


def test_the_order_of_the_tasks_in_a_mixture_changes_neither_keys_nor_schedules(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    """The order of a run's tasks decides its schedule and is in no key, so there may be only one."""
    path, mixture = toy_study(tasks=["cause", "drugs"], designs=["pairwise"], seeds=2), tmp_path / "toy.yaml"
    orders = []
    for _ in range(2):
        plan = make_plan(load_study(path))
        orders.append({spec.key: list(spec.mixture["tasks"]) for spec in plan.run_specs})
        fields = yaml.safe_load(mixture.read_text())
        fields["tasks"] = dict(reversed(fields["tasks"].items()))
        mixture.write_text(yaml.safe_dump(fields, sort_keys=False))
    assert orders[0] == orders[1]
    assert ["cause", "drugs"] in orders[0].values()


def test_a_setting_that_is_resolved_has_the_key_of_the_same_setting_when_it_is_written(
    toy_study: Callable[..., Path],
) -> None:
    path = toy_study(designs=["single"], tasks=["cause"], seeds=2)
    keys = keys_of(path)
    assert keys_of(path, "trainer.accelerator=cpu", "trainer.precision=32-true") == keys
    assert not keys_of(path, "trainer.precision=64-true") & keys
