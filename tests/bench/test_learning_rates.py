"""The search for learning rates: its verdicts by hand, and real trainings with a tiny encoder."""

import json
from pathlib import Path
from typing import Any

import learning_rates
import pytest


def runs(task: str = "gad", trivial: float | None = 0.5, **by_rate: list[float]) -> list[dict[str, Any]]:
    common = {"data": task, "threads": 1, "precision": "32-true", "trivial": {task: trivial}}
    return [
        {**common, "learning_rate": float(rate.removeprefix("r")), "seed": seed, "scores": {task: score}}
        for rate, scores in by_rate.items()
        for seed, score in enumerate(scores)
    ]


def highest(*found: list[dict[str, Any]]) -> float | None:
    return learning_rates.highest_rate(learning_rates.summary([run for part in found for run in part]))


def test_a_rate_with_a_collapsed_seed_is_too_high() -> None:
    assert highest(runs(r1=[0.6, 0.7, 0.8], r2=[0.6, 0.5, 0.8])) == 1.0
    assert highest(runs(r1=[0.6, 0.7, 0.8], r2=[0.6, 0.55, 0.8])) == 2.0


def test_a_rate_at_which_most_seeds_collapse_is_too_high_as_well() -> None:
    assert highest(runs(r1=[0.6, 0.7, 0.8], r2=[0.5, 0.2, 0.8])) == 1.0


def test_a_task_that_never_beats_the_trivial_predictor_has_no_say() -> None:
    assert highest(runs(r1=[0.6, 0.7, 0.8], r2=[0.6, 0.7, 0.8]), runs("rqe", r1=[0.1] * 3, r2=[0.2] * 3)) == 2.0


def test_one_task_is_enough_to_rule_out_a_rate() -> None:
    good, bad = runs(r1=[0.6, 0.7], r2=[0.6, 0.7]), runs("rqe", r1=[0.6, 0.7, 0.8], r2=[0.6, 0.7, 0.4])
    assert highest(good, bad) == 1.0
    assert highest(runs(r1=[0.6, 0.7, 0.3])) is None


def test_without_a_trivial_predictor_nothing_collapses() -> None:
    assert highest(runs(trivial=None, r1=[0.0, 0.1, 0.9])) == 1.0


@pytest.mark.slow
def test_trainings_are_kept_and_both_pages_are_written(tmp_path: Path, training_options: list[str]) -> None:
    words = ["--seeds", "1", "--updates", "2", "--workers", "1", *training_options]
    learning_rates.main([*words, "--rates", "1e-4", "2e-4"])
    content = json.loads((tmp_path / "out" / "learning_rates.json").read_text())
    assert [(run["data"], run["learning_rate"], run["trained_updates"]) for run in content["runs"]] == [
        ("demo", 1e-4, 2),
        ("demo", 2e-4, 2),
    ]
    lines = (tmp_path / "work" / "learning_rates.jsonl").read_text().splitlines()
    assert len(lines) == 2
    learning_rates.main([*words, "--rates", "1e-4", "2e-4"])  # nothing is left to train
    assert len((tmp_path / "work" / "learning_rates.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "out" / "learning_rates.md").read_text().startswith("# ")
