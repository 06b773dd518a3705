"""A mixture compared with its tasks alone: equal own updates, runs that are found again, and the page."""

from __future__ import annotations

import argparse
import doctest
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import against_single
import machine
import pytest
import torch
import yaml

from mtl import load_mixture
from mtl.commands import run
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from tests import five_tasks

Write = Callable[..., Path]
Options = Callable[..., argparse.Namespace]

TEMPERATURE = {"name": "temperature", "temperature": 2.0, "steps_per_epoch": 10}
# Batches of 4 among 26, 15 and 9 training rows; `bleed` learns from those of `cause`.
BATCHES = {"cause": 7, "drugs": 4, "risk": 3, "bleed": 7}


@pytest.fixture
def options(tmp_path: Path, toy_mixture: Write) -> Options:
    """Gives the options of the script for a config of the toy mixture."""

    def write(seed: int = 1, epochs: int = 2, **fields: Any) -> argparse.Namespace:
        toy_mixture(sampler=TEMPERATURE, **fields)
        config = {
            "mixture": "toy.yaml",
            "model": {"learning_rate": 1e-3},
            "trainer": {"max_epochs": epochs, "accelerator": "cpu", "precision": "32-true"},
            "run": {"track": False},
        }
        path = tmp_path / "toy-config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return argparse.Namespace(config=path, runs=tmp_path / "runs", out=tmp_path / "out", seeds=[seed])

    return write


def left(options: argparse.Namespace, mixture: Mixture, time: str = "20260101-000000", **changes: Any) -> Path:
    """The folder that a finished run of a mixture leaves."""
    folder = options.runs / mixture.name / f"{time}-s{mixture.seed}"
    folder.mkdir(parents=True)
    config = {"trainer": {"max_epochs": 2, "accelerator": "cpu", "precision": "32-true", "devices": "auto"}}
    config |= {"model": {"learning_rate": 1e-3, "warmup": 0.1}, "run": {"track": True, "root": "elsewhere"}}
    files = {"mixture.yaml": mixture.to_dict(), "config.yaml": config, "metrics.json": {"dev": {}, "test": {}}}
    for name, content in (files | changes).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def found(options: argparse.Namespace, mixture: Mixture) -> Path | None:
    return against_single.finished(options.runs, mixture, against_single.asked_config(options.config))


# --- own updates ------------------------------------------------------------------------------------------------------


def test_own_updates_are_the_batches_of_each_task_and_those_it_shares(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(sampler={"name": "proportional"}))
    assert against_single.own_updates(mixture, 1) == BATCHES
    assert against_single.own_updates(mixture, 3) == {task: 3 * number for task, number in BATCHES.items()}


def test_own_updates_of_steps_with_several_tasks_are_the_steps_that_hold_the_task(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(sampler=TEMPERATURE, tasks_per_step="all"))
    assert against_single.own_updates(mixture, 2) == dict.fromkeys(BATCHES, 20)


def test_a_task_alone_gets_its_own_updates_in_as_many_epochs(options: Options) -> None:
    asked = options()
    mixture = against_single.asked_mixture(asked.config, asked.seeds[0])
    for task, number in against_single.own_updates(mixture, 2).items():
        arguments = against_single.single_arguments(mixture, task, number // 2)
        single = against_single.asked_mixture(asked.config, asked.seeds[0], arguments)
        assert single.name == f"toy-{task}"
        assert single.seed == asked.seeds[0]
        assert single.tasks == {task: mixture.tasks[task].model_copy(update={"same_rows_as": None})}
        assert against_single.own_updates(single, 2) == {task: number // 2 * 2}


@pytest.mark.parametrize(
    ("sampler", "updates", "message"),
    [
        ({"name": "proportional"}, 4, "sampler.name: It must be temperature"),
        (TEMPERATURE, 0, "tasks.cause: It must get an update per epoch"),
    ],
)
def test_what_can_not_be_trained_alone_as_long_is_refused(
    sampler: dict[str, Any], updates: int, message: str, toy_mixture: Write
) -> None:
    with pytest.raises(InputError, match=message):
        against_single.single_arguments(load_mixture(toy_mixture(sampler=sampler)), "cause", updates)


# --- runs that are done -----------------------------------------------------------------------------------------------


def test_a_run_is_found_whatever_its_name_and_the_places_of_its_data(options: Options) -> None:
    asked = options()
    mixture = against_single.asked_mixture(asked.config, asked.seeds[0])
    fields = mixture.to_dict()
    fields["name"] = "moved"
    for task in fields["tasks"].values():
        task["data"]["path"] = "/elsewhere"
    del fields["tasks_per_step"], fields["tokens_per_batch"]  # a run of a version that didn't know them
    assert found(asked, mixture) is None
    folder = left(asked, mixture, **{"mixture.yaml": fields})
    assert found(asked, mixture) == folder


def test_the_newest_of_equal_runs_counts(options: Options) -> None:
    asked = options()
    mixture = against_single.asked_mixture(asked.config, asked.seeds[0])
    left(asked, mixture)
    newer = left(asked, mixture, "20260102-000000")
    left(asked, mixture, "20260103-000000", **{"metrics.json": {"dev": {}}})  # not tested
    assert found(asked, mixture) == newer


@pytest.mark.parametrize(
    "key",
    [
        ("seed",),
        ("batch_size",),
        ("sampler", "steps_per_epoch"),
        ("encoder", "max_length"),
        ("tasks", "drugs", "loss_weight"),
        ("tasks", "bleed", "a key of another version"),
    ],
)
def test_a_run_of_another_mixture_does_not_count(key: Sequence[str], options: Options) -> None:
    asked = options()
    mixture = against_single.asked_mixture(asked.config, asked.seeds[0])
    fields = mixture.to_dict()
    place = fields
    for part in key[:-1]:
        place = place[part]
    place[key[-1]] = 11
    left(asked, mixture, **{"mixture.yaml": fields})
    assert found(asked, mixture) is None


def test_a_run_under_another_config_does_not_count(options: Options) -> None:
    left(options(), against_single.asked_mixture(options().config, 1))
    assert found(options(), against_single.asked_mixture(options().config, 1)) is not None
    longer = options(epochs=3)
    assert found(longer, against_single.asked_mixture(longer.config, 1)) is None


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_tells_scores_the_strongest_trivial_one_and_the_times(
    options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = options()
    mixture = against_single.asked_mixture(asked.config, asked.seeds[0]).only(["cause", "risk"])
    together = {
        "dev": {"cause": {"accuracy": 0.9, "macro_f1": 0.1}, "risk": {"pearson": 0.25}},
        "test": {"cause": {"accuracy": 0.8, "macro_f1": 0.1}, "risk": {"pearson": 0.5}},
        "baselines": {
            "test": {
                "cause": {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.75}},
                "risk": {"mean": {"pearson": 0.0}, "tfidf": {"pearson": 0.5}},
            }
        },
        "seconds": 90.0,
        "machine": {"machine.threads": "7"},  # the run's, which this process need not share
    }
    alone = {
        "cause": {"dev": {"cause": {"accuracy": 0.7}}, "test": {"cause": {"accuracy": 0.6}}, "seconds": 100.0},
        "risk": {"dev": {"risk": {"pearson": 0.3}}, "test": {"risk": {"pearson": -0.4}}, "seconds": 80.0},
    }
    against_single.write(asked, mixture, [against_single.Pair({"cause": 14, "risk": 6}, together, alone)])
    page = (tmp_path / "out" / "toy.md").read_text(encoding="utf-8")
    assert "| cause | accuracy | 14 | 0.900 | 0.800 | 0.700 | 0.600 | tfidf 0.750 | 1 of 1 | 1 of 1 |" in page
    assert (
        "| risk | pearson | 6 | 0.250 | 0.500 | 0.300 | -0.400 | tfidf 0.500 | 0 of 1 | 1 of 1 |" in page
    )  # no better is no win
    assert "took 2 minutes together and 3 for all tasks alone." in page
    assert "seeds 1 " in page
    assert "(7 thread(s) used)" in page
    assert page in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "toy.json").read_text(encoding="utf-8"))
    assert [row["own_updates"] for row in written["tasks"]] == [[14], [6]]
    assert machine.machine_line(written["machine"]) in page

    assert "undertrained" not in page

    alone["risk"]["seconds"] = None
    alone["risk"]["train"] = {"risk": {"loss": 0.5, "undertrained": True}}
    alone["cause"]["train"] = {"cause": {"loss": 0.5, "undertrained": False}}
    against_single.write(asked, mixture, [against_single.Pair({"cause": 14, "risk": 6}, together, alone)])
    page = (tmp_path / "out" / "toy.md").read_text(encoding="utf-8")
    assert "took 2 minutes together and an unknown number of for all tasks alone." in page
    assert "| risk | pearson | 6 | 0.250 | 0.500 | 0.300 * | -0.400 * |" in page
    assert "| cause | accuracy | 14 | 0.900 | 0.800 | 0.700 | 0.600 |" in page
    assert "undertrained" in page
    written = json.loads((tmp_path / "out" / "toy.json").read_text(encoding="utf-8"))
    assert written["tasks"][1]["undertrained"] == {"mixture": [False], "alone": [True]}


def test_the_machine_is_told_without_names_of_hosts_or_users() -> None:
    found = machine.machine()
    kinds = {name.partition(".")[0] for name in found}
    assert kinds <= {"version", "machine", "git", "date"}
    assert {"machine.processor", "machine.memory", "machine.cpus", "machine.threads", "version.torch"} <= set(found)
    assert re.fullmatch(r"\d+ GiB", found["machine.memory"])


# --- real runs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_mixture_and_its_tasks_are_trained_once_and_put_side_by_side(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(epochs=1, only=["cause", "bleed"])
    commands: list[str] = []

    def in_this_process(words: Sequence[str], threads: int | None) -> None:
        commands.append(words[0])
        assert run(list(words)) == 0

    monkeypatch.setattr(against_single, "mtl", in_this_process)  # each process would spend seconds on imports
    arguments = [str(asked.config), "--runs", str(asked.runs), "--out", str(asked.out), "--seeds", "1"]
    with five_tasks.surroundings(tmp_path):
        against_single.main(arguments)
    assert commands == ["fit", "test"] * 3
    tasks = json.loads((asked.out / "toy.json").read_text(encoding="utf-8"))["tasks"]
    assert {row["task"]: row["own_updates"] for row in tasks} == {"cause": [10], "bleed": [10]}
    for row in tasks:
        for name, key in (("toy", "mixture"), (f"toy-{row['task']}", "alone")):
            (file,) = (asked.runs / name).glob("*/metrics.json")
            metrics = json.loads(file.read_text(encoding="utf-8"))
            assert row[key] == {split: [metrics[split][row["task"]]["accuracy"]] for split in ("dev", "test")}
            last = RunFolder.open(file).resolve_checkpoint("last")
            assert torch.load(last, weights_only=True)["global_step"] == 10
    before = (asked.out / "toy.md").read_text(encoding="utf-8")
    with five_tasks.surroundings(tmp_path):
        against_single.main(arguments)
    assert commands == ["fit", "test"] * 3
    assert (asked.out / "toy.md").read_text(encoding="utf-8") == before


def test_a_command_that_fails_stops_the_comparison() -> None:
    against_single.mtl(["--version"])
    with pytest.raises(subprocess.CalledProcessError):
        against_single.mtl(["fitt"])


def test_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(against_single)
    assert result.attempted == 4
    assert result.failed == 0
