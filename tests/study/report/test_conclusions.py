"""The conclusions from simulated studies with planted gains."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from mtl.study.report.conclusions import (
    beats_trivial,
    changes,
    costs,
    design_summary,
    grouping_limits,
    grouping_statement,
    mean_and_sd,
    mean_beats_trivial,
    partners,
    summary,
)
from mtl.study.report.presentation import state
from mtl.study.statistics.findings import Findings, Grouping
from mtl.study.statistics.learning import Learning
from mtl.study.statistics.significance import Interval, floor
from tests.study import simulated


def only(findings: Findings, **changes_of_gain: object) -> Findings:
    """The findings with the first gain of the first design changed in its cell."""
    family = findings.families[0]
    gain = family.gains[0]
    gain = dataclasses.replace(gain, cell=gain.cell._replace(**changes_of_gain))  # type: ignore[arg-type]
    family = dataclasses.replace(family, gains=(gain, *family.gains[1:]))
    return dataclasses.replace(findings, families=(family, *findings.families[1:]))


def numbers(text: str) -> list[int]:
    """The whole numbers in a sentence, in order."""
    return [int(number) for number in re.findall(r"(?<![.\d])\d+(?![.\d])", text)]


def test_each_significant_gain_has_a_sentence_with_its_numbers() -> None:
    findings = simulated.study()
    significant = design_summary(findings, findings.families[0]).significant
    assert [gain.verdict for gain in significant] == ["helps", "hurts"]
    assert [gain.mark for gain in significant] == ["▲", "▼"]
    low, high = (f"{100 * end:+.2f}" for end in findings.families[0].gains[0].cell.interval)
    helping, hurting = (gain.text for gain in significant)
    for part in ("gad gains 3.00 ", " f1 ", " hoc ", "95%", f"{low} to {high}", "p = 0.008", "8 seeds"):
        assert part in helping
    for part in ("hoc loses 2.00 ", " pearson ", " biosses "):
        assert part in hurting


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ("pairwise", "with hoc"),
        ("sequential", "after hoc"),
        ("leave_one_out", "when hoc is added"),
        ("refine_finetune", "when fine-tuned"),
    ],
)
def test_the_sentence_of_a_gain_says_how_the_design_trains_the_target(design: str, words: str) -> None:
    findings = simulated.study(designs=(design,))
    assert f" f1 {words} " in design_summary(findings, findings.families[0]).significant[0].text


def test_the_statement_of_a_design_names_its_error_rate_and_the_number_of_tested_gains() -> None:
    findings = simulated.study(missing=[])
    for changed, num_tested in ((findings, 6), (only(findings, n=7, adjusted_p=math.nan), 5)):
        statement = design_summary(changed, changed.families[0]).statement
        assert "error rate 0.05" in statement
        assert numbers(statement)[-1] == num_tested


def test_the_level_of_intervals_follows_alpha() -> None:
    findings = dataclasses.replace(simulated.study(), alpha=0.1)
    assert "(90% interval" in design_summary(findings, findings.families[0]).significant[0].text


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.3])
def test_the_number_of_seeds_needed_is_the_smallest_that_makes_a_gain_resolvable(alpha: float) -> None:
    findings = dataclasses.replace(simulated.study(num_seeds=2), alpha=alpha)
    limit = design_summary(findings, findings.families[0]).limits[0]
    needed = int(limit.split("At least ")[1].split()[0])
    assert floor(needed) <= alpha < floor(needed - 1)


def test_the_headline_counts_all_designs_together_and_leaves_controls_out() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"), missing=[])
    assert numbers(summary(findings).headline) == [2, 12, 2, 8]  # positive, all, negative, unresolved
    unfinished = simulated.study(designs=("pairwise", "sequential"))
    assert numbers(summary(unfinished).headline) == [2, 12, 2, 6, 2]  # two gains are missing
    assert [design.design for design in summary(findings).designs] == ["pairwise", "sequential"]


def test_the_headline_says_that_no_gain_is_significant_however_many_seeds_there_are() -> None:
    findings = simulated.study(num_seeds=12, planted={}, missing=[])
    assert summary(findings).headline.startswith("No gain is significant")
    assert numbers(summary(findings).headline) == [6]
    assert all(not design.significant for design in summary(findings).designs)


def test_the_headline_of_an_unfinished_study_says_that_it_is_preliminary() -> None:
    findings = simulated.study(num_seeds=12, planted={}, missing=[])
    assert "preliminary" not in summary(findings).headline
    unfinished = dataclasses.replace(findings, missing=("pairwise: gad with hoc lacks seed 3",))
    assert "preliminary" in summary(unfinished).headline
    assert summary(unfinished).headline.endswith(summary(findings).headline)


def test_a_gain_that_is_identical_for_every_seed_is_reported_as_a_limitation() -> None:
    findings = simulated.study()
    flat = only(findings, sd=0.0)
    usual = design_summary(findings, findings.families[0]).limits
    added = [text for text in design_summary(flat, flat.families[0]).limits if text not in usual]
    assert len(added) == 1
    assert numbers(added[0])[0] == 1
    assert "(gad with hoc)" in added[0]


def test_the_statement_of_a_grouping_has_its_groups_and_both_sums() -> None:
    groups = Grouping(2, (("gad", "hoc"), ("rqe",)), {"gad": 0.02, "hoc": 0.01, "rqe": 0.0}, 0.03, 100)
    predicted = grouping_statement(groups)
    assert "gad + hoc | rqe" in predicted
    assert "+3.00" in predicted
    assert "`mtl study verify`" in predicted
    verified = grouping_statement(dataclasses.replace(groups, measured={"gad": 0.02, "hoc": 0.01, "rqe": -0.01}))
    assert "+3.00" in verified
    assert verified.endswith("measured: +2.00.")
    assert "`mtl study verify`" not in verified


def test_a_grouping_with_a_negative_sum_is_not_recommended() -> None:
    groups = Grouping(2, (("gad", "hoc"), ("rqe",)), {"gad": -0.02, "hoc": 0.01, "rqe": 0.0}, -0.01, 100)
    predicted = grouping_statement(groups)
    assert predicted.startswith("Sharing is predicted to lose")
    assert "−1.00" in predicted
    assert "2 encoders" in predicted
    assert "`mtl study verify`" not in predicted
    assert "Best groups" not in predicted
    measured = dataclasses.replace(groups, measured={"gad": -0.02, "hoc": 0.0, "rqe": 0.0})
    assert grouping_statement(measured).endswith("measured: −2.00.")


@pytest.mark.parametrize(
    ("further", "counts"),
    [(0.01, [1, 6, 0, 1]), (0.03, [6, 1, 1]), (0.05, [6, 1, 1])],
    ids=["helps", "as much", "less"],
)
def test_the_headline_counts_only_gains_beyond_further_training(further: float, counts: list[int]) -> None:
    findings = simulated.with_training(simulated.study(missing=[]), further)
    found = numbers(summary(findings).headline)
    assert [number for number in found if number != 4] == [number for number in counts if number]  # 4 are undecided


def test_the_states_of_gains_follow_the_comparison_with_further_training() -> None:
    for further, expected in ((0.01, "helps"), (0.03, "matched"), (0.05, "matched")):
        findings = simulated.with_training(simulated.study(), further)
        family = findings.families[0]
        assert state(family.gains[0], family) == expected
        (shown, _) = design_summary(findings, family).significant
        assert shown.verdict == expected
        assert any(text.startswith("No more than further training") for text in shown.caveats) is (expected != "helps")
        assert state(family.gains[3], family) == "hurts"  # further training excuses no loss


def test_a_study_without_the_control_says_that_its_gains_are_not_compared_with_further_training() -> None:
    bare, compared = simulated.study(), simulated.with_training(simulated.study(), 0.01)
    texts = [" ".join(design_summary(one, one.families[0]).limits) for one in (bare, compared)]
    assert ["`continued`" in text for text in texts] == [True, False]
    assert "more than further training" not in summary(bare).headline
    other = simulated.study(designs=("leave_one_out",))
    assert "reference of this design" in " ".join(design_summary(other, other.families[0]).limits)
    refined = simulated.study(designs=("refine_finetune",))
    assert "not compared" not in " ".join(design_summary(refined, refined.families[0]).limits)


def test_tasks_that_are_still_learning_and_gains_below_one_unit_are_limitations() -> None:
    findings = simulated.study()
    facts = findings.targets["gad"]
    slow = dataclasses.replace(facts, learning=Learning(8, num_settled=5), test_unit=0.02)
    changed = dataclasses.replace(findings, targets={**findings.targets, "gad": slow})
    usual = summary(findings).limits
    (added,) = [text for text in summary(changed).limits if text not in usual]
    assert ": gad." in added
    (below,) = [t for t in design_summary(changed, changed.families[0]).limits if "one unit" in t]
    assert numbers(below)[0] == 1


def test_a_study_that_could_not_look_for_collapsed_runs_says_so() -> None:
    findings = simulated.study()
    old = dataclasses.replace(findings.targets["hoc"], dev_baseline=None)
    changed = dataclasses.replace(findings, targets={**findings.targets, "hoc": old})
    (added,) = [text for text in summary(changed).limits if text not in summary(findings).limits]
    assert " hoc:" in added


def test_the_limitations_of_a_grouping_depend_on_its_groups_and_metrics() -> None:
    findings = simulated.study()
    pair = simulated.grouping(("gad", "hoc", "biosses"), is_measured=True)
    of_three = dataclasses.replace(pair, groups=(("gad", "hoc", "biosses"),))
    predicted = dataclasses.replace(pair, measured=None)
    always = grouping_limits(findings, predicted)
    assert "biased upwards" in always[0]
    assert grouping_limits(findings, of_three) == always
    (of_two,) = grouping_limits(findings, pair)[len(always) :]
    assert "independent check" in of_two
    same = {name: dataclasses.replace(facts, metric="f1") for name, facts in findings.targets.items()}
    other = {**same, "gad": dataclasses.replace(same["gad"], metric="accuracy")}
    for targets, is_mixed in ((same, False), (other, True)):
        limits = grouping_limits(dataclasses.replace(findings, targets=targets), pair)
        assert any("different metrics" in limit for limit in limits) is is_mixed


def test_a_gain_on_the_edge_of_the_noise_floor_has_a_caveat_and_one_above_has_none() -> None:
    findings = simulated.study()
    reach = max(abs(end) for end in findings.families[1].gains[0].cell.interval)
    inside, above = (only(findings, mean=mean) for mean in (reach, reach + 1e-6))
    assert any("noise floor" in text for text in design_summary(inside, inside.families[0]).significant[0].caveats)
    assert not any("noise floor" in text for text in design_summary(above, above.families[0]).significant[0].caveats)


def test_candidates_are_unresolved_gains_above_zero_with_a_small_q() -> None:
    def candidates(**cell: object) -> int:
        changed = only(simulated.study(planted={}), **{"q": 0.1, "mean": 0.01, "verdict": "undecided", **cell})
        return len(partners(changed)[0].candidates)

    assert candidates() == candidates(verdict="unresolvable") == 1
    assert candidates(q=0.11) == candidates(mean=-0.01) == candidates(verdict="helps") == candidates(q=math.nan) == 0


def test_a_partner_whose_gain_has_a_caveat_is_not_recommended() -> None:
    findings = simulated.study(planted={("gad", "hoc"): 0.02})
    family = findings.families[0]
    gains = (dataclasses.replace(family.gains[0], documents=Interval(-0.01, 0.05)), *family.gains[1:])
    noisy = dataclasses.replace(findings, families=(dataclasses.replace(family, gains=gains), *findings.families[1:]))
    clear, with_caveat = partners(findings)[0], partners(noisy)[0]
    assert [partner.gain.partner for partner in clear.recommended] == ["hoc"]
    assert not clear.with_caveats
    assert not with_caveat.recommended
    assert [partner.gain.partner for partner in with_caveat.with_caveats] == ["hoc"]
    assert "−1.00 to +5.00" in with_caveat.with_caveats[0].caveats[0]


def test_partners_of_all_designs_are_sorted_by_gain() -> None:
    findings = simulated.study(
        planted={("gad", "hoc"): 0.02, ("gad", "biosses"): 0.04}, designs=("pairwise", "sequential")
    )
    found = [(gain.partner, design) for gain, design, *_ in partners(findings)[0].recommended]
    assert [partner for partner, _ in found] == ["biosses", "biosses", "hoc", "hoc"]
    assert {design for _, design in found} == {"pairwise", "sequential"}


def test_a_study_says_that_its_grouping_is_not_verified_until_it_is_measured() -> None:
    tasks = ("gad", "hoc", "biosses")
    for is_measured in (False, True):
        grouping = simulated.grouping(tasks, is_measured=is_measured)
        limits = summary(dataclasses.replace(simulated.study(tasks), grouping=grouping)).limits
        assert any("not been verified" in limit for limit in limits) is not is_measured


def test_means_leave_missing_seeds_out_and_a_tie_does_not_beat_the_trivial_predictor() -> None:
    assert mean_and_sd((0.5, math.nan, 0.7)) == pytest.approx((2, 0.6, 0.1 * math.sqrt(2)))
    assert math.isnan(mean_and_sd((math.nan,))[1])
    findings = simulated.study()
    facts = findings.targets["gad"]
    tie = dataclasses.replace(facts, single=(0.5, 0.5))
    nothing = dataclasses.replace(facts, single=(math.nan,))
    assert [mean_beats_trivial(case) for case in (facts, tie, nothing)] == [True, False, None]
    for case, expected in ((facts, "yes"), (tie, "unresolved"), (nothing, "–")):
        assert beats_trivial(dataclasses.replace(findings, targets={"x": case}), "x") == expected
    for baseline in (None, ("majority", math.nan)):
        assert mean_beats_trivial(dataclasses.replace(facts, baseline=baseline)) is None


def test_delta_m_is_unknown_if_no_seed_has_a_value() -> None:
    findings = simulated.study()
    family = dataclasses.replace(findings.families[0], relative_change={"a": (math.nan,), "b": (0.02, 0.04)})
    unknown, known = changes(dataclasses.replace(findings, families=(family,)))
    assert (unknown.n, math.isnan(unknown.mean), math.isnan(unknown.interval.low)) == (0, True, True)
    assert (known.tasks, known.n, known.mean) == ("b", 2, pytest.approx(0.03))


def test_costs_of_designs_add_up_to_the_total() -> None:
    findings = simulated.study()
    other = tuple(dataclasses.replace(cost, design="sequential") for cost in findings.costs[:5])
    found = costs(dataclasses.replace(findings, costs=findings.costs + other))
    assert [(design, runs) for design, _, runs in found.by_design] == [("pairwise", 24), ("sequential", 5)]
    assert sum(cost.seconds for _, cost, _ in found.by_design) == found.total.seconds == 2900
    assert (found.total.examples, found.num_runs, found.num_reused) == (29 * 7680, 29, 4)
