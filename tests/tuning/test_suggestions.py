"""Optuna's study of the trials: what is drawn, and what a journal survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.tuning.search_space import Choices, NumberRange, Values
from mtl.tuning.suggestions import JOURNAL, make_sampler, open_trials

SPACE: dict[str, Values] = {"a": NumberRange(1e-5, 1e-2, log=True), "b": Choices(("x", "y", None))}


def draw(folder: Path, sampler: str, *, seed: int = 0, trials: int = 14, reopens: bool = False) -> list[dict[str, Any]]:
    """The parameters of trials whose score is the first of them."""
    study = open_trials(folder, "x", direction="maximize")
    for number in range(trials):
        if reopens:
            study = open_trials(folder, "x", direction="maximize")
        study.sampler = make_sampler(sampler, SPACE, seed, number)
        trial = study.ask()
        values = {key: one.suggest(trial, key) for key, one in SPACE.items()}
        study.tell(trial, values["a"])
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_is_opened_again_before_every_trial_draws_the_same(sampler: str, tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole", sampler)
    assert draw(tmp_path / "resumed", sampler, reopens=True) == whole
    assert draw(tmp_path / "other", sampler, seed=1) != whole
    assert len({params["a"] for params in whole}) == len(whole)


def test_tpe_draws_better_values_than_chance_once_it_has_seen_some(tmp_path: Path) -> None:
    def late(sampler: str) -> float:
        found = [params["a"] for params in draw(tmp_path / sampler, sampler, trials=40)]
        return sum(found[20:]) / 20

    assert late("tpe") > 2 * late("random")


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    space = {"a": Choices((1, True, [1])), "b": Choices(("x", None))}
    study = open_trials(tmp_path, "x", direction="minimize")
    for number in range(6):
        study.sampler = make_sampler("grid", space, 0, number)
        trial = study.ask()
        for key, values in space.items():
            values.suggest(trial, key)
        study.tell(trial, 0.0)
    found = {tuple(sorted(trial.params.items())) for trial in study.get_trials()}
    assert len(found) == 6


def test_a_line_that_was_cut_off_is_removed_and_the_others_are_kept(tmp_path: Path) -> None:
    before = draw(tmp_path, "random", trials=3)
    journal = tmp_path / JOURNAL
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code":4,"worker')
    assert [trial.params for trial in open_trials(tmp_path, "x", direction="maximize").get_trials()] == before
    assert journal.read_bytes() == content
    assert len(draw(tmp_path, "random", trials=1)) == 4
