"""Trials that are ended early: by the evaluations of a training, or by its seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from mtl.commands import run as run_mtl
from mtl.commands.tune import load
from mtl.tracking.run_folder import RunFolder
from mtl.tuning.pruning import PRUNED, STEPS_PER_SEED, PruneTraining
from mtl.tuning.search import TrialSearch
from mtl.tuning.suggestions import Direction, open_trials
from mtl.tuning.training_process import TrainingOrder
from tests.tuning.conftest import Trainings

Write = Callable[..., Path]

FOLDER = Path("runs/tuning/toy_search")


def test_a_training_below_the_median_of_earlier_trials_ends_after_its_evaluation(
    search_file: Write, trainings: Trainings
) -> None:
    fields: dict[str, Any] = {
        "sampler": "random",
        "trials": 6,
        "seeds": 2,
        "prune": "median",
        "objective": "val/drugs/loss",
        "search": {"model.learning_rate": {"low": 1e-9, "high": 1e-8}},
        "trainer": {"max_epochs": 4, "accelerator": "cpu", "precision": "32-true"},
    }
    path = search_file(**fields)
    search = TrialSearch(load(path), Path("runs"))
    study = open_trials(search.folder, "toy_search", direction="minimize", pruner="median")
    steps = {seed * STEPS_PER_SEED + evaluation: 0.01 for seed in (0, 1) for evaluation in (1, 2, 3, 4)}
    distribution = search.tuning.space["model.learning_rate"].distribution()
    for number in range(5):  # the pruner waits for five finished trials
        study.add_trial(
            optuna.trial.create_trial(
                params={"model.learning_rate": 1e-9 * (number + 2)},
                distributions={"model.learning_rate": distribution},
                value=0.01,
                intermediate_values=steps,
                user_attrs={"scores": {"0": 0.01, "1": 0.01}},
            )
        )
    assert run_mtl(["tune", str(path)]) == 0
    report = json.loads((FOLDER / "report.json").read_text())
    last = report["all"][5]
    assert (last["state"], last["scores"]) == ("pruned", {})
    assert report["trials"] == {**report["trials"], "finished": 5, "pruned": 1, "failed": 0}
    assert len(trainings.orders) == 1  # and not the second seed
    (run,) = RunFolder.all(FOLDER / "trials" / "5", "toy")
    evaluations = [line for line in (run.path / "metrics.jsonl").read_text().splitlines() if "val/drugs/loss" in line]
    assert len(evaluations) == 1  # of four
    trial = open_trials(search.folder, "toy_search", direction="minimize").get_trials()[5]
    logged = json.loads(evaluations[0])["metrics"]["val/drugs/loss"]
    assert list(trial.intermediate_values) == [1]
    assert abs(trial.intermediate_values[1] - logged) < 1e-6


def evaluated(callback: PruneTraining, value: float) -> bool:
    """Whether the training ends after an evaluation with this value."""
    trainer: Any = SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        callback_metrics={"val/selection": value},
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda prunes: prunes),
        should_stop=False,
    )
    callback.on_validation_end(trainer, None)  # type: ignore[arg-type]  # it reads nothing of the module
    return bool(trainer.should_stop)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_a_bad_second_seed_ends_a_trial_whose_first_was_the_best(
    direction: Direction, sign: float, tmp_path: Path
) -> None:
    study = open_trials(tmp_path, "x", direction=direction, pruner="median")
    steps = {seed * STEPS_PER_SEED + evaluation: sign * 0.5 for seed in (0, 1) for evaluation in (1, 2)}
    for _ in range(5):  # the pruner waits for five finished trials
        study.add_trial(optuna.trial.create_trial(value=sign * 0.5, intermediate_values=steps))

    def begun() -> list[PruneTraining]:
        """The callbacks of both seeds of a new trial."""
        arguments: dict[str, Any] = {"folder": str(tmp_path), "search": "x", "pruner": "median"}
        arguments |= {"trial": study.ask().number, "objective": "val/selection", "direction": direction}
        return [PruneTraining(**arguments, seed_index=index) for index in (0, 1)]

    first, second = begun()
    assert [evaluated(first, sign * value) for value in (0.9, 0.8)] == [False, False]
    assert evaluated(second, sign * 0.1)
    assert study.get_trials()[5].user_attrs[PRUNED] == {"seed_index": 1, "evaluation": 1}
    first, second = begun()
    assert [evaluated(first, sign * value) for value in (0.9, 0.8)] == [False, False]
    assert [evaluated(second, sign * value) for value in (0.6, 0.1)] == [False, False], "its best is above the median"


def test_without_pruning_no_trial_is_ended_early(search_file: Write, trainings: Trainings) -> None:
    search = TrialSearch(load(search_file()), Path("runs"))
    assert search._sections(0, {"model.learning_rate": 1e-4}, 0)["trainer"].get("callbacks") is None


def test_seeds_that_are_significantly_worse_than_those_of_the_best_trial_end_a_trial(
    search_file: Write, trainings: Trainings
) -> None:
    good = 1e-3
    path = search_file(seeds=7, prune="wilcoxon", search={"model.learning_rate": [good, 1e-4, 1e-5, 1e-6, 1e-7]})

    def pretend(order: TrainingOrder) -> int:
        """Leaves the run of a training whose score depends on the learning rate and the seed."""
        import yaml

        config = yaml.safe_load(order.config.read_text())
        seed, rate = config["mixture"]["seed"], config["model"]["learning_rate"]
        run = RunFolder.create(order.config.parent, "toy", seed)
        score = (0.9 if rate == good else 0.1) + 0.01 * seed + 100 * rate
        run.append_line("metrics.jsonl", {"step": 1, "time": 1.0, "metrics": {"val/drugs/f1": score}})
        run.write_metrics("train", {"drugs": {"undertrained": seed == 1}, "cause": {"undertrained": False}})
        run.update_info(status="FINISHED")
        return 0

    trainings.code = pretend
    assert run_mtl(["tune", str(path)]) == 0
    report = json.loads((FOLDER / "report.json").read_text())
    best = report["best"]["number"]
    assert report["best"]["values"]["model.learning_rate"] == good
    after = report["all"][best + 1 :]
    assert after  # the order of the grid is that of its seed
    assert {trial["state"] for trial in after} == {"pruned"}
    assert all(4 <= len(trial["scores"]) < 7 for trial in after)
    assert len(trainings.orders) == sum(len(trial["scores"]) for trial in report["all"])
    assert {tuple(trial["undertrained"]) for trial in report["all"]} == {("drugs",)}
