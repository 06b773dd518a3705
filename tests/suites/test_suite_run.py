"""A suite is trained, resumed and reported with real trainings and a real store of MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.commands import run
from mtl.suites.model_results import models_folder, read_models
from tests.suites.toy import write_data, write_suite

LINES = [
    "paper,theirs,toy_risk,micro_f1_without_negative,60.0,0.5,5,",
    "paper,others,toy_risk,accuracy_with_negative,90.4,,,",
    "paper,unclear,toy_drugs,f1_averaging_unclear,77.24,,,",
]
QUICK = ["--seeds", "2", "budget.updates=2", "budget.evaluations=1", "trainer.accelerator=cpu"]


@pytest.fixture
def suite(
    tmp_path: Path, store: str, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """A suite file and the options of a quick run; the working folder has the data of both of its tasks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    write_data(tmp_path, "drugs", "risk")
    path = write_suite(tmp_path, LINES)
    return [str(path), "--encoder", str(tiny_encoder("bert")), *QUICK]


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["suite", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def ledger(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.glob("runs/ledger/*/*/result.json")}


@pytest.mark.slow
def test_a_suite_is_trained_once_and_reported_from_disk_and_from_mlflow(
    suite: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first = scores(capsys, "run", *suite, "--tasks", "toy_risk")
    assert code == 0
    assert first["scores"]["task"].count("toy_drugs") == 0
    before = ledger(tmp_path)
    assert len(before) == 2

    code, both = scores(capsys, "run", *suite)  # resumes: only the other task is trained
    assert code == 0
    assert before.items() <= ledger(tmp_path).items()
    assert len(ledger(tmp_path)) == 4
    ours = [i for i, source in enumerate(both["scores"]["source"]) if source is None]
    assert {(both["scores"]["task"][i], both["scores"]["variant"][i]) for i in ours} == {
        ("toy_risk", "micro_f1_without_negative"),
        ("toy_risk", "accuracy_with_negative"),
        ("toy_drugs", "strict_entity_f1"),
    }
    assert {both["scores"]["seeds"][i] for i in ours} == {2}
    own = {
        task: 100 * sum(found.scores[variant].values()) / 2
        for (one,) in [read_models(models_folder(tmp_path / "runs", "toy"))]
        for task, found in one.tasks.items()
        for variant in [next(iter(found.scores))]
    }
    label = next(both["scores"]["model"][i] for i in ours)
    assert {task: both["metrics"][f"{label}/{task}"] for task in own} == pytest.approx(own)
    assert both["metrics"][f"{label}/mean/toy"] == pytest.approx(sum(own.values()) / 2)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert scores(capsys, "report", suite[0]) == (0, both)  # no results there: MLflow has them


def test_the_report_has_published_scores_of_the_same_variant_only(
    suite: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = scores(capsys, "run", *suite, "--tasks", "toy_risk")
    published = {
        (model, task, variant): mean
        for model, source, task, variant, mean in zip(
            *(found["scores"][name] for name in ("model", "source", "task", "variant", "mean")), strict=True
        )
        if source == "paper"
    }
    assert published == {
        ("theirs", "toy_risk", "micro_f1_without_negative"): 60.0,
        ("others", "toy_risk", "accuracy_with_negative"): 90.4,
    }
    assert not [name for name in found["metrics"] if "/mean/" in name]  # a task is missing
    (means,) = found["means"].values()
    assert (means["score"], means["found"], means["total"]) == (None, 1, 2)
    assert run(["suite", "report", suite[0]]) == 0
    printed = capsys.readouterr().out
    assert "incomplete (1 of 2)" in printed
    assert "2 seeds instead of 5" in printed
    text = (tmp_path / "runs/suites/toy/report/report.md").read_text()
    table = text.split("##")[0]
    assert "77.24" not in table
    (row,) = [line for line in table.splitlines() if "micro_f1_without_negative" in line]
    assert "90.4" not in row
    assert "60.00" in row
    assert "incomplete (1 of 2)" in table
    assert "4 of" not in text


@pytest.mark.slow
def test_every_test_text_of_the_toy_is_in_train(suite: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, found = scores(capsys, "run", *suite, "--tasks", "toy_risk")
    ours = [i for i, source in enumerate(found["scores"]["source"]) if source is None]
    assert {found["scores"]["overlapping"][i] for i in ours} == {2}
    assert {found["scores"]["mean_without_overlap"][i] for i in ours} == {None}


@pytest.mark.slow
def test_tasks_are_trained_together(suite: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, found = scores(capsys, "run", *suite, "--as", "joint")
    assert code == 0
    label = next(model for model in found["scores"]["model"] if model.endswith(", joint"))
    expected = {f"{label}/toy_risk", f"{label}/toy_drugs", f"{label}/mean/toy", f"{label}/seen_f1/toy_drugs"}
    assert expected == {name for name in found["metrics"] if "/trivial/" not in name}


@pytest.mark.slow
def test_a_score_on_other_rows_than_the_published_ones_is_marked(
    suite: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data" / "risk" / "test.tsv"
    file.write_text(file.read_text() + "@A$ gave @B$ .\tcause\n")
    assert run(["suite", "check", suite[0], "--accept-counts"]) == 0
    _, found = scores(capsys, "run", *suite)
    marks = zip(found["scores"]["source"], found["scores"]["task"], found["scores"]["other_test"], strict=True)
    ours = {(task, mark) for source, task, mark in marks if source is None}
    assert ours == {("toy_risk", True), ("toy_drugs", False)}
    assert "†" in (tmp_path / "runs/suites/toy/report/report.md").read_text().split("##")[0]


def test_missing_data_are_left_out_and_wrong_counts_are_refused(
    suite: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "drugs").rename(tmp_path / "away")
    assert scores(capsys, "run", *suite)[0] == 0
    file = tmp_path / "data" / "risk" / "test.tsv"
    file.write_text(file.read_text() + "@A$ gave @B$ .\tcause\n")
    capsys.readouterr()
    assert run(["suite", "run", *suite]) == 2
    assert "tasks.toy_risk.counts.test" in capsys.readouterr().err
    assert run(["suite", "run", *suite, "--tasks", "toy_drugs"]) == 2
    errors = capsys.readouterr().err
    assert all(words in errors for words in ("tasks.toy_drugs", "the office", "a signature", "data/drugs"))


@pytest.mark.parametrize(
    ("words", "key"),
    [(["--tasks", "toy_rsk"], "--tasks"), (["--seeds", "1"], "seeds"), (["budget.update=3"], "budget.update")],
)
def test_a_mistake_is_named(suite: list[str], words: list[str], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["suite", "run", *suite, *words]) == 2
    assert key in capsys.readouterr().err


def test_without_results_the_report_says_how_to_get_them(suite: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["suite", "report", suite[0]]) == 2
    assert "mtl suite run toy" in capsys.readouterr().err
