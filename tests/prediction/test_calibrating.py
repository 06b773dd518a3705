"""Calibration of a finished run, and predictions with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl.calibration.saved import FILE, calibration_of, temperatures
from mtl.commands import run as run_mtl
from mtl.prediction.calibrating import calibrate
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.predicting import predict, split_rows
from mtl.problems import InputError
from tests import five_tasks
from tests.study.finished import client

FP32 = {"accelerator": "cpu", "precision": "32-true"}
WITH_PROBABILITIES = ("kind", "topics", "mentions", "links")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path], empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copy(empty_store, folder / "mlflow.db")
    return five_tasks.train(folder, tiny_encoder("bert"), "--run.baselines=false", "--trainer.max_epochs=1")


@pytest.fixture(autouse=True)
def _surroundings(trained: Path) -> Iterator[None]:
    with five_tasks.surroundings(trained.parents[2]):
        yield


@pytest.fixture(scope="module")
def calibrated(trained: Path) -> dict[str, Any]:
    """What `mtl calibrate` saved of the run, which stays calibrated."""
    with five_tasks.surroundings(trained.parents[2]):
        assert run_mtl(["calibrate", str(trained), "--trainer.accelerator", "cpu"]) == 0
    content: dict[str, Any] = json.loads((trained / FILE).read_text())
    return content


def copy_of(run: Path, folder: Path) -> Path:
    """A copy of a run that tests may change; it is not tracked."""
    copy = folder / "runs" / "five" / run.name
    shutil.copytree(run, copy)
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({name: value for name, value in info.items() if name != "mlflow"}))
    (copy / FILE).unlink(missing_ok=True)
    return copy


def test_every_task_with_probabilities_is_calibrated(trained: Path, calibrated: dict[str, Any]) -> None:
    tasks = calibrated["tasks"]
    assert tuple(tasks) == WITH_PROBABILITIES
    assert [one["unit"] for one in tasks.values()] == ["class", "label", "span", "class"]
    for one in tasks.values():
        assert one["num_rows"] <= 8
        assert "fewer than 50" in one["note"]
    assert tasks["kind"]["num_test"] == 7
    assert tasks["topics"]["num_test"] == 2 * 7
    assert tasks["kind"]["after"]["nll"] >= 0
    assert five_tasks.SECRET not in (trained / FILE).read_text()
    metrics = json.loads((trained / "metrics.json").read_text())["calibration"]
    for name, one in tasks.items():
        assert metrics[name]["temperature"] == one["temperature"]
    for state in ("before", "after"):
        assert metrics["kind"][f"ece_{state}"] == tasks["kind"][state]["ece"]


def test_the_numbers_before_are_those_of_the_evaluation(trained: Path, calibrated: dict[str, Any]) -> None:
    """The likelihood at temperature 1 is the loss, which the evaluation computes from logits."""
    run = FinishedRun(trained, FP32)
    for task in ("kind", "topics", "links"):
        loss = run.score(task, run.split(task, "test")).result.scores["loss"]
        assert calibrated["tasks"][task]["before"]["nll"] == pytest.approx(loss, rel=1e-4)


def test_the_fit_never_loses_likelihood_on_dev(trained: Path, calibrated: dict[str, Any]) -> None:
    run = FinishedRun(trained, FP32)
    for task in ("kind", "links"):
        rows = [run.head(task).decisions(*one) for one in run.outputs(task, run.split(task, "dev"))]
        p, gold = torch.cat([one.probabilities for one in rows]).double(), torch.cat([one.gold for one in rows])
        at = (p.log() / run.temperature(task)).softmax(-1)
        places = range(len(gold)), gold.tolist()
        assert at[places].log().mean() >= p[places].log().mean() - 1e-9


def test_numbers_and_diagrams_are_in_mlflow(trained: Path, calibrated: dict[str, Any]) -> None:
    run_id = json.loads((trained / "run.json").read_text())["mlflow"]["run_id"]
    metrics = client(trained.parents[2] / "mlflow.db").get_run(run_id).data.metrics
    after = calibrated["tasks"]["kind"]["after"]
    assert metrics["calibration/kind/brier_after"] == pytest.approx(after["brier"])
    assert metrics["calibration/kind/temperature"] == pytest.approx(calibrated["tasks"]["kind"]["temperature"])
    assert (trained / "artifacts" / "calibration" / "kind.png").stat().st_size > 1000
    assert client(trained.parents[2] / "mlflow.db").get_run(run_id).info.status == "FINISHED"


def test_predictions_have_calibrated_probabilities_and_the_same_decisions(
    trained: Path, calibrated: dict[str, Any], tmp_path: Path
) -> None:
    plain = copy_of(trained, tmp_path)
    for task in WITH_PROBABILITIES:
        rows = list(split_rows(trained, task, "test"))
        before, after = (predict(run, rows, tasks=[task], trainer=FP32) for run in (plain, trained))
        assert before is not None
        assert after is not None
        degree = calibrated["tasks"][task]["temperature"]
        for one, other in zip(before, after, strict=True):
            raw, own = one["predictions"][task], other["predictions"][task]
            if "scores" not in raw:
                assert [{**e, "score": 0} for e in own["entities"]] == [{**e, "score": 0} for e in raw["entities"]]
                continue
            assert own.get("label") == raw.get("label")
            assert own.get("labels") == raw.get("labels")
            p = np.array(list(raw["scores"].values()))
            powers = p ** (1 / degree)
            rest = (1 - p) ** (1 / degree) if task == "topics" else powers.sum() - powers
            assert list(own["scores"].values()) == pytest.approx(powers / (powers + rest), abs=1e-5)


def test_sets_have_the_labels_up_to_the_quantile_of_dev(trained: Path, calibrated: dict[str, Any]) -> None:
    rows = list(split_rows(trained, "kind", "test"))
    quantile = calibrated["tasks"]["kind"]["conformal"]["0.8"]["quantile"]
    lines = predict(trained, rows, tasks=["kind", "topics"], coverage=0.8, trainer=FP32)
    assert lines is not None
    for line in lines:
        own = line["predictions"]["kind"]
        assert own["set"] == [name for name, p in own["scores"].items() if 1 - p <= quantile]
        assert "set" not in line["predictions"]["topics"], "its labels do not exclude each other"
    everything = predict(trained, rows, tasks=["kind"], coverage=0.99, trainer=FP32)
    assert everything is not None
    assert all(line["predictions"]["kind"]["set"] == ["yes", "no"] for line in everything), "8 rows are too few"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"coverage": 0.85}, "0.8, 0.9, 0.95, 0.99"),
        ({"coverage": 0.9, "output": "out.csv"}, ".jsonl"),
        ({"coverage": 0.9, "tasks": ["topics"]}, "mtl calibrate"),
    ],
)
def test_a_coverage_that_cannot_be_given_is_refused(
    trained: Path, calibrated: dict[str, Any], options: dict[str, Any], part: str
) -> None:
    with pytest.raises(InputError) as error:
        predict(trained, ["fever"], **{"tasks": ["kind"], "trainer": FP32, **options})
    (problem,) = error.value.problems
    assert problem.key == "--coverage"
    assert part in f"{problem}"


def test_a_calibration_holds_for_its_checkpoint_only(
    trained: Path, calibrated: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of(trained, tmp_path)
    run = FinishedRun(copy, FP32)
    assert run.temperature("kind") == 1.0
    (copy / FILE).write_text(json.dumps({**calibrated, "checksum": "00000000"}))
    assert calibration_of(run.model.checkpoint) == {}
    assert FILE in capsys.readouterr().err
    (copy / FILE).write_text(json.dumps(calibrated))
    assert temperatures(calibration_of(run.model.checkpoint)) == {
        name: one["temperature"] for name, one in calibrated["tasks"].items()
    }
    assert FinishedRun(copy, FP32).temperature("kind") == calibrated["tasks"]["kind"]["temperature"]
    assert FinishedRun(copy, FP32).temperature("score") == 1.0, "a task without probabilities"


def test_one_task_can_be_calibrated_and_the_others_stay(
    trained: Path, calibrated: dict[str, Any], tmp_path: Path
) -> None:
    copy = copy_of(trained, tmp_path)
    run = FinishedRun(copy, FP32)
    calibrate(run, ["kind"])
    assert set(calibration_of(run.model.checkpoint)) == {"kind"}
    calibrate(run, ["topics"])
    assert calibration_of(run.model.checkpoint) == {name: calibrated["tasks"][name] for name in ("kind", "topics")}


def test_labels_that_nobody_looked_for_are_left_out(trained: Path, tmp_path: Path) -> None:
    copy = copy_of(trained, tmp_path)
    run = FinishedRun(copy, FP32)
    topics = run.mixture.tasks["topics"]
    paths, size = {"train": str(trained.parents[2] / "topics" / "train.jsonl")}, {}
    for split in ("dev", "test"):
        rows = five_tasks.read_lines(trained.parents[2] / "topics" / f"{split}.jsonl")
        partly = [
            row if n % 2 else {**row, "label": [name for name in row["label"] if name == "skin"], "annotated": ["skin"]}
            for n, row in enumerate(rows)
        ]
        five_tasks.write_lines(tmp_path / f"{split}.jsonl", partly)
        paths[split], size[split] = str(tmp_path / f"{split}.jsonl"), 2 * len(rows) - (len(rows) + 1) // 2
    data = topics.data.model_copy(update={"path": paths})
    tasks = {**run.mixture.tasks, "topics": topics.model_copy(update={"data": data})}
    run.mixture = run.mixture.model_copy(update={"tasks": tasks})
    found = calibrate(run, ["topics"])["topics"]
    assert (found.num_decisions, found.num_test) == (size["dev"], size["test"])
    assert set(found.intervals) == {"before", "after", "change"}


def test_what_cannot_be_calibrated_is_refused(trained: Path, tmp_path: Path) -> None:
    copy = copy_of(trained, tmp_path)
    run = FinishedRun(copy, FP32)
    with pytest.raises(InputError) as error:
        calibrate(run, ["score"])
    assert [one.key for one in error.value.problems] == ["tasks.score.head"]
    with pytest.raises(InputError) as error:
        calibrate(run, ["kinds"])
    assert [one.key for one in error.value.problems] == ["--task"]
    kind = run.mixture.tasks["kind"]
    dev = trained.parents[2] / "kind" / "dev.jsonl"
    rows = five_tasks.read_lines(dev)
    five_tasks.write_lines(tmp_path / "unlabelled.jsonl", [{**row, "label": None} for row in rows])
    for paths in ({"train": str(dev)}, {"train": str(dev), "dev": str(tmp_path / "unlabelled.jsonl")}):
        data = kind.data.model_copy(update={"path": paths})
        run.mixture = run.mixture.model_copy(update={"tasks": {"kind": kind.model_copy(update={"data": data})}})
        with pytest.raises(InputError) as error:
            calibrate(run, ["kind"])
        assert [one.key for one in error.value.problems] == ["tasks.kind.data"]
    assert not (copy / FILE).is_file()


def test_a_run_without_a_checkpoint_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of(trained, tmp_path)
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints.json").unlink()
    assert run_mtl(["calibrate", str(copy)]) == 2
    assert "checkpoint" in capsys.readouterr().err


def test_the_report_as_json(trained: Path, calibrated: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_mtl(["calibrate", str(trained), "--task", "kind", "--json", "--trainer.accelerator", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["kind"] == calibrated["tasks"]["kind"]
