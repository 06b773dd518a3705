"""Studies with stages, with arms, and with absent data, from the file to the report in MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import run as run_mtl
from mtl.study.design.study_file import load_study
from mtl.study.report.arm_table import arm_lines
from mtl.study.report.stage_table import stage_lines
from mtl.study.running.read_back import read_study
from mtl.study.running.session import Session

pytestmark = pytest.mark.usefixtures("trained_once")


def finish(path: Path) -> Session:
    session = Session(load_study(path), Path("runs"))
    session.run("one session")
    session.tracker.close()
    return session


def scores(session: Session, trains: str, task: str) -> list[Any]:
    specs = [spec for spec in session.plan.run_specs if spec.trains == trains]
    results = [session.ledger.result(spec.key) for spec in specs]
    return [result["test"][task][result["primary"][task]] for result in results if result is not None]


@pytest.mark.slow
def test_the_table_of_the_stages_has_the_scores_of_their_runs_with_their_updates_and_rates(
    toy_study: Callable[..., Path],
) -> None:
    path = toy_study(
        tasks=["cause", "risk"],
        designs=[{"refine_finetune": {"heads": "fresh"}}, "refine"],
        budget={
            "updates": 4,
            "evaluations": 2,
            "tasks": {"risk": {"updates": 2}},
            "stages": {"refine": {"updates": 6}},
        },
        model={"learning_rate": 1e-3, "stages": {"finetune": {"learning_rate": 5e-4}}},
        averages={"both": ["cause", "risk"]},
    )
    session = finish(path)
    findings = session.findings()
    assert findings.missing == ()
    joint = "cause + risk (refine)"
    for found in findings.stages:
        task = found.target
        tuned = f"{task} (finetune)"
        for name, trains in {
            "single": task,
            "refined": joint,
            "refined_alone": f"{task} (refine)",
            "finetuned": f"{joint} then {tuned}",
            "finetuned_alone": f"{task} (refine) then {tuned}",
        }.items():
            assert list(getattr(found, name)) == pytest.approx(scores(session, trains, task), nan_ok=True), name
    updates = {
        spec.trains: session.ledger.result(spec.key)["curve"][-1]["updates"]  # type: ignore[index]
        for spec in session.plan.run_specs
    }
    assert updates[joint] == {"cause": 6, "risk": 6}
    assert (updates["risk"], updates[f"{joint} then risk (finetune)"]) == ({"risk": 2}, {"risk": 2})
    assert {family.design for family in findings.families} == {"refine_finetune", "refine"}
    assert read_study("toy_study").stages == findings.stages


def test_arms_are_trained_and_reported_from_mlflow_alone(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    published = "task,arm,variant,score,source\ncause,cls,accuracy,70,A\ncause,mean,accuracy,60,A\n"
    (tmp_path / "published.csv").write_text(published)
    arms = {"cls": {}, "mean": {"options": {"pooling": "mean"}}}
    session = finish(toy_study(tasks=["cause"], designs=[{"arms": arms}], published="published.csv"))
    findings = session.findings()
    assert findings.missing == ()
    assert [(one.arm, one.published, one.source) for one in findings.arms] == [("cls", 70, "A"), ("mean", 60, "A")]
    assert list(findings.arms[1].scores) == scores(session, "cause (mean)", "cause")
    assert list(findings.arms[0].scores) == scores(session, "cause", "cause")
    (gain,) = findings.families[0].gains
    assert gain.documents is not None
    assert read_study("toy_study").arms == findings.arms


@pytest.mark.slow
def test_a_study_without_the_data_of_a_task_runs_the_rest_and_is_named_incomplete(
    toy_study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_study(
        designs=["refine_finetune"],
        optional_tasks={"risk": "its owner"},
        averages={"all": ["cause", "drugs", "risk"]},
    )
    shutil.rmtree(tmp_path / "risk")
    assert run_mtl(["study", "run", str(path)]) == 0
    assert "Incomplete: the data of 1 of 3 tasks is absent (risk)" in capsys.readouterr().out
    findings = read_study("toy_study")
    assert findings.left_out == {"risk": "its owner"}
    assert stage_lines(findings)[-1].name.startswith("all: incomplete (2 of 3 tasks)")


def test_targets_are_fine_tuned_after_each_way_of_pretraining(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    arms = {
        "base": {},
        "later": {"curriculum": [{"from_step": 2, "tasks.mlm.options.rate": 0.9}]},
        "more": {"options": {"rate": 0.5}},
    }
    designs = [{"pretraining": {"task": "mlm", "arms": arms}}, "pretraining_arms"]
    path = toy_study(tasks=["mlm", "cause"], designs=designs)
    mixture = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    mixture["tasks"]["mlm"] = {"head": "masked_lm", "data": {"reader": "jsonl", "path": str(tmp_path / "cause")}}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(mixture))
    session = finish(path)
    findings = session.findings()
    assert findings.missing == ()
    assert {family.design: [gain.partner for gain in family.gains] for family in findings.families} == {
        "pretraining": ["base", "later", "more"],
        "pretraining_arms": ["later", "more"],
    }
    assert [one.arm for one in findings.arms] == ["base", "later", "more"]
    assert list(findings.arms[1].scores) == scores(session, "mlm (later) then cause", "cause")
    assert [line.gain is not None for line in arm_lines(findings)] == [False, True, True]
    assert read_study("toy_study").arms == findings.arms
    # The arms draw other masks, `later` from its third update on, which the losses show.
    losses = {
        spec.trains: [point["train_loss"]["mlm"] for point in session.ledger.result(spec.key)["curve"]]  # type: ignore[index]
        for spec in session.plan.run_specs
        if spec.tasks == ("mlm",) and spec.seed == 0
    }
    assert losses["mlm (later)"][0] == losses["mlm"][0] != losses["mlm (more)"][0]
    assert losses["mlm (later)"][1] != losses["mlm"][1]
