"""`mtl agreement`, and predictions of a run as weak labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.metrics import accuracy_score, cohen_kappa_score

from heads import SpanRow
from mtl.commands import run as run_mtl
from mtl.config.mixture import DataSpec
from mtl.data.reading import read_rows
from mtl.data.store import Store
from tests import five_tasks

CPU = ["--trainer.accelerator", "cpu"]
GOLD = ["a", "a", "b", "c", "b", "a", "c", "b"]
WEAK = ["a", "b", "b", "c", "b", "a", "b", "b"]


def task_file(folder: Path, head: str, rows: list[dict[str, Any]], labels: list[str], **options: Any) -> Path:
    five_tasks.write_lines(folder / "gold.jsonl", rows)
    data = {"reader": "jsonl", "path": {"train": "gold.jsonl", "dev": "gold2.jsonl"}}
    five_tasks.write_lines(folder / "gold2.jsonl", [row | {"id": f"d{row['id']}"} for row in rows])
    spec = {"head": head, "labels": labels, "data": data, "options": options}
    (folder / "task.yaml").write_text(yaml.safe_dump(spec))
    return folder / "task.yaml"


def agreement(task: Path, weak: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    five_tasks.write_lines(task.parent / "weak.jsonl", weak)
    assert run_mtl(["agreement", str(task.parent / "weak.jsonl"), "--task", str(task), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_labels_agree_as_scikit_learn_counts_it_and_by_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": str(n), "text": f"text {n}", "label": label} for n, label in enumerate(GOLD)]
    task = task_file(tmp_path, "classification", rows, ["a", "b", "c"])
    weak = [{"id": f"d{n}", "text": "", "label": label, "source": "m"} for n, label in enumerate(WEAK)]
    soft = {"id": "d0", "probabilities": {"a": 0.1, "b": 0.7, "c": 0.2}, "source": "soft"}
    found = agreement(task, [*weak, soft, {"id": "elsewhere", "label": "a"}], capsys)
    assert (found["split"], found["rows"], found["not_in_split"]) == ("dev", 8, 1)
    of_source = found["sources"]["m"]
    assert of_source["rows"] == 8
    assert of_source["scores"]["accuracy"] == pytest.approx(accuracy_score(GOLD, WEAK))
    assert of_source["scores"]["kappa"] == pytest.approx(cohen_kappa_score(GOLD, WEAK))
    assert of_source["per_class"]["b"]["precision"] == pytest.approx(3 / 5)
    assert of_source["intervals"]["accuracy"]["low"] < 6 / 8 < of_source["intervals"]["accuracy"]["high"]
    assert found["sources"]["soft"]["scores"]["accuracy"] == 0
    assert run_mtl(["agreement", str(tmp_path / "weak.jsonl"), "--task", str(task)]) == 0
    assert "kappa" in capsys.readouterr().out


def test_labels_that_nobody_looked_for_do_not_disagree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": str(n), "text": "x", "label": ["a", "b"]} for n in range(4)]
    task = task_file(tmp_path, "multilabel", rows, ["a", "b"])
    weak = [{"id": f"d{n}", "label": ["a"], "source": "m", "annotated": ["a"]} for n in range(4)]
    assert agreement(task, weak, capsys)["sources"]["m"]["scores"]["micro_f1"] == 1
    for row in weak:
        del row["annotated"]
    assert agreement(task, weak, capsys)["sources"]["m"]["scores"]["micro_f1"] == pytest.approx(2 / 3)


def test_mentions_and_numbers_agree_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mention = {"id": "T1", "type": "Drug", "spans": [[0, 7]]}
    rows = [{"id": str(n), "text": "Aspirin helps.", "entities": [mention]} for n in range(4)]
    task = task_file(tmp_path, "token_classification", rows, ["Drug"])
    weak = [{"id": f"d{n}", "entities": [mention] * (n < 3), "source": "m"} for n in range(4)]
    scores = agreement(task, weak, capsys)["sources"]["m"]["scores"]
    assert (scores["precision"], scores["recall"]) == (1, 0.75)
    numbers = [{"id": str(n), "text": "x", "label": float(n)} for n in range(4)]
    task = task_file(tmp_path, "regression", numbers, [], range=[0, 4])
    weak = [{"id": f"d{n}", "label": n / 2} for n in range(4)]
    assert agreement(task, weak, capsys)["sources"]["weak"]["scores"]["pearson"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("weak", "part"),
    [
        ([{"id": "d0", "label": "a", "source": "m"}] * 2, "once"),
        ([{"id": "other", "label": "a"}], "rows of dev"),
        ([{"id": "d0", "label": "The fever was high."}], "label"),
    ],
)
def test_a_wrong_file_is_an_error_without_text(
    tmp_path: Path, weak: list[dict[str, Any]], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": str(n), "text": f"text {n}", "label": label} for n, label in enumerate(GOLD)]
    task = task_file(tmp_path, "classification", rows, ["a", "b", "c"])
    five_tasks.write_lines(tmp_path / "weak.jsonl", weak)
    assert run_mtl(["agreement", str(tmp_path / "weak.jsonl"), "--task", str(task)]) == 2
    message = capsys.readouterr().err
    assert part in message
    assert "fever" not in message


@pytest.fixture
def _surroundings(tested_run: Path, planted: None) -> Iterator[None]:
    with five_tasks.surroundings(tested_run.parents[2]):
        yield


@pytest.mark.usefixtures("_surroundings")
def test_what_a_run_predicts_can_be_read_as_weak_labels_and_compared_with_gold(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = ["--split", "test", "--task", "mentions"]
    output = tmp_path / "train.jsonl"
    assert run_mtl(["predict", str(tested_run), *split, "--with-text", "--output", str(output), *CPU]) == 0
    spec = DataSpec(**{"reader": "jsonl", "path": str(output), "predictions": "mentions"})
    rows, summary = read_rows(spec, "tasks.mentions.data", Store(tmp_path / "cache"))["train"]
    gold = five_tasks.read_lines(tested_run.parents[2] / "mentions" / "test.jsonl")
    assert [row.text for row in rows] == [row["text"] for row in gold]
    assert summary.sources == {"predictions": len(gold)}
    assert all(isinstance(row, SpanRow) and row.source == "predictions" and row.score is not None for row in rows)
    types = {tuple(sorted(row.annotated or ())) for row in rows}
    labels = yaml.safe_load((tested_run / "mixture.yaml").read_text())["tasks"]["mentions"]["labels"]
    assert types == {tuple(sorted(labels))}
    of_run = ["--run", str(tested_run), "--task", "mentions", "--split", "test", "--json"]
    capsys.readouterr()
    assert run_mtl(["agreement", str(output), *of_run]) == 0
    found = json.loads(capsys.readouterr().out)["sources"]["train"]
    own = json.loads((tested_run / "metrics.json").read_text())["test"]["mentions"]
    assert found["scores"]["f1"] == pytest.approx(own["f1"])
