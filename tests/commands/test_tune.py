"""`mtl tune` as its users type it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.commands import run as run_mtl
from mtl.commands.arguments import take_mixture
from mtl.tracking.run_folder import RunFolder
from tests.tuning.conftest import SEARCH, Trainings, search_file, trainings

__all__ = ["search_file", "trainings"]  # fixtures

Write = Callable[..., Path]


def test_the_printed_values_are_arguments_that_fit_takes_verbatim(
    search_file: Write,
    trainings: Trainings,
    capsys: pytest.CaptureFixture[str],  # a fixture
) -> None:
    search = {
        "model.learning_rate": [2e-3],
        "tasks.cause.options.pooling": ["mean"],
        "sampler": [{"name": "temperature", "temperature": 2.0}],
        "trainer.max_epochs": [1],
    }
    fields = {key: value for key, value in SEARCH["trainer"].items() if key != "max_epochs"}
    path = search_file(search=search, trainer=fields)
    assert run_mtl(["tune", str(path), "--json"]) == 0
    lines = capsys.readouterr().out
    found = json.loads(lines[lines.index('{\n  "name"') :])
    assert found["ok"] is True
    assert Path(found["folder"], "report.md").is_file()
    words = shlex.split(found["best"]["command"])
    assert words[:2] == ["mtl", "fit"]
    assert set(found["best"]["overrides"]) <= set(words)
    mixture, _ = take_mixture(words[2:])
    assert mixture is not None
    assert mixture.tasks["cause"].options["pooling"] == "mean"
    assert (mixture.sampler.name, mixture.sampler.options) == ("temperature", {"temperature": 2.0})
    assert run_mtl([*words[1:], "--run.baselines=false"]) == 0
    again = RunFolder.latest(Path("runs"), "toy")
    assert again.info["status"] == "FINISHED"
    # The toy mixture has seed 1; trial 0 has seed 0.
    assert run_mtl([*words[1:], "--seed_everything=0", "--run.baselines=false"]) == 0
    (trained,) = RunFolder.all(Path(found["folder"]) / "trials" / "0", "toy")
    assert RunFolder.latest(Path("runs"), "toy").metrics["dev"] == trained.metrics["dev"]


def test_problems_are_printed_as_json_and_exit_with_2(
    search_file: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = search_file(search={"model.learning_rate": [-1]}, sampler="gird")
    assert run_mtl(["tune", str(path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert {error["key"] for error in found["errors"]} == {"sampler", "search.model.learning_rate"}
    assert run_mtl(["tune", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_missing_optuna_is_an_error_with_the_extra(
    search_file: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_mtl(["tune", str(search_file())]) == 2
    assert "biomtl[tune]" in capsys.readouterr().err
