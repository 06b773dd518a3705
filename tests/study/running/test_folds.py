"""Cross-validated studies: each run once for each fold, scored on all test folds together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl.problems import InputError
from mtl.study.design.description import described
from mtl.study.design.folds import FoldsSpec
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study
from mtl.study.report.outcome import outcome, write_report
from mtl.study.report.page import gains_text
from mtl.study.running.estimate import estimate
from mtl.study.running.read_back import read_study
from mtl.study.running.session import Session

pytestmark = pytest.mark.usefixtures("trained_once")

FOLDS = {"folds": 3}


@pytest.fixture
def write(toy_study: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a cross-validated study of `cause` and `drugs`, whose data has train only."""

    def make(**fields: object) -> Path:
        path = toy_study(**{"tasks": ["cause", "drugs"], "split": FOLDS, "frozen": False, **fields})
        for task in ("cause", "drugs", "risk", "bleed"):
            for split in ("dev", "test"):
                (tmp_path / task / f"{split}.jsonl").unlink()
        return path

    return make


def plan_of(path: Path) -> StudyPlan:
    return make_plan(load_study(path))


def test_every_run_of_a_comparison_is_trained_once_for_each_fold(write: Callable[..., Path]) -> None:
    plan = plan_of(write(continued=True))
    assert len(plan.run_specs) == 3 * 2 * (2 + 1 + 2)
    assert len({spec.key for spec in plan.run_specs}) == len(plan.run_specs)
    pair = Run(("cause", "drugs"), 1)
    assert [spec.trains for spec in plan.specs_of(pair)] == [
        f"cause + drugs (fold {number} of 3)" for number in (1, 2, 3)
    ]
    for number, spec in enumerate(plan.specs_of(pair)):
        assert {task["data"]["split"]["fold"] for task in spec.mixture["tasks"].values()} == {number}
    again = plan.specs_of(next(one.treated for one in plan.comparisons if one.design == "continued"))
    assert [spec.source for spec in again] == [spec.key for spec in plan.specs_of(Run(("cause",), 0))]
    assert {one.treated.data for one in plan.comparisons} == {""}
    assert any("3 folds" in sentence for sentence in described(plan))


def test_gains_are_those_of_the_predictions_on_all_test_folds_together(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    session = Session(load_study(write()), Path("runs"))
    session.run("one session")
    session.tracker.close()
    findings = session.findings()
    assert findings.missing == ()
    assert read_study("toy_study").folds == findings.folds
    documents = {row.document for splits in session.plan.data["cause"].values() for row in splits.rows}
    for run, found in ((Run(("cause",), 1), "reference"), (Run(("cause", "drugs"), 1), "treated")):
        counts = [session.ledger.counts(spec.key)["cause"] for spec in session.plan.specs_of(run)]
        tested = [document for fold in counts for document in fold["documents"].tolist()]
        assert sorted(tested) == sorted(documents)
        head = session.plan.heads["cause"]
        total = torch.from_numpy(np.concatenate([fold["counts"] for fold in counts]).sum(axis=0))
        (gain,) = [gain for gain in findings.families[0].gains if gain.target == "cause"]
        assert getattr(gain, found)[1] == pytest.approx(head.score(total)[head.primary_metric])
        assert gain.documents is not None
    facts = findings.targets["cause"]
    assert (facts.num_units, facts.test_unit) == (len(documents), pytest.approx(1 / len(documents)))
    means, metric = findings.folds[0], session.plan.heads["cause"].primary_metric
    results = [session.ledger.result(spec.key) for spec in session.plan.specs_of(Run(("cause",), 0))]
    by_fold = [result["test"]["cause"][metric] for result in results if result is not None]
    assert (means.target, means.pooled) == ("cause", facts.single)
    assert means.means[0] == pytest.approx(np.mean(by_fold))
    assert len(findings.costs) == len(session.plan.run_specs)
    assert outcome(findings).metrics["mean_of_folds/cause"] == pytest.approx(np.mean(means.means))
    write_report(findings, tmp_path / "report")
    assert 'id="folds"' in (tmp_path / "report" / "report.html").read_text()
    assert gains_text(findings)
    assert estimate(session, probes=False)["to_train"] == 0


def test_a_run_that_lacks_a_fold_has_no_score_and_the_reason_names_the_fold(write: Callable[..., Path]) -> None:
    session = Session(load_study(write(designs=["single"])), Path("runs"))
    session.run("one session")
    session.tracker.close()
    lacking = session.plan.specs_of(Run(("cause",), 0))[1]
    (session.ledger.run_folder(lacking.key) / "result.json").unlink()
    findings = session.findings()
    assert np.isnan(findings.targets["cause"].single).tolist() == [True, False]
    (sentence,) = findings.missing
    assert "fold 2 of 3" in sentence


def test_folds_keep_the_units_of_intervals_together_unless_told_otherwise(write: Callable[..., Path]) -> None:
    folds = FoldsSpec(folds=3)
    assert (folds.by, folds.keeping("patient").by) == ("document", "patient")
    assert FoldsSpec(folds=3, by="site").keeping("patient").by == "site"
    study = load_study(write())
    assert study.spec.split is not None
    assert study.spec.split.by == study.mixture.evaluation.unit == "document"


def test_designs_with_data_of_their_own_cannot_be_cross_validated(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as caught:
        load_study(write(designs=[{"sizes": {"rows": [8]}}], split={"folds": 2}))
    assert {problem.key for problem in caught.value.problems} == {"split.folds"}
    with pytest.raises(InputError) as caught:
        load_study(write(designs=[{"sizes": {"rows": [8]}}]))
    assert [problem.key for problem in caught.value.problems] == ["split"]


def test_data_that_already_has_splits_cannot_be_cross_validated(toy_study: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(toy_study(tasks=["cause"], designs=["single"], split=FOLDS))
    assert {problem.key for problem in caught.value.problems} == {"tasks.cause.data.split.folds"}
