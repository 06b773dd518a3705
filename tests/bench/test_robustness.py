"""A mixture over seeds, threads and precisions: each run trained once with its settings, and collapses named."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import against_single
import pytest
import robustness
import yaml

from mtl.commands import run
from tests import five_tasks


@pytest.mark.slow
def test_each_run_is_trained_once_with_its_seed_precision_and_threads(
    tmp_path: Path, toy_mixture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_mixture(sampler={"name": "temperature", "steps_per_epoch": 2}, only=["cause", "drugs"])
    config = {"mixture": "toy.yaml", "model": {"learning_rate": 1e-3}, "run": {"track": False}}
    config["trainer"] = {"max_epochs": 1, "accelerator": "cpu", "precision": "32-true"}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    trained: list[tuple[str, int | None]] = []

    def in_this_process(words: Sequence[str], threads: int | None) -> None:
        trained.append((words[0], threads))
        assert run(list(words)) == 0

    monkeypatch.setattr(against_single, "mtl", in_this_process)  # each process would spend seconds on imports
    monkeypatch.setattr(robustness.os, "cpu_count", lambda: 1)  # so that this process runs one command at a time
    arguments = [str(file), "--runs", str(tmp_path / "grid"), "--out", str(tmp_path / "out")]
    arguments += ["--seeds", "0", "1", "--threads", "2", "3", "--precisions", "32-true"]
    with five_tasks.surroundings(tmp_path):
        robustness.main(arguments)
        robustness.main(arguments)  # nothing is left to train
    assert trained == [("fit", 2), ("test", 2)] * 2 + [("fit", 3), ("test", 3)] * 2
    for threads, seed in ((2, 0), (2, 1), (3, 0), (3, 1)):
        (folder,) = (tmp_path / "grid" / f"{threads}-32-true-{seed}").glob("*/2*/")
        assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["precision"] == "32-true"
        assert yaml.safe_load((folder / "mixture.yaml").read_text())["seed"] == seed
    cells = json.loads((tmp_path / "out" / "robustness.json").read_text())["cells"]
    assert {(cell["task"], cell["threads"]) for cell in cells} == {
        (task, threads) for task in ("cause", "drugs") for threads in (2, 3)
    }
    for cell in cells:
        below = [seed for seed, score in enumerate(cell["scores"]) if score <= cell["trivial"]]
        assert cell["collapsed"] == below


def test_precisions_that_the_machine_emulates_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def note(options: Any, run: robustness.Run) -> dict[str, Any]:
        tried.append(run[1])
        return {}

    monkeypatch.setattr(robustness, "trained", note)
    monkeypatch.setattr(robustness, "write", lambda *_: None)
    for refused, expected in (([], ["32-true", "bf16-mixed"]), (["no"], ["32-true"])):
        tried.clear()
        monkeypatch.setattr(robustness, "precision_problems", lambda name, _, r=refused: r if "bf16" in name else [])
        robustness.main(["x.yaml", "--out", str(tmp_path), "--seeds", "0", "--threads", "1"])
        assert tried == expected


def metrics(score: float, trivial: float) -> dict[str, Any]:
    return {"dev": {"gad": {"f1": score}}, "baselines": {"dev": {"gad": {"a": {"f1": 0.0}, "b": {"f1": trivial}}}}}


def test_a_run_at_the_trivial_score_has_collapsed_and_is_named() -> None:
    runs = {(1, "32-true", seed): metrics(score, 0.5) for seed, score in enumerate([0.7, 0.5, 0.4])}
    cells = robustness.cells_of({"gad": "f1"}, runs)
    assert [(cell["collapsed"], cell["trivial"], cell["lowest"]) for cell in cells] == [([1, 2], 0.5, 0.4)]
    content = {"command": "c", "seeds": [0, 1, 2], "machine": robustness.machine(), "cells": cells}
    assert "| gad | f1 | 1 | 32-true | 0.500 | 0.400 | 0.500 | 0.533 | 1, 2 |" in robustness.page_of("toy", content)


def test_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(robustness)
    assert result.attempted > 0
    assert result.failed == 0
