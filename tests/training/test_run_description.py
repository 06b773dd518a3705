"""What the description of a run in MLflow says of its training."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.evaluation.summary import ResultLine
from mtl.tracking.mlflow_run import TAG_LENGTH
from mtl.training.run_description import run_description, training_cautions

INFO = {"guard": {"not_finite": 2, "spike": 31}, "risen_losses": {"sts": 9123.4}}
METRICS = {"train": {"gad": {"loss": 0.5, "undertrained": True}, "rqe": {"undertrained": False}, "sts": {"loss": 9.0}}}


@pytest.mark.parametrize(
    ("left", "named", "others"),
    [
        ({"info": {"guard": INFO["guard"]}}, ["2 not finite", "31 spike"], ["sts", "gad"]),
        ({"info": {"risen_losses": INFO["risen_losses"]}}, ["sts 9.12e+03", "model.learning_rate"], ["gad", "spike"]),
        ({"metrics": METRICS}, ["gad", "trainer.max_epochs"], ["rqe", "sts"]),
    ],
)
def test_a_caution_names_what_the_training_left(left: dict[str, object], named: list[str], others: list[str]) -> None:
    (caution,) = training_cautions(**{"info": {}, "metrics": {}, **left})  # type: ignore[arg-type]
    assert all(name in caution for name in named)
    assert not any(name in caution for name in others)


def test_all_cautions_are_given_and_none_without_a_reason() -> None:
    assert len(training_cautions(INFO, METRICS)) == 3
    assert training_cautions({"guard": {}, "risen_losses": {}}, {"train": {"gad": {"undertrained": False}}}) == []


def test_the_table_marks_undertrained_tasks() -> None:
    lines = [ResultLine("gad", "f1", dev=0.5, is_undertrained=True), ResultLine("rqe", "f1", dev=0.25)]
    cells = [line.split(" | ") for line in run_description(lines, Path("runs/x"), "dev", ["beware"]).splitlines()]
    assert [line[:3] for line in cells[2:4]] == [["| gad *", "f1", "0.5000"], ["| rqe", "f1", "0.2500"]]
    assert ["**Caution:** beware"] in cells
    named = run_description(lines, Path("runs/x"), "dev", best="checkpoints/best-step48.ckpt")
    assert "`checkpoints/best-step48.ckpt`" in named


def test_cautions_of_hundreds_of_tasks_fit_into_a_tag_of_mlflow() -> None:
    lines = [ResultLine(f"a_rather_long_name_{n}", "micro_f1", dev=0.5, test=0.25) for n in range(300)]
    found = run_description(lines, Path("runs/x"), "dev", ["beware"])
    assert len(found) < TAG_LENGTH
    assert "**Caution:** beware" in found
    assert "250 more tasks" in found
