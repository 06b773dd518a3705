"""The table of several ways to do one task, from folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import two_ways

WRITTEN = {"loss": 1.0, "accuracy": 0.5, "parse_failure_rate": 0.25, "end_to_end_micro_f1": 0.125}
CLASSIFIED = {"loss": 0.5, "accuracy": 0.625, "macro_f1": 0.5, "end_to_end_micro_f1": 0.375}


def folder(path: Path, task: str, scores: dict[str, float], documents: list[str]) -> Path:
    (path / "counts" / "test").mkdir(parents=True)
    for name in (task, f"{task}.end_to_end"):
        np.savez(path / "counts" / "test" / f"{name}.npz", documents=np.array(documents))
    baseline = {task: {"accuracy": 0.55}}
    interval = {task: {"accuracy": {"low": 0.25, "high": 0.75, "method": "wilson"}}}
    content = {"test": {task: scores}, "baseline": baseline, "interval": interval}
    (path / "metrics.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    written = folder(tmp_path / "written", "qa", WRITTEN, ["b", "a"])
    classified = folder(tmp_path / "classified", "yes_no", CLASSIFIED, ["a", "b"])
    return [f"{written}:qa", f"{classified}:yes_no"]


def test_the_metrics_that_all_ways_have_stand_side_by_side(given: list[str]) -> None:
    lines = two_ways.table(given, end_to_end=False)
    assert lines[0] == "| run | task | accuracy |"
    assert [line.split(" | ")[1:] for line in lines[2:4]] == [
        ["qa", "0.500 (0.250 to 0.750) |"],
        ["yes_no", "0.625 (0.250 to 0.750) |"],
    ]
    assert two_ways.table(given, end_to_end=True)[2].endswith("| qa | 0.125 |")


def test_ways_that_were_scored_on_other_documents_are_refused(given: list[str], tmp_path: Path) -> None:
    other = folder(tmp_path / "other", "qa", WRITTEN, ["a", "c"])
    with pytest.raises(SystemExit, match="differ in 2"):
        two_ways.table([*given, f"{other}:qa"], end_to_end=False)


def test_what_is_missing_is_named(given: list[str], tmp_path: Path) -> None:
    for words, named in (([f"{tmp_path}/none:qa"], "metrics.json"), ([given[0].replace(":qa", ":x")], "'x'")):
        with pytest.raises(SystemExit, match=named):
            two_ways.table(words, end_to_end=False)
