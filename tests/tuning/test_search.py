"""Searches with real trainings: what they find, what they leave, and that they resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.commands import run as run_mtl
from mtl.commands.tune import load
from mtl.tracking.run_folder import RunFolder
from mtl.tuning.search import SearchStoppedError, TrialSearch
from mtl.tuning.suggestions import JOURNAL
from mtl.tuning.training_process import TrainingOrder
from tests.mlflow_server import wait_for
from tests.study.finished import client
from tests.tuning.conftest import GOOD, TOO_LOW, Trainings

Write = Callable[..., Path]

FOLDER = Path("runs/tuning/toy_search")


def tune(path: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """The report of `mtl tune` in this process."""
    assert run_mtl(["tune", str(path), *words]) == expect
    found: dict[str, Any] = json.loads((FOLDER / "report.json").read_text())
    return found


def runs_of(store: str, kind: str | None = None) -> list[Any]:
    found = client(store)
    experiment = found.get_experiment_by_name("biomtl-tuning")
    query = "" if kind is None else f"tags.kind = '{kind}'"
    return list(found.search_runs([experiment.experiment_id], query))


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "search", "trials"),
    [
        ("grid", {"model.learning_rate": [TOO_LOW, GOOD, 1e-8]}, None),
        ("tpe", {"model.learning_rate": {"low": 1e-7, "high": 1e-2, "log": True}}, 6),
    ],
)
def test_a_planted_optimum_is_found(
    sampler: str, search: dict[str, Any], trials: int | None, search_file: Write, trainings: Trainings
) -> None:
    found = tune(search_file(sampler=sampler, search=search, trials=trials, objective="val/drugs/loss"))
    rates = {trial["values"]["model.learning_rate"]: trial["mean"] for trial in found["all"]}
    assert len(found["all"]) == len(trainings.orders) == (trials or 3)
    best = found["best"]["values"]["model.learning_rate"]
    assert found["best"]["mean"] == min(rates.values()) == rates[best]
    assert best > 1e-4
    assert max(rates.values()) > rates[best] + 0.01


@pytest.mark.slow
def test_the_score_of_a_trial_is_that_of_its_runs(search_file: Write, trainings: Trainings) -> None:
    found = tune(search_file(seeds=2, objective=None))
    for trial in found["all"]:
        runs = {run.info["seed"]: run for run in RunFolder.all(FOLDER / "trials" / str(trial["number"]), "toy")}
        logged = {seed: json_lines(run.path / "metrics.jsonl") for seed, run in runs.items()}
        best = {
            str(seed): max(line["metrics"]["val/selection"] for line in lines if "val/selection" in line["metrics"])
            for seed, lines in logged.items()
        }
        assert trial["scores"] == best
        assert trial["mean"] == pytest.approx(np.mean(list(best.values())))
        assert trial["spread"] == pytest.approx(np.std(list(best.values()), ddof=1))


@pytest.mark.slow
def test_equal_values_are_trained_once_and_counted_as_repeats(search_file: Write, trainings: Trainings) -> None:
    path = search_file(sampler="random", trials=6, search={"model.learning_rate": [TOO_LOW, GOOD, 1e-4]})
    found = tune(path)
    repeats = [trial for trial in found["all"] if trial["repeats"] is not None]
    assert len(trainings.orders) == len(found["all"]) - len(repeats)
    assert found["trials"]["repeated"] == len(repeats) > 0
    for trial in repeats:
        first = found["all"][trial["repeats"]]
        assert (trial["values"], trial["scores"]) == (first["values"], first["scores"])


# --- test is never touched --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_test_split_is_never_evaluated_and_its_labels_change_nothing(
    search_file: Write, trainings: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    from mtl.batching import loaders

    asked: list[str] = []
    begin = loaders.EvaluationLoader.__init__

    def noting(self: Any, data: Any, split: str, **options: Any) -> None:
        asked.append(split)
        begin(self, data, split, **options)

    monkeypatch.setattr(loaders.EvaluationLoader, "__init__", noting)
    first = tune(search_file())
    assert set(asked) == {"dev"}
    runs = [RunFolder(path.parent) for path in FOLDER.glob("trials/*/toy/*/run.json")]
    assert len(runs) == 2
    for run in runs:
        assert "test" not in run.metrics
        assert not (run.path / "counts" / "test").exists()
        assert '"test/' not in (run.path / "metrics.jsonl").read_text()
    assert not [name for run in runs_of(store) for name in run.data.metrics if name.startswith("test/")]

    path = search_file(name="other")
    file = tmp_path / "cause" / "test.jsonl"
    flipped = [{**row, "label": {"no": "yes", "yes": "no"}[row["label"]]} for row in json_lines(file)]
    file.write_text("".join(json.dumps(row) + "\n" for row in flipped))
    assert run_mtl(["tune", str(path)]) == 0
    second = json.loads(Path("runs/tuning/other/report.json").read_text())
    assert [trial["scores"] for trial in second["all"]] == [trial["scores"] for trial in first["all"]]


# --- MLflow and files -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mlflow_has_a_run_per_trial_in_the_search_and_the_trainings_in_their_trial(
    search_file: Write, trainings: Trainings, store: str
) -> None:
    found = tune(search_file(seeds=2))
    (parent,), trials = runs_of(store, "tuning"), runs_of(store, "tuning_trial")
    others = [run for run in runs_of(store) if "kind" not in run.data.tags]
    assert (len(trials), len(others)) == (2, 4)
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *trials, *others)} == {"FINISHED"}
    nested = Counter(run.data.tags["mlflow.parentRunId"] for run in others)
    assert nested == {run.info.run_id: 2 for run in trials}
    by_number = {int(run.data.tags["trial"]): run for run in trials}
    for trial in found["all"]:
        run = by_number[trial["number"]]
        assert run.data.metrics["objective/mean"] == pytest.approx(trial["mean"])
        assert run.data.params["model.learning_rate"] == str(trial["values"]["model.learning_rate"])
    assert parent.data.metrics["trials/finished"] == 2
    assert "biased" in parent.data.tags["mlflow.note.content"]
    names = {file.path for file in client(store).list_artifacts(parent.info.run_id)}
    assert {"report.md", "report.json", "trials.json"} <= names
    # The same search again sends nothing twice.
    tune(search_file(seeds=2))
    assert len(runs_of(store)) == 7


def test_only_the_best_trial_keeps_its_checkpoint(search_file: Write, trainings: Trainings) -> None:
    found = tune(search_file())
    kept = {path.relative_to(FOLDER).parts[1] for path in FOLDER.glob("trials/*/toy/*/checkpoints/*.ckpt")}
    assert kept == {str(found["best"]["number"])}
    (run,) = RunFolder.all(FOLDER / "trials" / str(found["best"]["number"]), "toy")
    assert run.resolve_checkpoint("best").is_file()


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_training_is_a_failed_trial_and_the_search_continues(search_file: Write, trainings: Trainings) -> None:
    trainings.code = lambda order: 1 if len(trainings.orders) == 1 else None
    found = tune(search_file())
    assert [trial["state"] for trial in found["all"]] == ["failed", "finished"]
    assert found["trials"] == {**found["trials"], "finished": 1, "failed": 1, "pruned": 0}
    assert "exit code 1" in found["all"][0]["reason"]


def test_a_search_whose_trials_all_fail_stops(search_file: Write, trainings: Trainings) -> None:
    trainings.code = lambda order: 1
    path = search_file(search={"model.learning_rate": [1e-4, 1e-5, 1e-6, 1e-7, 1e-8]})
    found = tune(path, expect=1)
    assert (len(found["all"]), found["trials"]["failed"], found["best"]) == (3, 3, None)


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_search_resumes_and_repeats_no_training(search_file: Write, trainings: Trainings) -> None:
    path = search_file(seeds=2, sampler="tpe", trials=3, search={"model.learning_rate": {"low": 1e-5, "high": 1e-2}})

    def interrupt(order: TrainingOrder) -> None:
        if len(trainings.orders) == 3:
            raise KeyboardInterrupt

    trainings.before = interrupt
    assert tune(path, expect=1)["trials"] == {"wanted": 3, "finished": 1, "pruned": 0, "failed": 0, "running": 1} | {
        "repeated": 0
    }
    trainings.before = lambda order: None
    resumed = tune(path)
    assert len(trainings.orders) == 6  # of 3 trials with 2 seeds
    assert resumed["trials"]["finished"] == 3
    whole = search_file(
        name="whole", seeds=2, sampler="tpe", trials=3, search={"model.learning_rate": {"low": 1e-5, "high": 1e-2}}
    )
    assert run_mtl(["tune", str(whole)]) == 0
    expected = json.loads(Path("runs/tuning/whole/report.json").read_text())
    assert [trial["values"] for trial in resumed["all"]] == [trial["values"] for trial in expected["all"]]
    assert [trial["scores"] for trial in resumed["all"]] == [trial["scores"] for trial in expected["all"]]


def test_more_trials_can_be_asked_for_later(search_file: Write, trainings: Trainings) -> None:
    path = search_file(sampler="random", trials=1, search={"model.learning_rate": {"low": 1e-5, "high": 1e-2}})
    tune(path)
    assert len(tune(path, "trials=2")["all"]) == len(trainings.orders) == 2


def test_a_search_that_changed_is_not_mixed_with_the_earlier_one(
    search_file: Write, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(search_file())
    capsys.readouterr()
    path = search_file(seeds=2, mixture={"batch_size": 8}, trainer={"max_epochs": 1, "accelerator": "cpu"})
    assert run_mtl(["tune", str(path), "--json"]) == 2
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert {error["key"] for error in errors} == {"seeds", "mixture", "options"}


@pytest.mark.slow
def test_a_journal_whose_last_line_was_cut_off_is_read(search_file: Write, trainings: Trainings) -> None:
    path = search_file()
    tune(path)
    before = (FOLDER / JOURNAL).read_bytes()
    with (FOLDER / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 5, "wor')
    tune(path)
    assert (FOLDER / JOURNAL).read_bytes().startswith(before)
    assert len(trainings.orders) == 2


def test_a_trial_of_a_living_process_is_left_to_it(search_file: Write, trainings: Trainings) -> None:
    tuning = load(search_file())
    mine, other = TrialSearch(tuning, Path("runs")), TrialSearch(tuning, Path("runs"))
    found = mine._next()
    assert found is not None
    number, claim = found
    with claim:
        second = other._next()
        assert second is not None
        assert second[0] != number
        with second[1]:
            assert other._next() is None
            assert not other._is_done()
    again = other._next()  # both claims have ended
    assert again is not None
    assert again[0] == number


def test_a_training_that_was_ended_from_outside_stops_the_search(search_file: Write, trainings: Trainings) -> None:
    search = TrialSearch(load(search_file()), Path("runs"))

    def kill(order: TrainingOrder) -> int:
        root = order.config.parent
        run = RunFolder.create(root, "toy", 0)
        run.update_info(status="KILLED")
        return 1

    trainings.code = kill
    with pytest.raises(SearchStoppedError):
        search.run()
    assert search.record().counts["running"] == 1
    os.environ.pop("MTL_RUN_FOLDER", None)


# --- processes --------------------------------------------------------------------------------------------------------


def start(path: Path, *words: str) -> subprocess.Popen[str]:
    restored = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in background jobs
    script = f"{restored}; from mtl.commands import main; main({['tune', str(path), *words]!r})"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "MTL_RUN_FOLDER")}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=path.parent,
        env={**environment, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.soak) for number in (signal.SIGINT, signal.SIGTERM))],
    ids=lambda number: number.name,
)
def test_a_killed_search_resumes_its_training_and_finishes_like_one_that_was_not(
    number: signal.Signals, search_file: Write, trainings: Trainings, store: str
) -> None:
    whole = tune(search_file(trainer={"max_epochs": 6, "accelerator": "cpu", "precision": "32-true"}))
    path = search_file(name="killed", trainer={"max_epochs": 6, "accelerator": "cpu", "precision": "32-true"})
    folder = Path("runs/tuning/killed")
    first = start(path)
    wait_for(lambda: list(folder.glob("trials/1/toy/*/checkpoints/last-*.ckpt")), 300)
    first.send_signal(number)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == (-number if number is signal.SIGKILL else 1), errors
    done = start(path, "--json")
    out, errors = done.communicate(timeout=500)
    assert done.returncode == 0, errors
    found = json.loads(out)
    assert [trial["scores"] for trial in found["all"]] == [trial["scores"] for trial in whole["all"]]
    assert found["trials"]["finished"] == 2
    assert len(list(folder.glob("trials/*/toy/*/run.json"))) == 2  # the interrupted run resumed in its folder


@pytest.mark.slow
def test_two_processes_share_the_trials(search_file: Write, store: str) -> None:
    path = search_file(search={"model.learning_rate": [TOO_LOW, GOOD]}, trainer={"max_epochs": 1})
    processes = [start(path, "--json") for _ in range(2)]
    outputs = [process.communicate(timeout=550) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    found = [json.loads(out) for out, _ in outputs]
    assert found[0]["all"] == found[1]["all"]
    assert Counter(trial["state"] for trial in found[0]["all"]) == {"finished": 2}
    assert len({trial["values"]["model.learning_rate"] for trial in found[0]["all"]}) == 2
    assert len(list(FOLDER.glob("trials/*/toy/*/run.json"))) == 2
    assert len(runs_of(store, "tuning")) == 1
    assert len(runs_of(store, "tuning_trial")) == 2
