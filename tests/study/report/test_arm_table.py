"""The table of the arms next to published scores, and the agreement of both orders, checked against scipy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from mtl.study.report.arm_table import arm_lines, order_agreements
from mtl.study.report.conclusions import partners, summary
from mtl.study.report.outcome import outcome
from mtl.study.statistics.findings import ArmScores, Findings
from tests.study import simulated

MEANS = {"typed": 0.80, "mean": 0.70, "original": 0.30, "markers": 0.85, "start": 0.75}
PUBLISHED = {"typed": 82.36, "mean": 82.08, "original": 37.0, "markers": 82.22}


def findings(means: dict[str, float] = MEANS, published: dict[str, float] = PUBLISHED) -> Findings:
    arms = tuple(
        ArmScores(
            "gad", arm, (mean - 0.01, mean, mean + 0.01), published.get(arm), "A 2020" if arm in published else ""
        )
        for arm, mean in means.items()
    )
    first, *others = means
    pairs = [("gad", arm) for arm in others]
    family = simulated.family("arms", pairs, {pair: means[pair[1]] - means[first] for pair in pairs}, 8)
    return dataclasses.replace(simulated.study(), families=(family,), arms=arms)


def test_the_table_has_scores_ranks_and_differences_from_the_first_arm() -> None:
    lines = {line.arm: line for line in arm_lines(findings())}
    assert list(lines) == list(MEANS)
    assert [line.rank for line in lines.values()] == [2, 4, 5, 1, 3]
    assert [line.published_rank for line in lines.values()] == [1, 3, 4, 2, None]
    assert (lines["mean"].n, lines["mean"].mean, lines["mean"].sd) == pytest.approx((3, 0.7, 0.01))
    assert lines["typed"].gain is None
    assert lines["original"].gain is not None
    assert lines["original"].gain.cell.mean == pytest.approx(-0.5)
    assert (lines["start"].published, lines["start"].source) == (None, "")


def test_the_agreement_of_the_orders_is_that_of_scipy_over_the_arms_with_both_scores() -> None:
    (found,) = order_agreements(findings())
    assert (found.num_arms, found.num_pairs, found.num_agreeing) == (4, 6, 5)  # only typed and markers differ in order
    both = [(MEANS[arm], PUBLISHED[arm]) for arm in PUBLISHED]
    assert found.tau == pytest.approx(stats.kendalltau(*zip(*both, strict=True)).statistic)
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert list(order_agreements(findings(published={"typed": 80.0}))) == []


def test_the_orders_of_random_scores_agree_by_hand_and_by_scipy() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        ours, theirs = (dict(zip(MEANS, rng.permutation(5) / 10, strict=True)) for _ in range(2))
        (found,) = order_agreements(findings(ours, theirs))
        assert found.tau == pytest.approx(2 * found.num_agreeing / found.num_pairs - 1)


def test_an_arm_without_runs_has_no_rank_and_equal_scores_share_one() -> None:
    lines = arm_lines(findings({"typed": 0.5, "mean": math.nan, "original": 0.5, "markers": 0.4}))
    assert [line.rank for line in lines] == [1, None, 1, 3]


def test_mlflow_gets_the_table_and_the_agreement() -> None:
    found = outcome(findings())
    assert found.tables["arms.json"]["published"] == [82.36, 82.08, 37.0, 82.22, None]
    assert found.tables["arms.json"]["rank"] == [2, 4, 5, 1, 3]
    assert "5 of 6 pairs" in found.note
    assert "arms.json" not in outcome(simulated.study()).tables


def test_arms_are_no_partners_and_need_no_comparison_with_further_training() -> None:
    assert partners(findings()) == []
    (design,) = summary(findings({"typed": 0.5, "markers": 0.9})).designs
    assert [gain.verdict for gain in design.significant] == ["helps"]
    assert not [limit for limit in design.limits if "further training" in limit]
