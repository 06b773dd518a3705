from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.study.design.plan import make_plan
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study
from mtl.study.running.ledger import Ledger
from mtl.study.running.train_run import train
from mtl.tracking.versions import versions


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def test_a_result_has_the_versions_and_machine_of_its_run(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    order = make_plan(
        load_study(toy_study(designs=["single"], trainer={"threads": 2, "accelerator": "cpu"}))
    ).run_specs[0]
    result, _ = train(order, ledger)
    assert result["versions"] == {**versions("cpu"), "machine.threads": "2"}
    assert {"version.biomtl", "version.torch", "machine.device"} <= set(result["versions"])


def test_costs_count_examples_and_tokens(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    plan = make_plan(load_study(toy_study(budget={"passes": 1, "evaluations": 1})))
    order = plan.spec_of(Run(("cause",), 0))
    result, _ = train(order, ledger)
    lengths = plan.data["cause"]["train"].lengths
    assert result["cost"]["examples"] == len(lengths)
    assert result["cost"]["tokens"] == int(lengths.sum())
    assert 0 < result["cost"]["training_seconds"] + result["cost"]["evaluation_seconds"] < result["cost"]["seconds"]
