"""What a change of code that leaves results as they were costs: a few runs, and not all of them."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.code_identity import modules
from mtl.commands import run as run_mtl
from mtl.study.design.run_spec import Finished, RunSpec
from mtl.study.design.study_file import load_study
from mtl.study.running.ledger import Ledger
from mtl.study.running.read_back import read_study
from mtl.study.running.session import Session
from mtl.study.running.takeover import differing_values
from tests.user_head import HELPERS, OURS, use

Lab = Callable[..., None]
Write = Callable[..., Path]

NEUTRAL = HELPERS.replace("x * 1.0", "1.0 * x")
MOVING = HELPERS.replace("1.0", "1.000001")


class Silent:
    """A tracker without MLflow."""

    def finished(self) -> dict[str, str]:
        return {}

    def known_description(self) -> dict[str, Any]:
        return {}

    def describe(self, description: Any) -> None:
        pass

    def publish(self, orders: Any, ledger: Any, **options: Any) -> None:
        pass


class Simulated:
    """Trains in no time; all numbers follow from a run's name, and `drift` is added to those of a task's test."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.drift: dict[str, float] = {}

    def __call__(self, order: RunSpec, ledger: Ledger) -> Any:
        if order.source is not None:
            assert ledger.encoder(order.source).is_file()
        if order.keeps_encoder:
            ledger.encoder(order.key).parent.mkdir(parents=True, exist_ok=True)
            ledger.encoder(order.key).touch()
        self.trained.append(order.name)
        scores = {task: random.Random(order.name + task).random() for task in order.targets}
        dev = {task: {"accuracy": score} for task, score in scores.items()}
        test = {task: {"accuracy": score + self.drift.get(task, 0.0)} for task, score in scores.items()}
        result = {
            "curve": [{"updates": dict.fromkeys(order.tasks, 4), "dev": dev, "train_loss": scores}],
            "selected": {task: {"evaluation": 1} for task in scores},
            "primary": dict.fromkeys(scores, "accuracy"),
            "dev": dev,
            "test": test,
            "cost": {"seconds": 1.0, "training_seconds": 1.0, "evaluation_seconds": 0.0, "examples": 1, "tokens": 1},
            "versions": {},
            **order.labels(),
        }
        documents = {"documents": np.array(["a", "b"]), "counts": np.eye(2), "owners": np.arange(2)}
        return result, dict.fromkeys(scores, documents)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    simulated = Simulated()
    monkeypatch.setattr("mtl.study.running.train_run.train", simulated)
    return simulated


@pytest.fixture
def study(toy_study: Write, tmp_path: Path, lab: Lab) -> Write:
    """A study in which `cause` has a head of the user's own."""
    lab(ours=OURS, helpers=HELPERS)

    def write(**fields: Any) -> Path:
        path = toy_study(**fields)
        use(tmp_path / "toy.yaml", cause="lab.ours.Ours")
        return path

    return write


def session(path: Path, *overrides: str) -> Session:
    silent: Any = Silent()
    return Session(load_study(path, overrides), Path("runs"), tracker=silent)


def finish(path: Path, *overrides: str, verify_old: int = 0) -> Session:
    made = session(path, *overrides)
    made.run(f"session {random.random()}", verify_old=verify_old)
    assert all(made.is_done(order) for order in made.plan.run_specs)
    return made


def results(made: Session) -> dict[str, dict[str, Any]]:
    found = {order.name: made.ledger.result(order.key) for order in made.plan.run_specs}
    return {name: result for name, result in found.items() if result is not None}


def taken_over(made: Session) -> set[str]:
    return {name for name, result in results(made).items() if "taken_over" in result}


def change_training(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets code that all runs share look changed."""
    actual, changed = modules._file, folder / "seeding.py"
    source = actual("mtl.seeding")
    assert source is not None
    changed.write_text(source.read_text().replace("derive(seed, *key))", "derive(+seed, *key))"))
    monkeypatch.setattr(modules, "_file", lambda name: changed if name == "mtl.seeding" else actual(name))


def test_runs_are_taken_over_if_others_give_identical_results_again(
    study: Write, training: Simulated, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study()
    before = finish(path)
    lab(helpers=NEUTRAL)
    training.trained.clear()
    made = finish(path, verify_old=3)
    affected = {order.name for order in made.plan.run_specs if "cause" in order.tasks}
    assert len(training.trained) == 3
    assert set(training.trained) < affected
    assert taken_over(made) == affected - set(training.trained)
    assert {seed for name in training.trained for seed in (0, 1) if name.endswith(f"seed {seed}")} == {0, 1}
    assert {task for name in training.trained for task in ("cause", "drugs", "risk") if task in name} == {
        "cause",
        "drugs",
        "risk",
    }
    keys = {order.name: order.key for order in before.plan.run_specs}
    for name in taken_over(made):
        old, new = results(before)[name], results(made)[name]
        assert new["taken_over"]["from"] == keys[name] == old["key"] != new["key"]
        verified = {
            result["name"] for result in results(made).values() if result["key"] in new["taken_over"]["verified"]
        }
        assert verified == set(training.trained)
        assert {**new, "key": "", "taken_over": ""} == {**old, "key": "", "taken_over": ""}
        counts = made.ledger.counts(new["key"])
        assert all(
            (counts[t]["counts"] == found["counts"]).all() for t, found in made.ledger.counts(old["key"]).items()
        )
    (deviation,) = made.description()["deviations"]
    assert "code: lab.helpers.scaled" in deviation
    assert deviation.count("3 runs") == 2
    training.trained.clear()
    assert finish(path, verify_old=3).description()["deviations"] == [deviation]
    assert training.trained == []


def test_nothing_is_taken_over_if_a_value_differs(
    study: Write, training: Simulated, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study()
    finish(path)
    lab(helpers=MOVING)
    training.drift["cause"] = 1e-12
    training.trained.clear()
    capsys.readouterr()
    made = finish(path, verify_old=2)
    assert ": test.cause.accuracy " in capsys.readouterr().err
    assert taken_over(made) == set()
    assert sorted(training.trained) == sorted(order.name for order in made.plan.run_specs if "cause" in order.tasks)
    assert len(training.trained) == 6
    (sentence,) = made.description()["deviations"]
    assert "code: lab.helpers.scaled." in sentence
    assert "6 finished runs" in sentence


def test_a_known_difference_is_not_verified_again(study: Write, training: Simulated, lab: Lab) -> None:
    path = study()
    finish(path)
    lab(helpers=MOVING)
    training.drift["cause"] = 1e-12
    made = session(path)
    assert made.takeover().possible() == 6
    made.takeover().run(2, lambda orders: made._train(orders, "one"))
    assert made.takeover().possible() == 0
    training.trained.clear()
    made.takeover().run(2, lambda orders: made._train(orders, "two"))
    assert training.trained == []
    assert taken_over(made) == set()


def test_runs_that_were_trained_again_earlier_count(study: Write, training: Simulated, lab: Lab) -> None:
    path = study()
    finish(path)
    lab(helpers=NEUTRAL)
    made = session(path)
    made._train([order for order in made.plan.run_specs if "cause" in order.tasks][:2], "one")
    training.trained.clear()
    assert len(taken_over(finish(path, verify_old=2))) == 4
    assert training.trained == []


def test_only_runs_whose_changed_code_was_run_again_are_taken_over(
    study: Write, training: Simulated, lab: Lab, tmp_path: Path
) -> None:
    def write(**fields: Any) -> Path:
        path = study(**fields)
        use(tmp_path / "toy.yaml", cause="lab.ours.Ours", bleed="lab.second.Second")
        return path

    second = OURS.replace("Ours", "Second").replace("return scaled(total)", "return {} * total")
    lab(second=second.format("1.0"))
    tasks = ["cause", "bleed", "risk"]
    path = write(tasks=tasks, designs=["single"])
    finish(path)
    lab(helpers=NEUTRAL, second=second.format("2.0 / 2.0"))
    made = finish(path, verify_old=1)
    assert taken_over(made) == {"cause, seed 1"}

    path = write(tasks=tasks, designs=["pairwise"], name="pairs")
    finish(path)
    lab(helpers=HELPERS.replace("*", "/"), second=second.format("3.0 / 3.0"))
    training.trained.clear()
    made = finish(path, verify_old=1)
    assert training.trained == ["cause + bleed, seed 0"]
    assert len(taken_over(made)) == 2 * (2 + 3) - 1


def test_a_result_is_not_compared_with_itself(study: Write, training: Simulated, lab: Lab) -> None:
    path = study(designs=["single"], tasks=["cause"], seeds=3)
    finish(path)
    lab(helpers=NEUTRAL)
    finish(path, verify_old=1)
    made = session(path)
    lab(helpers=HELPERS)
    back = session(path)
    assert taken_over(back) == set()
    assert taken_over(made) == {"cause, seed 1", "cause, seed 2"}
    assert [order.name for order in back.takeover()._trained_twice()] == ["cause, seed 0"]


def test_runs_that_start_from_others_are_taken_over_when_one_of_them_was_trained_again(
    study: Write, training: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = study(designs=["sequential"], tasks=["cause", "risk"])
    finish(path)
    change_training(monkeypatch, tmp_path)
    training.trained.clear()
    made = session(path)
    made.takeover().run(1, lambda orders: made._train(orders, "one"))
    assert training.trained == ["cause, seed 0"]
    assert taken_over(made) == {"cause, seed 1", "risk, seed 0", "risk, seed 1"}


def test_a_run_and_its_sources_are_trained_again_when_the_number_allows(
    study: Write, training: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = study(designs=["sequential"], tasks=["cause", "risk"])
    finish(path)
    change_training(monkeypatch, tmp_path)
    training.trained.clear()
    made = finish(path, verify_old=3)
    assert len(training.trained) == 3
    assert sum(" then " in name for name in training.trained) == 1
    assert len(taken_over(made)) == 8 - 3
    assert not list(Path("runs/ledger").glob("*/*/encoder.pt"))


def test_other_settings_are_more_than_a_code_change(
    study: Write, training: Simulated, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study(designs=["single"])
    finish(path)
    lab(helpers=NEUTRAL)
    capsys.readouterr()
    made = finish(path, "trainer.threads=2", verify_old=3)
    assert "nothing is taken over" in capsys.readouterr().err
    assert taken_over(made) == set()
    deviation = made.description()["deviations"][0]
    assert "trainer.threads: 1 -> 2; code: lab.helpers.scaled." in deviation
    assert "6 finished runs" in deviation


def test_a_study_without_missing_runs_takes_nothing_over(
    study: Write, training: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study(designs=["single"])
    finish(path, verify_old=3)
    assert "nothing is taken over" in capsys.readouterr().err
    assert len(training.trained) == 6


def test_a_run_may_be_taken_over_twice(study: Write, training: Simulated, lab: Lab) -> None:
    path = study(designs=["single"], tasks=["cause"], seeds=4)
    first = finish(path)
    lab(helpers=NEUTRAL)
    finish(path, verify_old=1)
    lab(helpers=HELPERS.replace("return x * 1.0", "y = x\n    return y * 1.0"))
    training.trained.clear()
    made = finish(path, verify_old=1)
    assert len(training.trained) == 1
    twice = results(made)["cause, seed 3"]
    assert twice["test"] == results(first)["cause, seed 3"]["test"]
    assert set(twice["taken_over"]["earlier"]) > {twice["taken_over"]["from"], first.plan.run_specs[3].key}
    assert not any(sentence.startswith("Changed") for sentence in made.description()["deviations"])


def test_a_run_that_another_command_is_training_is_left_to_it(study: Write, training: Simulated, lab: Lab) -> None:
    path = study(designs=["single"], tasks=["cause"], seeds=3)
    finish(path)
    lab(helpers=NEUTRAL)
    made = session(path)
    claim = made.ledger.claim(made.plan.run_specs[2].key)
    assert claim is not None
    with claim:
        made.takeover().run(1, lambda orders: made._train(orders, "one"))
    assert taken_over(made) == {"cause, seed 1"}
    made.takeover().run(1, lambda orders: made._train(orders, "two"))
    assert taken_over(made) == {"cause, seed 1", "cause, seed 2"}
    assert training.trained.count("cause, seed 0") == 2


def test_nothing_is_taken_over_when_a_run_fails(
    study: Write, training: Simulated, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study(designs=["single"], tasks=["cause"])
    finish(path)
    lab(helpers=NEUTRAL)

    def fail(order: RunSpec, ledger: Ledger) -> Any:
        raise MemoryError

    monkeypatch.setattr("mtl.study.running.train_run.train", fail)
    made = session(path)
    made.run("one", verify_old=1)
    assert "'cause, seed 0' failed" in capsys.readouterr().err
    assert results(made) == {}


def test_a_run_that_was_taken_over_is_trained_for_its_encoder_and_keeps_its_result(
    study: Write, training: Simulated, lab: Lab
) -> None:
    path = study(designs=["single"], tasks=["cause", "risk"])
    finish(path)
    lab(helpers=NEUTRAL)
    before = results(finish(path, verify_old=1))
    made = finish(path, "designs=[sequential]")
    assert {name: results(made)[name] for name in before} == before
    (source,) = [order for order in made.plan.run_specs if order.name == "cause, seed 1"]
    assert source.key in {order.source for order in made.plan.run_specs}
    assert [repeat["differences"] for repeat in made.ledger.repeats(source.key)] == [[]]


def test_seeds_that_are_added_with_or_after_a_takeover_are_a_deviation(
    study: Write, training: Simulated, lab: Lab
) -> None:
    path = study(designs=["single"], tasks=["cause"])
    finish(path)
    lab(helpers=NEUTRAL)
    assert len(finish(path, verify_old=1).description()["deviations"]) == 1
    for _ in range(2):
        deviations = finish(path, "seeds=3").description()["deviations"]
        assert ": 0, 1; then 0, 1, 2." in deviations[1]
    lab(helpers=HELPERS.replace("*", "/"))
    for _ in range(2):
        deviations = finish(path, "seeds=4", verify_old=1).description()["deviations"]
        assert ": 0, 1; then 0, 1, 2; then 0, 1, 2, 3." in deviations[-1]


def test_identical_code_from_two_changes_ago_is_found(study: Write, training: Simulated, lab: Lab) -> None:
    path = study(designs=["single"], tasks=["cause", "risk"])
    finish(path)
    lab(helpers=MOVING)
    made = session(path, "seeds=[0, 5]")
    made.history.note()
    lab(helpers=NEUTRAL)
    assert session(path).takeover().possible() == 2


def test_a_value_that_differs_in_the_last_digit_or_is_missing_is_found() -> None:
    part: dict[str, Any] = {"selected": {}, "primary": {}, "dev": {}, "test": {"a": {"f1": 0.5, "loss": None}}}
    result = {**part, "curve": [{"train_loss": {"a": 0.25}}], "cost": {"seconds": 1.0}}
    counts = {"a": {"counts": np.array([1.0, np.nan]), "documents": np.array(["x", "y"])}}
    before = Finished(result, counts)
    assert list(differing_values(before, Finished({**result, "cost": {"seconds": 2.0}}, counts))) == []
    moved = {**result, "curve": [{"train_loss": {"a": np.nextafter(0.25, 1)}}]}
    assert list(differing_values(before, Finished(moved, counts))) == [
        "curve.1.train_loss.a 0.25 -> 0.25000000000000006"
    ]
    fewer = {**result, "test": {"a": {"f1": 0.5}}, "curve": [{"train_loss": {"a": 0.25, "b": 1.0}}]}
    assert list(differing_values(before, Finished(fewer, counts))) == [
        "test.a.loss (gone)",
        "curve.1.train_loss.b (new)",
    ]
    other = {"a": {**counts["a"], "counts": np.array([1.0, 0.0])}}
    assert list(differing_values(before, Finished(result, other))) == ["counts of a"]
    narrow = {"a": {**counts["a"], "counts": counts["a"]["counts"].astype("float32")}}
    assert list(differing_values(before, Finished(result, narrow))) == ["counts of a"]


# --- from end to end --------------------------------------------------------------------------------------------------


def plan_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run_mtl(["study", "plan", "study.yaml", "--json", "--no-probe"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_a_refactoring_costs_only_the_runs_that_verify_it(
    study: Write, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    study(tasks=["cause", "risk"])
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    lab(ours=OURS.replace("total, count =", "# A comment.\n        total, count ="), new="import heads\n")
    found = plan_of(capsys)
    assert (found["to_train"], found["changed"], found["differ_only_in_code"]) == (0, [], 0)
    lab(helpers=NEUTRAL)
    found = plan_of(capsys)
    assert (found["to_train"], found["changed"], found["differ_only_in_code"]) == (4, ["code: lab.helpers.scaled"], 4)
    assert run_mtl(["study", "plan", "study.yaml", "--no-probe"]) == 0
    assert "4 finished runs: `mtl study run study.yaml --verify-old 3`" in capsys.readouterr().out
    assert run_mtl(["study", "run", "study.yaml", "--verify-old", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (deviation,) = report["deviations"]
    assert "code: lab.helpers.scaled" in deviation
    assert deviation.count("2 runs") == 2
    assert plan_of(capsys)["to_train"] == 0
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    tagged = [run for run in client.search_runs(ids, "tags.kind = 'study_run'") if "taken_over" in run.data.tags]
    assert len(tagged) == 2
    assert all(run.data.tags["taken_over"] != run.data.tags["key"] for run in tagged)
    assert read_study("toy_study").deviations == (deviation,)


def test_a_change_in_the_last_digits_is_found_and_all_runs_are_trained(
    study: Write, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tasks=["cause"], designs=["single"])
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    lab(helpers=MOVING)
    capsys.readouterr()
    assert run_mtl(["study", "run", "study.yaml", "--verify-old", "1"]) == 0
    error = capsys.readouterr().err
    assert "'cause, seed 0'" in error
    assert ": curve.1.dev.cause.loss " in error
    assert plan_of(capsys)["to_train"] == 0


@pytest.mark.slow
def test_results_that_only_mlflow_has_are_taken_over(study: Write, lab: Lab) -> None:
    study(tasks=["cause"], designs=["single"])
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    shutil.rmtree("runs")
    lab(helpers=NEUTRAL)
    assert run_mtl(["study", "run", "study.yaml", "--verify-old", "1"]) == 0
    made = Session(load_study("study.yaml"), Path("runs"))
    assert taken_over(made) == {"cause, seed 1"}


@pytest.mark.parametrize("words", [["run", "--verify-old", "0"], ["plan", "--verify-old", "3"]])
def test_the_number_of_runs_to_verify_is_checked(study: Write, words: list[str]) -> None:
    study()
    with pytest.raises(SystemExit) as caught:
        run_mtl(["study", words[0], "study.yaml", *words[1:]])
    assert caught.value.code == 2
