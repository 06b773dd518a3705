"""Scores of a run on another corpus, against those of `mtl test` on the same rows and sums by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mtl.commands import run as run_mtl
from tests import five_tasks
from tests.study.finished import client

NAMES = {"Drug": "MEDICINE", "Event": "SIGN"}


@pytest.fixture(autouse=True)
def _surroundings(tested_run: Path, planted: None) -> Iterator[None]:
    with five_tasks.surroundings(tested_run.parents[2]):
        yield


def corpus(folder: Path, run: Path, name: str, **more: Any) -> Path:
    """A file of a corpus with the test rows of the run's task `mentions` and nothing else."""
    rows = five_tasks.read_lines(run.parents[2] / "mentions" / "test.jsonl")
    five_tasks.write_lines(folder / f"{name}.jsonl", rows)
    fields = {"data": {"reader": "jsonl", "path": {"test": f"{name}.jsonl"}}, **more}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    return folder / f"{name}.yaml"


def change_types(path: Path, names: dict[str, str | None]) -> None:
    """Renames the types of the entities in a file; None leaves a type out."""
    rows = five_tasks.read_lines(path)
    for row in rows:
        row["entities"] = [
            {**entity, "type": names.get(entity["type"], entity["type"])}
            for entity in row["entities"]
            if names.get(entity["type"], entity["type"]) is not None
        ]
    five_tasks.write_lines(path, rows)


def evaluate(run: Path, *words: object) -> int:
    return run_mtl(["evaluate", str(run), "--task", "mentions", *map(str, words), "--trainer.accelerator", "cpu"])


@pytest.mark.slow
def test_the_rows_of_the_runs_own_test_set_get_the_scores_of_mtl_test(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tested_run / "metrics.json").read_bytes()
    own = json.loads(before)
    path = corpus(tmp_path, tested_run, "same")
    change_types(tmp_path / "same.jsonl", {**NAMES})
    assert evaluate(tested_run, "--on", path, "--map", "MEDICINE=Drug", "SIGN=Event", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scores"] == pytest.approx(own["test"]["mentions"])
    assert found["scores"]["f1"] == pytest.approx(6 / 7)
    # Every gold mention is known from train; the spurious `risk` is not.
    assert found["surfaces"] == {"mentions": 7, "seen": 7, "ambiguous": 0, "other_type": 0, "unlabelled": 0}
    assert found["scores"]["seen_precision"] == 1.0
    assert found["scores"]["seen_f1"] == pytest.approx(12 / 13)
    assert "unseen_f1" not in found["scores"]
    assert found["own_test"] == own["test"]["mentions"]
    assert found["intervals"]["f1"] == pytest.approx(own["interval"]["mentions"]["f1"])
    trivial = json.loads((tested_run / "baselines.json").read_text())["test"]["mentions"]
    assert set(found["baselines"]) == set(trivial) == {"lexicon", "majority", "frozen"}
    for predictor, scores in found["baselines"].items():
        assert scores == pytest.approx(trivial[predictor]), "fitted on train of the run: the corpus has none"
    assert (tested_run / "metrics.json").read_bytes() == before, "the run's own scores stay"
    (shared,) = found["shared_with_train"]
    assert "4 texts" in shared


def test_an_evaluation_of_the_run_itself_has_the_scores_on_seen_mentions_and_keeps_no_predictions(
    tested_run: Path,
) -> None:
    own = json.loads((tested_run / "metrics.json").read_text())
    scores = own["test"]["mentions"]
    assert scores["seen_f1"] == pytest.approx(12 / 13)
    assert (scores["seen_share"], scores["ambiguous_share"]) == (1.0, 0.0)
    interval = own["interval"]["mentions"]["seen_f1"]
    assert interval["low"] <= scores["seen_f1"] <= interval["high"]
    with np.load(tested_run / "counts/test/mentions.seen.npz") as seen:
        assert len(seen["documents"]) == 4
    assert not (tested_run / "predictions").exists()
    run_id = json.loads((tested_run / "run.json").read_text())["mlflow"]["run_id"]
    metrics = client(tested_run.parents[2] / "mlflow.db").get_run(run_id).data.metrics
    assert metrics["test/mentions/seen_f1"] == scores["seen_f1"]


def test_the_result_is_in_the_folder_of_the_run_and_in_mlflow_with_counts(tested_run: Path, tmp_path: Path) -> None:
    run_id = json.loads((tested_run / "run.json").read_text())["mlflow"]["run_id"]
    store = client(tested_run.parents[2] / "mlflow.db")
    before = store.get_run(run_id)
    assert evaluate(tested_run, "--on", corpus(tmp_path, tested_run, "kept")) == 0
    place = tested_run / "on" / "kept"
    scores = json.loads((place / "metrics.json").read_text())["test"]["mentions"]
    assert json.loads((place / "evaluations.json").read_text())["test"]["mentions"]["scores"] == scores
    with np.load(place / "counts/test/mentions.npz") as ours, np.load(tested_run / "counts/test/mentions.npz") as own:
        assert {name: ours[name].tolist() for name in ours} == {name: own[name].tolist() for name in own}
    after = store.get_run(run_id)
    assert after.data.metrics["on/kept/test/mentions/f1"] == scores["f1"]
    assert after.data.metrics["on/kept/test/mentions/lexicon/f1"] > 0
    assert after.info.status == before.info.status == "FINISHED"
    assert {k: v for k, v in after.data.metrics.items() if k in before.data.metrics} == before.data.metrics


def test_the_lexicon_is_that_of_the_runs_training_data(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The corpus has a train split of its own, whose lexicon would find everything."""
    path = corpus(tmp_path, tested_run, "new")
    known = {"id": "k", "text": "aspirin", "entities": [{"id": "T", "type": "Drug", "spans": [[0, 7]]}]}
    new = {"id": "n", "text": "a bruise", "entities": [{"id": "T", "type": "Event", "spans": [[2, 8]]}]}
    for split in ("train", "test"):
        five_tasks.write_lines(tmp_path / f"{split}.jsonl", [known, new])
    data = {"reader": "jsonl", "path": {"train": "train.jsonl", "test": "test.jsonl"}}
    path.write_text(yaml.safe_dump({"data": data}), encoding="utf-8")
    assert evaluate(tested_run, "--on", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    lexicon = found["baselines"]["lexicon"]
    assert (lexicon["precision"], lexicon["recall"]) == (1.0, 0.5)
    assert [found["scores"][f"{part}_recall"] for part in ("seen", "unseen")] == [1.0, 0.0]


def test_a_corpus_that_annotates_one_type_is_scored_on_that_type(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = corpus(tmp_path, tested_run, "one", labels=["Event"])
    change_types(tmp_path / "one.jsonl", {"Drug": None})
    assert evaluate(tested_run, "--on", path, "--json") == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert [scores[name] for name in ("precision", "recall")] == pytest.approx([2 / 3, 2 / 3]), "drugs do not count"


def test_another_task_of_the_run_is_a_corpus(tested_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapped = ["--map", "Chemical=Drug", "Disease=Event"]
    assert evaluate(tested_run, "--on", "findings", *mapped, "--split", "dev", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["on"], found["split"], found["rows"], found["scores"]["recall"]) == ("findings", "dev", 3, 0.0)


def test_problems_are_json_with_exit_code_2(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = corpus(tmp_path, tested_run, "odd")
    change_types(tmp_path / "odd.jsonl", {**NAMES})
    assert evaluate(tested_run, "--on", path, "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], [error["key"] for error in found["errors"]]) == (False, ["odd.labels"])
    assert "--map" in found["errors"][0]["suggestion"]
    assert evaluate(tested_run, "--on", path, "--split", "dev") == 2
    assert capsys.readouterr().err.startswith("mtl: --split: ")
    assert not (tested_run / "on" / "odd").exists()
