"""Tasks of an earlier run that a new training keeps: evaluated, not trained, and reported before and after."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mtl.batching.schedule import make_schedule
from mtl.commands import run as run_mtl
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.planning.mixture_check import check
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_balancing, build_data
from tests.trained_runs import saved_run

Tiny = Callable[[str], Path]
WORDS = ("rash", "fever", "cough", "pain", "dose")
QUIET = ("--trainer.accelerator=cpu", "--trainer.precision=32-true", "--run.baselines=false", "--trainer.max_epochs=2")


def rows(folder: Path, seed: int, **sizes: int) -> Path:
    folder.mkdir()
    draws = random.Random(seed)
    for split, number in {"train": 24, "dev": 12, "test": 8, **sizes}.items():
        lines = []
        for place in range(number):
            words = [f"{folder.name}{place}", split, *draws.choices(WORDS, k=6)]
            lines.append(json.dumps({"id": f"{split}{place}", "text": " ".join(words), "label": draws.choice("ab")}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def task(path: Path, **fields: Any) -> dict[str, Any]:
    return {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": str(path)}, **fields}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line in this process, as if it were a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are for Lightning's authors
    for name in ("MTL_RUN_FOLDER", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def old(tmp_path: Path, tiny_encoder: Tiny) -> tuple[RunFolder, Any]:
    """A run with two tasks."""
    tasks = {name: task(rows(tmp_path / name, number), rate=2) for number, name in enumerate(("first", "second"))}
    tasks["second"]["options"] = {"positive": "a", "threshold": "tuned"}
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
    sampler = {"name": "weighted"}
    return saved_run(
        tmp_path / "old", load_mixture({"name": "old", "tasks": tasks, "encoder": encoder, "sampler": sampler})
    )


@pytest.fixture
def fields(tmp_path: Path, old: tuple[RunFolder, Any]) -> dict[str, Any]:
    """A mixture that adds a task to the run."""
    return {
        "name": "new",
        "tasks": {"added": task(rows(tmp_path / "added", 7))},
        "encoder": {"max_length": 64},
        "init": {"run": str(old[0].path), "heads": "keep"},
        "batch_size": 8,
    }


def problems(fields: Mapping[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_mixture(fields)
    return [problem.key for problem in caught.value.problems]


# --- the mixture ------------------------------------------------------------------------------------------------------


def test_the_other_tasks_of_the_run_are_added_but_never_drawn(fields: dict[str, Any]) -> None:
    mixture = load_mixture(fields)
    assert list(mixture.tasks) == ["added", "first", "second"]
    assert [mixture.tasks[name].rate for name in mixture.tasks] == [None, 0, 0]
    assert [mixture.max_length_of(name) for name in mixture.tasks] == [64, 32, 32]
    assert mixture.trained() == mixture.drawn() == ["added"]
    assert list(build_balancing(mixture).weights) == ["added"]
    data = build_data(mixture)
    data.setup()
    schedule = make_schedule(mixture, data.tasks, 3)
    assert {ref.task for epoch in range(3) for step in schedule.epoch(epoch) for ref in step} == {"added"}
    assert {name for name, _ in data.val_dataloader()._batches} == {"added", "first", "second"}


def test_a_resolved_mixture_stays_as_it_is(fields: dict[str, Any]) -> None:
    mixture = load_mixture(fields)
    assert load_mixture(mixture.to_dict()) == mixture


def test_a_task_of_the_same_name_is_trained_on_from_its_head(fields: dict[str, Any]) -> None:
    own = {**fields["tasks"], "second": task(Path(fields["tasks"]["added"]["data"]["path"]))}
    mixture = load_mixture({**fields, "tasks": own})
    assert mixture.trained() == ["added", "second"]
    assert mixture.tasks["second"].data == mixture.tasks["added"].data


def test_the_plan_shows_no_batches_of_tasks_that_are_kept(fields: dict[str, Any]) -> None:
    found, plan = check(fields)
    assert found == []
    assert {name: (one["rate"], one["batches"], one["passes"] > 0) for name, one in plan["tasks"].items()} == {
        "added": (1.0, 3 * plan["epochs"], True),
        "first": (0.0, 0, False),
        "second": (0.0, 0, False),
    }
    assert plan["tasks"]["first"]["first_weights"] is None or "random" not in plan["tasks"]["first"]["first_weights"]


def test_a_rate_of_0_needs_a_trained_head_and_a_task_that_is_trained(fields: dict[str, Any]) -> None:
    still = {"added": {**fields["tasks"]["added"], "rate": 0}}
    assert problems({**fields, "tasks": still}) == ["tasks"]
    two = {**fields["tasks"], "other": {**fields["tasks"]["added"], "rate": 0}}
    plain = {key: value for key, value in fields.items() if key != "init"}
    assert problems({**plain, "tasks": two}) == ["tasks.other.rate"]
    assert problems({**fields, "tasks": two, "init": {**fields["init"], "heads": "none"}}) == ["tasks.other.rate"]
    found, _ = check({**fields, "tasks": two})
    assert [problem.key for problem in found] == ["tasks.other.rate"]


def test_neither_partners_nor_phases_can_train_a_task_that_is_kept(fields: dict[str, Any]) -> None:
    follower = {**fields["tasks"], "third": task(Path("unused"), same_rows_as="first")}
    assert problems({**fields, "tasks": follower}) == ["tasks.third.same_rows_as"]
    phases = [{"from_step": 1, "tasks.first.rate": 2}]
    assert problems({**fields, "curriculum": phases, "sampler": {"name": "weighted"}}) == [
        "curriculum.0.tasks.first.rate"
    ]


# --- the training -----------------------------------------------------------------------------------------------------


def fitted(folder: Path, fields: Mapping[str, Any], *options: str) -> RunFolder:
    file = folder / "new.yaml"
    file.write_text(yaml.safe_dump(dict(fields)), encoding="utf-8")
    assert not run_mtl(["fit", f"--mixture={file}", f"--run.root={folder / 'runs'}", *QUIET, *options])
    return RunFolder.latest(folder / "runs", "new")


def weights(run: RunFolder, prefix: str, kind: str = "last") -> dict[str, Tensor]:
    state = torch.load(run.resolve_checkpoint(kind), weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_frozen_encoder_changes_nothing_for_the_tasks_that_are_kept(
    tmp_path: Path, fields: dict[str, Any], old: tuple[RunFolder, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted(tmp_path, {**fields, "encoder": {"max_length": 64, "freeze_layers": 2}}, "--run.track=false")
    metrics = run.metrics
    assert metrics["before"].keys() == {"first", "second"}
    for name in ("first", "second"):
        assert metrics["before"][name] == metrics["dev"][name]
        assert equal(weights(run, f"heads.{name}."), weights(old[0], f"heads.{name}.", "best"))
    assert equal(weights(run, "encoder."), weights(old[0], "encoder.", "best"))
    assert metrics["train"].keys() == {"added"}
    assert "+0.000" in capsys.readouterr().out
    saved = json.loads((run.path / "checkpoints.json").read_text(encoding="utf-8"))
    assert not {"best:first", "best:second"} & saved.keys()


def test_what_a_trained_encoder_loses_is_the_difference_to_the_score_of_the_run(
    tmp_path: Path, fields: dict[str, Any], old: tuple[RunFolder, Any], monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    from mlflow import MlflowClient

    from mtl.prediction.finished_run import FinishedRun

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run = fitted(tmp_path, fields, "--model.learning_rate=0.01", "--trainer.max_epochs=6")
    finished = FinishedRun(old[0].path)
    client = MlflowClient(store)
    (tracked,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    for name in ("first", "second"):
        before = finished.score(name, finished.split(name, "dev")).result.scores
        assert run.metrics["before"][name]["accuracy"] == before["accuracy"]
        assert run.metrics["before"][name]["loss"] == pytest.approx(before["loss"], abs=1e-6)
        assert equal(weights(run, f"heads.{name}."), weights(old[0], f"heads.{name}.", "best"))
        change = run.metrics["dev"][name]["accuracy"] - before["accuracy"]
        assert tracked.data.metrics[f"kept/{name}/change"] == pytest.approx(change)
        assert run.metrics["dev"][name]["loss"] != before["loss"]
    assert not equal(weights(run, "encoder."), weights(old[0], "encoder.", "best"))


def test_the_new_run_predicts_all_tasks(tmp_path: Path, fields: dict[str, Any]) -> None:
    run = fitted(tmp_path, fields, "--run.track=false")
    out = tmp_path / "found.jsonl"
    assert not run_mtl(["predict", str(run.path), "--text", "rash and fever", "--output", str(out)])
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["predictions"].keys() == {"added", "first", "second"}


def test_the_score_that_selects_checkpoints_is_that_of_the_trained_tasks(fields: dict[str, Any]) -> None:
    from mtl.training.assembly import build_heads, build_selection

    mixture: Mixture = load_mixture(fields)
    selection = build_selection(mixture, build_heads(mixture)[0])
    selection.add({"added": {"accuracy": 0.5}, "first": {"accuracy": 0.9}, "second": {"accuracy": 0.1}})
    assert selection.scores == {"best": 0.5, "best:added": 0.5}
