"""What `mtl test` records of the groups of rows."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from heads import ClassReport, Row, TextRow
from heads.classification import Classification
from mtl import hashed_ids
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.intervals import ScoreInterval, score_intervals
from mtl.evaluation.subgroups import MOST_GROUPS, FieldScores, scores_by_group
from mtl.training.subgroup_report import group_cautions, group_columns, group_metrics, group_table
from tests import five_tasks
from tests.study.finished import client

HEAD = Classification(["yes", "no"], 8)


def fields(sites: str, *, min_rows: int = 2, field: str = "site") -> FieldScores:
    """Scores by site of rows that are all right in A, and all wrong elsewhere."""
    rows: list[Row] = [TextRow(f"{n}", f"{n}", "Fever.", label="yes", meta={"site": s}) for n, s in enumerate(sites)]
    predictions = {f"{n}": {"label": "yes" if s == "A" else "no", "scores": {}} for n, s in enumerate(sites)}
    return scores_by_group(HEAD, rows, predictions, field, min_rows=min_rows)


def test_the_columns_have_a_line_for_each_group_and_metric() -> None:
    columns = group_columns([fields("AAABBC")])
    assert set(map(len, columns.values())) == {2 * len(HEAD.metrics)}
    lines = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    (line,) = [one for one in lines if (one["group"], one["metric"]) == ("A", "accuracy")]
    assert (line["rows"], line["documents"], line["value"], line["high"]) == (3, 3, 1.0, 1.0)


def test_metrics_have_names_that_mlflow_takes() -> None:
    found = group_metrics("test/notes", [fields("AAé€é€", min_rows=1)._replace(field="a/b")])
    assert found == {
        "test/notes/by_a_b/A/accuracy": 1.0,
        "test/notes/by_a_b/é/accuracy": 0.0,
        "test/notes/by_a_b/_/accuracy": 0.0,
        "test/notes/by_a_b/gap/accuracy": 1.0,
    }


def test_hashed_ids_hide_the_names_of_groups_outside_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", bytes(32))
    groups = [fields("AAABBC")]
    names = {hashed_ids.shown_id("A"), hashed_ids.shown_id("B")}
    assert set(group_columns(groups)["group"]) == names
    assert {name.split("/")[3] for name in group_metrics("test/notes", groups)} == {*names, "gap"}


def test_the_table_has_groups_small_ones_and_the_gap() -> None:
    shown = Console(file=io.StringIO(), width=120)
    shown.print(group_table({"notes": [fields("AAABB[")]}))
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert text.count("site: ") == 4
    assert "site: [" in text, "a name is no markup"
    assert "A to B" not in text
    assert "B to A" in text


def test_fields_without_groups_are_named() -> None:
    many = scores_by_group(
        HEAD,
        [TextRow(f"{n}", f"{n}", "x", label="yes", meta={"id": f"{n}"}) for n in range(MOST_GROUPS + 1)],
        {f"{n}": {"label": "yes", "scores": {}} for n in range(MOST_GROUPS + 1)},
        "id",
        min_rows=1,
    )
    cautions = group_cautions(["site", "ward", "id"], {"notes": [fields("AA"), many]})
    assert len(cautions) == 2
    assert "'ward'" in cautions[0]
    assert f"{MOST_GROUPS + 1}" in cautions[1]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path], empty_store: Path) -> Path:
    """A run that was trained without groups, and tested with some."""
    folder = tmp_path_factory.mktemp("groups")
    shutil.copy(empty_store, folder / "mlflow.db")
    tasks = {
        name: {**five_tasks.TASKS[name], "data": {"reader": "jsonl", "path": str(folder / name)}}
        for name in ("kind", "mentions")
    }
    mixture = five_tasks.write(folder, tiny_encoder("bert"), tasks=tasks)
    for split in five_tasks.SIZES:
        path = folder / "kind" / f"{split}.jsonl"
        rows = five_tasks.read_lines(path)
        metas = [{"site": "AAB"[n % 3], "sex": "F", "patient": f"P{n // 4}"} for n in range(len(rows))]
        five_tasks.write_lines(path, [{**r, "meta": meta} for r, meta in zip(rows, metas, strict=True)])
    run = five_tasks.fit(folder, mixture, "--run.baselines=false", "--trainer.max_epochs=1")
    content = yaml.safe_load(mixture.read_text())
    content["evaluation"] = {"groups": ["site", "sex", "ward"], "min_group_rows": 3, "unit": "patient"}
    mixture.write_text(yaml.safe_dump(content))
    five_tasks.test(folder, "--run.baselines=false", "--run.predictions=false")
    return run


def intervals_by_patient(run: Path) -> dict[str, ScoreInterval]:
    """The intervals of the task `kind` over pairs of documents, from the counts of the run."""
    with np.load(run / "counts" / "test" / "kind.npz") as saved:
        documents, counts = saved["documents"].tolist(), [torch.from_numpy(one) for one in saved["counts"]]
    assert documents == [f"test-{number}" for number in range(4)]
    patients = {name: f"P{number // 2}" for number, name in enumerate(documents)}
    head = Classification(five_tasks.TASKS["kind"]["labels"], 8)
    return score_intervals(head, TaskResult({}, documents, counts, ClassReport({}, (), None), 7), units=patients)


def test_groups_are_recorded_in_the_folder_and_in_mlflow(tested: Path) -> None:
    metrics = json.loads((tested / "metrics.json").read_text())
    assert set(metrics["groups"]) == {"kind"}, "no row of the other task has such a key"
    found: dict[str, Any] = metrics["groups"]["kind"]
    assert set(found) == {"site", "sex"}
    assert {name: one["rows"] for name, one in found["site"]["groups"].items()} == {"A": 5}
    assert found["site"]["small"] == {"B": 2}
    whole = {name: value for name, value in metrics["test"]["kind"].items() if name != "loss"}
    assert found["sex"]["groups"]["F"]["scores"] == pytest.approx(whole), "all rows are in this group"
    assert found["sex"]["groups"]["F"]["intervals"] == metrics["interval"]["kind"]
    assert metrics["interval"]["kind"]["accuracy"] == intervals_by_patient(tested)["accuracy"]._asdict()
    run_id = json.loads((tested / "run.json").read_text())["mlflow"]["run_id"]
    tracked = client(tested.parents[2] / "mlflow.db").get_run(run_id).data.metrics
    assert tracked["test/kind/by_sex/F/accuracy"] == pytest.approx(whole["accuracy"])
    table = json.loads((tested / "artifacts" / "test" / "kind" / "groups.json").read_text())
    assert "F" in json.dumps(table)
    assert not list(tested.glob("predictions/**/*.jsonl")), "predictions were not to be kept"
