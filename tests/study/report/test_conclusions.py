"""Sentences about invented studies whose gains are planted."""

from __future__ import annotations

import dataclasses
import math

import pytest

from mtl.study.report.conclusions import (
    beaten,
    beats_baseline,
    changes,
    costs,
    design_summary,
    grouping_limits,
    grouping_statement,
    mean_and_sd,
    partners,
    summary,
)
from mtl.study.statistics.findings import Findings, Grouping
from mtl.study.statistics.significance import Interval, floor
from tests.study import simulated


def only(findings: Findings, **changes_of_gain: object) -> Findings:
    """The findings with the first gain of the first design changed in its cell."""
    family = findings.families[0]
    gain = family.gains[0]
    gain = dataclasses.replace(gain, cell=gain.cell._replace(**changes_of_gain))  # type: ignore[arg-type]
    family = dataclasses.replace(family, gains=(gain, *family.gains[1:]))
    return dataclasses.replace(findings, families=(family, *findings.families[1:]))


def test_each_claim_is_a_sentence_with_the_numbers_of_its_cell() -> None:
    findings = simulated.study()
    claims = design_summary(findings, findings.families[0]).claims
    assert [claim.verdict for claim in claims] == ["helps", "hurts"]
    cell = findings.families[0].gains[0].cell
    low, high = (f"{100 * end:+.2f}" for end in cell.interval)
    assert claims[0].text == (
        f"gad gains 3.00 points of f1 with hoc (95% interval {low} to {high}, adjusted p 0.008, 8 seeds)."
    )


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ("pairwise", "with hoc"),
        ("sequential", "after hoc"),
        ("leave_one_out", "when hoc joins all others"),
        ("refine_finetune", "fine-tuned from the joint encoder rather than from its own"),
    ],
)
def test_a_claim_says_in_which_company_the_design_puts_the_target(design: str, words: str) -> None:
    findings = simulated.study(designs=(design,))
    assert f"gad gains 3.00 points of f1 {words} (95%" in design_summary(findings, findings.families[0]).claims[0].text


def test_where_companies_are_no_pairs_the_sentence_speaks_of_none() -> None:
    findings = simulated.study(with_controls=False, missing=[])
    pairs = [(task, "all others") for task in findings.targets]
    joint = dataclasses.replace(findings, families=(simulated.family("joint", pairs, {}, 8),))
    assert summary(joint).headline == "No company could be claimed to help or hurt, among 3 gains that were asked for."
    assert summary(joint).designs[0].statement == "No company could be claimed to help or hurt (3 gains)."


def test_the_level_of_intervals_follows_alpha() -> None:
    findings = dataclasses.replace(simulated.study(), alpha=0.1)
    assert "(90% interval" in design_summary(findings, findings.families[0]).claims[0].text


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.3])
def test_the_number_of_seeds_that_is_asked_for_is_the_smallest_that_can_claim(alpha: float) -> None:
    findings = dataclasses.replace(simulated.study(num_seeds=2), alpha=alpha)
    limit = design_summary(findings, findings.families[0]).limits[0]
    needed = int(limit.split("At least ")[1].split()[0])
    assert floor(needed) <= alpha < floor(needed - 1)


def test_the_headline_counts_designs_together_and_leaves_controls_out() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"), missing=[])
    assert summary(findings).headline == (
        "Of 12 gains that were asked for, 2 may be claimed to help and 2 to hurt; of the other 8 nothing is claimed."
    )
    assert [design.design for design in summary(findings).designs] == ["pairwise", "sequential"]


def test_without_a_claim_the_headline_says_so_with_as_many_seeds_as_one_likes() -> None:
    findings = simulated.study(num_seeds=12, planted={}, missing=[])
    assert summary(findings).headline.startswith("No pair could be claimed to help or hurt, among 6 gains")
    assert all(not design.claims for design in summary(findings).designs)


def test_an_unfinished_study_does_not_read_like_a_result() -> None:
    findings = simulated.study(num_seeds=12, planted={}, missing=[])
    assert summary(findings).headline.startswith("No pair could be claimed")
    unfinished = dataclasses.replace(findings, missing=("pairwise: gad with hoc lacks the seeds 3",))
    assert summary(unfinished).headline.startswith(
        "The study is not finished, and this is what its runs say so far. No"
    )


def test_a_gain_that_is_the_same_for_every_seed_is_no_certainty() -> None:
    still = only(simulated.study(), sd=0.0)
    assert any("(gad with hoc)" in text for text in design_summary(still, still.families[0]).limits)
    assert not any(
        "the same for every seed" in text
        for text in design_summary(simulated.study(), simulated.study().families[0]).limits
    )


def test_groups_are_told_with_what_they_measured() -> None:
    groups = Grouping(2, (("gad", "hoc"), ("rqe",)), {"gad": 0.02, "hoc": 0.01, "rqe": 0.0}, 0.03, 100)
    told = grouping_statement(groups)
    assert "best: gad + hoc | rqe (sum of gains +3.00); `mtl study verify` trains them." in told
    verified = dataclasses.replace(groups, measured={"gad": 0.02, "hoc": 0.01, "rqe": 0.0})
    assert grouping_statement(verified).endswith("measured: +3.00.")


def test_a_grouping_says_how_far_its_sums_can_be_trusted() -> None:
    findings = simulated.study()
    pair = simulated.grouping(("gad", "hoc", "biosses"), is_measured=True)
    of_three = dataclasses.replace(pair, groups=(("gad", "hoc", "biosses"),))
    told, not_pairs = (" ".join(grouping_limits(findings, grouping)) for grouping in (pair, of_three))
    assert "above 0 also where no pair matters" in told
    assert "its own pair again" in told
    assert "its own pair again" not in not_pairs
    assert "its own pair again" not in " ".join(grouping_limits(findings, dataclasses.replace(pair, measured=None)))
    alike = {name: dataclasses.replace(facts, metric="f1") for name, facts in findings.targets.items()}
    other = {**alike, "gad": dataclasses.replace(alike["gad"], metric="accuracy")}
    for targets, is_mixed in ((alike, False), (other, True)):
        limits = grouping_limits(dataclasses.replace(findings, targets=targets), pair)
        assert any("different metrics" in limit for limit in limits) is is_mixed


def test_a_gain_on_the_edge_of_the_noise_floor_is_cautioned_and_one_above_is_not() -> None:
    findings = simulated.study()
    reach = max(abs(end) for end in findings.families[1].gains[0].cell.interval)
    inside, above = (only(findings, mean=mean) for mean in (reach, reach + 1e-6))
    assert any("noise floor" in text for text in design_summary(inside, inside.families[0]).claims[0].cautions)
    assert not any("noise floor" in text for text in design_summary(above, above.families[0]).claims[0].cautions)


def test_candidates_are_open_gains_above_zero_with_a_small_q() -> None:
    def candidates(**cell: object) -> int:
        changed = only(simulated.study(planted={}), **{"q": 0.1, "mean": 0.01, "verdict": "undecided", **cell})
        return len(partners(changed)[0].candidates)

    assert candidates() == candidates(verdict="unresolvable") == 1
    assert candidates(q=0.11) == candidates(mean=-0.01) == candidates(verdict="helps") == candidates(q=math.nan) == 0


def test_a_claim_with_a_caution_is_doubtful_and_not_recommended() -> None:
    findings = simulated.study(planted={("gad", "hoc"): 0.02})
    family = findings.families[0]
    gains = (dataclasses.replace(family.gains[0], documents=Interval(-0.01, 0.05)), *family.gains[1:])
    noisy = dataclasses.replace(findings, families=(dataclasses.replace(family, gains=gains), *findings.families[1:]))
    clear, doubtful = partners(findings)[0], partners(noisy)[0]
    assert [partner.gain.partner for partner in clear.recommended] == ["hoc"]
    assert not clear.doubtful
    assert not doubtful.recommended
    assert [partner.gain.partner for partner in doubtful.doubtful] == ["hoc"]
    assert "leave it open" in doubtful.doubtful[0].cautions[0]


def test_partners_come_with_the_largest_gain_first_from_all_designs() -> None:
    findings = simulated.study(planted={("gad", "hoc"): 0.02, ("gad", "biosses"): 0.04}, designs=("pairwise", "later"))
    found = [(gain.partner, design) for gain, design, _ in partners(findings)[0].recommended]
    assert [partner for partner, _ in found] == ["biosses", "biosses", "hoc", "hoc"]
    assert {design for _, design in found} == {"pairwise", "later"}


def test_a_study_says_that_its_grouping_was_not_checked_until_it_was() -> None:
    tasks = ("gad", "hoc", "biosses")
    for is_measured in (False, True):
        grouping = simulated.grouping(tasks, is_measured=is_measured)
        limits = summary(dataclasses.replace(simulated.study(tasks), grouping=grouping)).limits
        assert any("no run has checked" in limit for limit in limits) is not is_measured


def test_means_leave_missing_seeds_out_and_a_tie_with_the_baseline_does_not_beat_it() -> None:
    assert mean_and_sd((0.5, math.nan, 0.7)) == pytest.approx((2, 0.6, 0.1 * math.sqrt(2)))
    assert math.isnan(mean_and_sd((math.nan,))[1])
    findings = simulated.study()
    facts = findings.targets["gad"]
    tie = dataclasses.replace(facts, single=(0.5, 0.5))
    nothing = dataclasses.replace(facts, single=(math.nan,))
    assert [beats_baseline(given) for given in (facts, tie, nothing)] == [True, False, None]
    for given, expected in ((facts, "yes"), (tie, "open"), (nothing, "–")):
        assert beaten(dataclasses.replace(findings, targets={"x": given}), "x") == expected
    for baseline in (None, ("majority", math.nan)):
        assert beats_baseline(dataclasses.replace(facts, baseline=baseline)) is None


def test_delta_m_of_a_company_without_a_run_is_unknown() -> None:
    findings = simulated.study()
    family = dataclasses.replace(findings.families[0], relative_change={"a": (math.nan,), "b": (0.02, 0.04)})
    unknown, known = changes(dataclasses.replace(findings, families=(family,)))
    assert (unknown.n, math.isnan(unknown.mean), math.isnan(unknown.interval.low)) == (0, True, True)
    assert (known.company, known.n, known.mean) == ("b", 2, pytest.approx(0.03))


def test_costs_of_designs_add_up_to_all() -> None:
    findings = simulated.study()
    other = tuple(dataclasses.replace(cost, design="sequential") for cost in findings.costs[:5])
    found = costs(dataclasses.replace(findings, costs=findings.costs + other))
    assert [(design, runs) for design, _, runs in found.by_design] == [("pairwise", 24), ("sequential", 5)]
    assert sum(cost.seconds for _, cost, _ in found.by_design) == found.total.seconds == 2900
    assert (found.total.examples, found.num_runs, found.num_reused) == (29 * 7680, 29, 4)
