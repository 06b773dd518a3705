"""The report of a search from its trials."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from mtl.tuning.records import SearchRecord, TrialRecord
from mtl.tuning.tuning_report import command, search_json, search_page, summary_lines
from mtl.tuning.tuning_tracker import trial_columns


def record(*trials: TrialRecord, **fields: Any) -> SearchRecord:
    settings: dict[str, Any] = {
        "name": "x",
        "objective": "val/selection",
        "is_minimized": False,
        "wanted": 9,
        "seeds": [0, 1],
        "sampler": "tpe",
        "mixture": "a b.yaml",
        "fixed": ["--trainer.max_epochs=2"],
        "importance": {},
    }
    return SearchRecord(**{**settings, **fields}, trials=trials)


def trial(number: int, *scores: float, state: str = "finished", **fields: Any) -> TrialRecord:
    values = {"model.learning_rate": 10.0**-number}
    return TrialRecord(number, state, values, {str(n): score for n, score in enumerate(scores)}, **fields)


TRIALS = (
    trial(0, 0.2, 0.4),
    trial(1, 0.5, 0.7),
    trial(2, 0.9, state="pruned", reason="after seed 0"),
    trial(3, state="failed", reason="exit code 1"),
    trial(4, 0.5, 0.7, repeats=1),
)


def test_the_best_trial_has_the_best_mean_of_the_finished_ones() -> None:
    assert record(*TRIALS).best == TRIALS[1]
    assert record(*TRIALS, is_minimized=True).best == TRIALS[0]
    assert record(*TRIALS[2:4]).best is None


def test_trials_are_counted_by_state_and_scored_by_mean_and_standard_deviation() -> None:
    found = search_json(record(*TRIALS))
    assert found["trials"] == {"wanted": 9, "finished": 3, "pruned": 1, "failed": 1, "running": 0, "repeated": 1}
    assert found["best"]["mean"] == pytest.approx(0.6)
    assert found["best"]["spread"] == pytest.approx(0.2 / 2**0.5)
    assert found["all"][3]["mean"] is None


def test_the_command_has_the_mixture_the_fixed_options_and_the_best_values() -> None:
    words = shlex.split(command(record(*TRIALS)))
    assert words == ["mtl", "fit", "--mixture=a b.yaml", "--trainer.max_epochs=2", "--model.learning_rate=0.1"]
    assert command(record()) == ""


def test_the_page_has_a_row_per_trial_the_counts_and_the_caution() -> None:
    page = search_page(record(*TRIALS, importance={"model.learning_rate": 1.0}))
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(TRIALS) + 2 + 1  # trials, and the importance of one key, each with two lines of header
    for part in ("3 finished, 1 pruned, 1 failed", "biased upward", "**1**", "after seed 0", "repeats trial 1"):
        assert part in page
    assert "undertrained" not in page
    assert "biased downward" in search_page(record(*TRIALS, is_minimized=True))


def test_the_caution_names_the_number_of_settings_that_were_compared() -> None:
    (line,) = [line for line in summary_lines(record(*TRIALS)) if "biased" in line]
    assert " 2 settings" in line  # without the repeat, the pruned and the failed one
    assert not [line for line in summary_lines(record(TRIALS[0])) if "biased" in line]


def test_undertrained_tasks_are_named_in_the_table_and_those_of_the_best_trial_in_the_summary() -> None:
    found = record(trial(0, 0.2, undertrained=("gad",)), trial(1, 0.5, undertrained=("rqe", "sts")))
    page = search_page(found)
    assert [line for line in page.splitlines() if line.endswith("| finished, undertrained: gad |")]
    assert [line for line in page.splitlines() if line.endswith("| finished, undertrained: rqe, sts |")]
    (line,) = [line for line in summary_lines(found) if "trainer.max_epochs" in line]
    assert "rqe, sts" in line
    assert "gad" not in line
    assert [list(one["undertrained"]) for one in search_json(found)["all"]] == [["gad"], ["rqe", "sts"]]
    assert trial_columns(found)["undertrained"] == ["gad", "rqe, sts"]
