"""The design `cross`: single-task runs, tested on the corpora of each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.problems import InputError
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study
from mtl.study.report.conclusions import partners
from mtl.study.report.outcome import outcome, write_report
from mtl.study.report.page import gains_text
from mtl.study.report.score_matrix import score_matrix
from mtl.study.running.estimate import estimate
from mtl.study.running.ledger import Ledger
from mtl.study.running.session import Session
from mtl.study.statistics.findings import Findings

pytestmark = pytest.mark.usefixtures("trained_once")


@pytest.fixture
def twins(toy_study: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a study of `cause` and `twin`, which has the same test set and other training rows."""

    def write(**fields: Any) -> Path:
        path = toy_study(**{"tasks": ["cause", "twin"], "designs": ["cross"], "controls": [], **fields})
        (tmp_path / "twin").mkdir(exist_ok=True)
        for split in ("train", "dev", "test"):
            lines = (tmp_path / "cause" / f"{split}.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            if split != "test":
                rows = [{**row, "id": f"t{row['id']}", "text": row["text"][::-1]} for row in rows]
            (tmp_path / "twin" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = tmp_path / "toy.yaml"
        mixture = yaml.safe_load(file.read_text())
        mixture["tasks"]["twin"] = {**mixture["tasks"]["cause"], "max_length": 32}
        mixture["tasks"]["twin"]["data"] = {"reader": "jsonl", "path": str(tmp_path / "twin")}
        file.write_text(yaml.safe_dump(mixture, sort_keys=False))
        return path

    return write


def plan_of(path: Path, *overrides: str) -> StudyPlan:
    return make_plan(load_study(path, overrides))


def finished(path: Path, *overrides: str) -> Session:
    made = Session(load_study(path, overrides), Path("runs"))
    made.run(f"session {len(list(Path('runs').rglob('result.json')))}")
    made.tracker.close()
    return made


def trained_at(plan: StudyPlan) -> dict[str, int]:
    ledger = Ledger(Path("runs/ledger"))
    files = {o.name: ledger.run_folder(o.key) / "result.json" for o in plan.run_specs}
    return {name: file.stat().st_mtime_ns for name, file in files.items() if file.exists()}


def test_a_cell_is_the_test_of_one_model_against_that_of_the_targets_own_with_the_same_seed(
    twins: Callable[..., Path], tmp_path: Path
) -> None:
    made = finished(twins())
    _same_scores_whichever_corpus_names_the_test_set(made)
    assert not list(Path("runs").rglob("encoder.pt")), "weights are kept only while a test needs them"
    findings = made.findings()
    _paired_by_seed(findings)
    write_report(findings, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "trained on →" in page
    assert "when trained on twin instead" in page
    columns = outcome(findings).tables["cross_scores.json"]
    pairs = list(zip(columns["train"], columns["test"], strict=True))
    assert pairs == [("cause", "cause"), ("twin", "cause"), ("cause", "twin"), ("twin", "twin")]
    assert len(gains_text(findings)) == 4
    assert all(not (one.recommended or one.avoided or one.candidates) for one in partners(findings))


def _same_scores_whichever_corpus_names_the_test_set(made: Session) -> None:
    for seed in (0, 1):
        for trained, tested in (("cause", "twin"), ("twin", "cause")):
            alone = Run((trained,), seed)
            crossed = made.plan.spec_of(Run((tested,), seed, source=alone, evaluates=True))
            results = made.ledger.results([crossed.key, made.plan.spec_of(alone).key])
            there, own = results[crossed.key], results[made.plan.spec_of(alone).key]
            assert there.result["test"][tested] == own.result["test"][trained]
            assert there.counts[tested]["counts"].tolist() == own.counts[trained]["counts"].tolist()
            assert there.result["cost"]["tokens"] == there.result["cost"]["training_seconds"] == 0


def _paired_by_seed(findings: Findings) -> None:
    (family,) = findings.families
    assert (family.design, family.is_control, findings.missing) == ("cross", False, ())
    scores = {name: findings.targets[name].single for name in ("cause", "twin")}
    for gain in family.gains:
        # The test sets are the same, so the model of the other corpus has its own score there.
        assert gain.treated == scores[gain.partner]
        assert gain.reference == scores[gain.target]
        assert gain.documents is not None
        assert gain.beyond is None
        assert gain.learning == findings.targets[gain.partner].learning, "that of the run that was tested"
    matrix = score_matrix(findings, family)
    means = [[one and one.mean for one in row] for row in matrix]
    assert means == [pytest.approx([sum(scores[name]) / 2 for name in ("cause", "twin")])] * 2


def test_a_cell_adds_only_a_test_to_the_runs_of_other_designs(twins: Callable[..., Path]) -> None:
    path = twins(seeds=2)
    without, both = plan_of(path, "designs=[pairwise]"), plan_of(path, "designs=[pairwise, cross]")
    keys = [{spec.name: spec.key for spec in plan.run_specs} for plan in (without, both)]
    assert keys[0].items() < keys[1].items(), "no key of another run changes"
    added = [spec for spec in both.run_specs if spec.name not in keys[0]]
    assert sorted(spec.trains for spec in added) == 2 * ["cause tested on twin"] + 2 * ["twin tested on cause"]
    assert all(spec.evaluates and spec.source in keys[0].values() for spec in added)


def test_only_the_test_rows_of_the_target_are_in_the_key_of_a_cell(twins: Callable[..., Path], tmp_path: Path) -> None:
    path = twins()

    def key() -> str:
        run = Run(("twin",), 0, source=Run(("cause",), 0), evaluates=True)
        return plan_of(path).spec_of(run).key

    before = key()
    for split, changes in (("train", False), ("test", True)):
        file = tmp_path / "twin" / f"{split}.jsonl"
        lines = file.read_text().splitlines()
        first = json.loads(lines[0])
        first["label"] = "yes" if first["label"] == "no" else "no"
        file.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
        assert (key() != before) == changes


def test_weights_that_are_gone_are_trained_again_and_the_first_result_counts(twins: Callable[..., Path]) -> None:
    path = twins()
    before = trained_at(finished(path, "designs=[single]").plan)
    planned = Session(load_study(path), Path("runs"))
    found = estimate(planned, probes=False)
    planned.tracker.close()
    assert found["designs"]["cross"] == 2
    assert found["trains"]["cause tested on twin"] == 2
    assert 0 < found["costs"]["cross"]["seconds"] < found["seconds"], "single-task runs are trained again"
    made = finished(path)
    now = trained_at(made.plan)
    assert len(now) == 2 * (2 + 2)
    assert {name: now[name] for name in before} == before
    repeats = [made.ledger.repeats(made.plan.spec_of(Run((task,), 0)).key) for task in ("cause", "twin")]
    assert [len(own) for own in repeats] == [1, 1]
    assert repeats[0][0]["differences"] == []
    again = finished(path)
    assert trained_at(again.plan) == now, "nothing is left to do"


def test_tasks_that_cannot_be_tested_on_each_other_are_an_error(toy_study: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as caught:
        load_study(toy_study(designs=["cross"]))
    assert [problem.key for problem in caught.value.problems] == ["designs.cross"]
