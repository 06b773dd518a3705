"""The comparison of students on gold and on a run's labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import weak_labels

from mtl.config import components
from mtl.readers.jsonl import Jsonl


def test_rows_are_gold_or_without_a_label_and_the_seed_decides_which() -> None:
    rows = [{"id": str(n), "text": f"t{n}", "label": str(n % 2)} for n in range(50)]
    found = weak_labels.parts(rows, 0, 10, 30, {})
    assert [len(found[name]) for name in ("human", "unlabelled", "gold")] == [10, 30, 40]
    assert all(row in rows for row in found["human"])
    assert all(row in rows for row in found["gold"])
    assert {row["id"] for row in found["human"]} | {row["id"] for row in found["unlabelled"]} == {
        row["id"] for row in found["gold"]
    }
    assert all(sorted(row) == ["id", "text"] for row in found["unlabelled"])
    assert found == weak_labels.parts(rows, 0, 10, 30, {})
    assert found["human"] != weak_labels.parts(rows, 1, 10, 30, {})["human"]
    with pytest.raises(SystemExit, match="at most 50"):
        weak_labels.parts(rows, 0, 21, 30, {})
    mentions = [{"id": "1", "text": "rash", "words": [[0, 4]], "entities": [{}]}]
    (blank,) = weak_labels.parts(mentions, 0, 0, 1, {"entities": []})["unlabelled"]
    assert blank == {"id": "1", "text": "rash", "words": [[0, 4]], "entities": []}


def test_gains_are_paired_by_seed() -> None:
    scores = {"human": (0.5, 0.7), "hard": (0.6, 0.7), "soft": (0.6, 0.8), "both": (0.7, 0.8), "gold": (0.9, 0.9)}
    seeds = [
        {
            "task": "association",
            "human": 20,
            "unlabelled": 100,
            "encoder": "e",
            "precision": "32-true",
            "agreement": {"accuracy": 0.8, "kappa": 0.6},
            "test": {arm: {"f1": values[seed], "accuracy": 0.5} for arm, values in scores.items()},
        }
        for seed in (0, 1)
    ]
    page = weak_labels.page({"command": "c", "machine": MACHINE, "seeds": seeds})
    rows = {line.split("`")[1]: line.split(" | ")[1:] for line in page.splitlines() if line.startswith("| `")}
    assert [rows[arm][0] for arm in weak_labels.ARMS] == ["20", "100", "100", "120", "120"]
    assert rows["both"][1] == "0.750 ± 0.071"
    assert rows["both"][3] == "+0.150 ± 0.071 |"


MACHINE = {"date": "d", "machine.processor": "p", "machine.cpus": "2", "machine.threads": "1", "machine.memory": "m"}


@pytest.mark.parametrize("task", weak_labels.TASKS)
def test_the_rows_of_a_task_fit_its_head(
    task: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MTL_DATA", str(data_folder))
    lines = weak_labels.TASKS[task].rows("dev")[:200]
    weak_labels.write(tmp_path / "dev.jsonl", lines)
    spec = weak_labels.TASKS[task].spec
    head = components.find("head", spec["head"], "head")(spec["labels"], 8, **spec.get("options", {}))
    rows = list(Jsonl(str(tmp_path)).read("dev"))
    assert [head.check(row) for row in rows] == [None] * 200
    assert {label for row in rows for label in head.label_counts(row)} == set(spec["labels"])


@pytest.mark.slow
def test_a_teacher_labels_rows_and_students_learn_from_them(
    tmp_path: Path, data_folder: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_DATA", str(data_folder))
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    words = ["--task", "disease", "--seeds", "1", "--human", "40", "--unlabelled", "30", "--updates", "4", "--encoder"]
    words += [str(tiny_encoder("bert")), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    weak_labels.main(words)
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "weak_labels.jsonl").read_text().splitlines()]
    assert sorted(line["test"]) == sorted(weak_labels.ARMS)
    assert all(0 <= score <= 1 for scores in line["test"].values() for score in scores.values())
    (folder,) = (tmp_path / "work").iterdir()
    weak = [json.loads(text) for text in (folder / "weak.jsonl").read_text().splitlines()]
    asked = [json.loads(text)["id"] for text in (folder / "unlabelled.jsonl").read_text().splitlines()]
    assert [row["id"] for row in weak] == asked
    assert len((folder / "both.jsonl").read_text().splitlines()) == 70
    monkeypatch.setattr(weak_labels, "compare", lambda *_, **__: pytest.fail("it was trained again"))
    weak_labels.main(words)
