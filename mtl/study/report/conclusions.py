"""Conclusions of a study in plain sentences, derived from its verdicts."""

from __future__ import annotations

import itertools
import math
import statistics as numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mtl.markdown import MISSING
from mtl.messages import counted
from mtl.study.design.designs import CONTINUED, DESIGNS
from mtl.study.report.presentation import (
    MARKS,
    State,
    exceeds_training,
    holds,
    is_compared,
    level,
    noise_floor,
    p_statement,
    p_value,
    partner_phrase,
    points,
    score,
    span,
    state,
)
from mtl.study.statistics.findings import Cost, Family, Findings, Gain, Grouping, TargetFacts
from mtl.study.statistics.significance import Interval, floor, interval, is_below

SCREENING_Q = 0.1
"""A positive gain that is not significant and has at most this q is a candidate for a further study.

Among all gains with such a q, significant ones included, about one in ten is expected to be due to chance; among the
gains that are not significant, the share may be higher.
"""

CONTROLS: Mapping[str, str] = {
    "replicate": "The single-task runs repeated with other seeds. The differences are seed noise: a gain that is closer"
    " to 0 than these intervals reach is not worth discussing.",
    "self_partner": "Each task co-trained with a copy of itself: the same rows in another order, with a second head."
    " Any gain comes from more training of the shared encoder, not from another task.",
    "continued": "Each task trained alone, and then alone once more. Any gain comes from doubling the updates on the"
    " target task, as both sides of refine_finetune do, not from other tasks.",
    "shuffled_partner": "The training labels of the partner are shuffled. Any remaining gain comes from the partner's"
    " texts, or from regularisation by noise, not from its labels.",
}


class SignificantGain(NamedTuple):
    """A significant gain, in words.

    Args:
        verdict: "helps", "matched" or "hurts".
        mark: Mark of the verdict.
        text: Sentence with the numbers of the gain.
        caveats: Sentences that must be read with it.
    """

    verdict: str
    mark: str
    text: str
    caveats: tuple[str, ...]


class DesignSummary(NamedTuple):
    """The conclusions from one design.

    Args:
        design: Name of the design.
        statement: Number of significant gains, in a sentence.
        significant: Significant gains: those that help, those that further training matches, those that hurt; each
            from the most positive to the most negative.
        limits: Sentences about gains from which nothing can be concluded.
    """

    design: str
    statement: str
    significant: tuple[SignificantGain, ...]
    limits: tuple[str, ...]


class Summary(NamedTuple):
    """The conclusions from a study.

    Args:
        headline: Number of significant gains over all designs, in a sentence.
        designs: Conclusions from each design.
        limits: Limitations of the study, in sentences.
    """

    headline: str
    designs: tuple[DesignSummary, ...]
    limits: tuple[str, ...]


class Partner(NamedTuple):
    """A gain as a reason to choose or avoid a partner.

    Args:
        gain: The gain from this partner.
        design: Design that measured it.
        caveats: Sentences that must be read with it.
        mark: Mark of the verdict.
    """

    gain: Gain
    design: str
    caveats: tuple[str, ...]
    mark: str


class Partners(NamedTuple):
    """The evidence on the partners of a target.

    Args:
        target: Name of the task.
        recommended: Significant positive gains without a caveat.
        with_caveats: Significant positive gains with a caveat, such as that further training brings as much.
        avoided: Significant negative gains.
        candidates: Partners for a further study; their gains are not significant.
    """

    target: str
    recommended: tuple[Partner, ...]
    with_caveats: tuple[Partner, ...]
    avoided: tuple[Partner, ...]
    candidates: tuple[Partner, ...]


class Change(NamedTuple):
    """The mean relative change over the targets of a run (Delta-m), over seeds.

    Args:
        design: Name of the design.
        tasks: Tasks of the run.
        n: Number of seeds with a value.
        mean: Mean over seeds, as a fraction.
        interval: Confidence interval of the mean.
    """

    design: str
    tasks: str
    n: int
    mean: float
    interval: Interval


class OrderAgreement(NamedTuple):
    """How well the order of the arms agrees with the published order.

    Args:
        target: The task.
        num_arms: Number of arms with both scores.
        num_pairs: Number of pairs of arms that differ in both.
        num_agreeing: Number of these pairs that both put in the same order.
        tau: Kendall's tau-b; NaN with fewer than two arms.
    """

    target: str
    num_arms: int
    num_pairs: int
    num_agreeing: int
    tau: float


class Costs(NamedTuple):
    """The cost of the runs.

    Args:
        by_design: Name, total cost and number of runs of each design.
        total: Cost of all runs.
        num_runs: Number of runs.
        num_reused: Number of runs reused from other studies.
    """

    by_design: tuple[tuple[str, Cost, int], ...]
    total: Cost
    num_runs: int
    num_reused: int


def summary(findings: Findings) -> Summary:
    """The conclusions from a study and their limitations."""
    designs = [family for family in findings.families if not family.is_control]
    pairs = [(gain, family) for family in designs for gain in family.gains]
    headline = f"{_counts(pairs)}{_rest(pairs)}." if pairs else "The study has no design with gains to test."
    if findings.collapsed:
        headline += f" {counted(len(findings.collapsed), 'run')} collapsed."
    if findings.missing:
        headline = f"Some runs are missing, so this result is preliminary. {headline}"
    if findings.left_out:
        num_tasks = len(findings.left_out) + len(findings.targets)
        which = ", ".join(findings.left_out)
        absent = f"the data of {len(findings.left_out)} of {num_tasks} tasks is absent ({which})"
        headline = f"Incomplete: {absent}. {headline}"
    return Summary(headline, tuple(design_summary(findings, family) for family in designs), _limits(findings))


def design_summary(findings: Findings, family: Family) -> DesignSummary:
    """The conclusions from one design."""
    order = {"helps": 0, "matched": 1, "hurts": 2}
    significant = [gain for gain in family.gains if state(gain, family) in order]
    significant.sort(key=lambda gain: (order[state(gain, family)], -gain.cell.mean))
    statement = f"{_counts([(gain, family) for gain in family.gains])} ({_procedure(findings, family)})."
    sentences = tuple(_significant_gain(findings, family, gain) for gain in significant)
    return DesignSummary(family.design, statement, sentences, tuple(_design_limits(findings, family)))


def partners(findings: Findings) -> list[Partners]:
    """The evidence on the partners of each target, over all designs with partners; controls are left out.

    Empty if no design has partners.
    """
    found = []
    designs = [f for f in findings.families if not f.is_control]
    with_partners = [family for family in designs if DESIGNS[family.design].has_partners]
    if designs and not with_partners:
        return []
    for target in findings.targets:
        gains = [(g, f) for f in with_partners for g in f.gains if g.target == target]
        gains.sort(key=lambda pair: -pair[0].cell.mean if pair[0].cell.n else math.inf)
        every = [
            (Partner(gain, family.design, tuple(_caveats(findings, gain)), MARKS[state(gain, family)]), family)
            for gain, family in gains
        ]
        helping = [partner for partner, family in every if state(partner.gain, family) in ("helps", "matched")]
        found.append(
            Partners(
                target,
                tuple(partner for partner in helping if not partner.caveats),
                tuple(partner for partner in helping if partner.caveats),
                tuple(partner for partner, family in every if state(partner.gain, family) == "hurts"),
                tuple(partner for partner, family in every if _is_candidate(partner.gain, family)),
            )
        )
    return found


def grouping_statement(grouping: Grouping) -> str:
    """The groups predicted from the pairs, with the measured sum of gains if they have been trained."""
    groups = " | ".join(" + ".join(group) for group in grouping.groups)
    total = points(grouping.predicted_total)
    if grouping.predicted_total < 0:
        encoders = counted(grouping.max_encoders, "encoder")
        prediction = (
            f"Sharing is predicted to lose: even the best groups with at most {encoders} ({groups}) have a sum of gains"
            f" of {total}, below that of separate single-task models, which is 0"
        )
    else:
        prediction = f"Best groups predicted from the pairs: {groups} (sum of gains {total})"
    if grouping.measured is not None:
        return f"{prediction}; measured: {points(sum(grouping.measured.values()))}."
    return f"{prediction}." if grouping.predicted_total < 0 else f"{prediction}; to train them, run `mtl study verify`."


def grouping_limits(findings: Findings, grouping: Grouping) -> list[str]:
    """Limitations of the predicted sum of gains, in sentences."""
    found = [
        "This is the best of many partitions of noisy means, so the predicted sum is biased upwards: it tends to be too"
        " high even if no pair matters."
    ]
    if len({facts.metric for facts in findings.targets.values()}) > 1:
        found.append("The sum treats points of different metrics as equally valuable.")
    if grouping.measured is not None and any(len(group) == 2 for group in grouping.groups):
        found.append(
            "A group of two is one of the pairs that the prediction is based on, so its measured gains are no"
            " independent check."
        )
    return found


def changes(findings: Findings) -> Iterator[Change]:
    """Delta-m of every run that serves several targets."""
    for family in findings.families:
        for tasks, values in family.relative_change.items():
            known = [value for value in values if not math.isnan(value)]
            mean = numbers.fmean(known) if known else math.nan
            yield Change(family.design, tasks, len(known), mean, interval(known, 1 - findings.alpha))


def agreement_statement(agreement: OrderAgreement) -> str:
    """How well the order of the arms agrees with the published order, in sentences."""
    return (
        f"{agreement.target}: {agreement.num_agreeing} of {agreement.num_pairs} pairs of arms are in the published"
        f" order (Kendall's tau {agreement.tau:.2f} over {agreement.num_arms} arms). The scores themselves can be"
        " compared only if encoder, data and budget are those of the publication."
    )


def costs(findings: Findings) -> Costs:
    """The cost of the runs, by design and in total."""
    designs = dict.fromkeys(cost.design for cost in findings.costs)
    by_design = []
    for design in designs:
        runs = [cost for cost in findings.costs if cost.design == design]
        by_design.append((design, _sum(runs), len(runs)))
    reused = sum(cost.reused for cost in findings.costs)
    return Costs(tuple(by_design), _sum(findings.costs), len(findings.costs), reused)


def mean_and_sd(values: Sequence[float]) -> tuple[int, float, float]:
    """The number of known values, their mean and their standard deviation; NaN if there are too few values."""
    known = [value for value in values if not math.isnan(value)]
    sd = numbers.stdev(known) if len(known) > 1 else math.nan
    return len(known), numbers.fmean(known) if known else math.nan, sd


def mean_beats_trivial(facts: TargetFacts) -> bool | None:
    """Whether the mean single-task score is above that of the trivial predictor; None if one of them is missing."""
    mean = mean_and_sd(facts.single)[1]
    if facts.baseline is None or math.isnan(mean) or math.isnan(facts.baseline[1]):
        return None
    return mean > facts.baseline[1]


def beats_trivial(findings: Findings, target: str) -> str:
    """Whether the single-task runs beat the trivial predictor: "yes", "no" or "unresolved".

    It is unresolved if the interval over seeds includes the score of the trivial predictor.
    """
    facts = findings.targets[target]
    beats = mean_beats_trivial(facts)
    if facts.baseline is None or beats is None:
        return MISSING
    differences = [score - facts.baseline[1] for score in facts.single if not math.isnan(score)]
    is_unresolved = len(differences) < 2 or holds(interval(differences, 1 - findings.alpha))
    return "unresolved" if is_unresolved else "yes" if beats else "no"


def single_scores(findings: Findings) -> Iterator[str]:
    """The single-task scores, one Markdown list item per task."""
    for target, facts in findings.targets.items():
        n, mean, sd = mean_and_sd(facts.single)
        trivial = f"; trivial predictor {facts.baseline[0]} {score(facts.baseline[1])}" if facts.baseline else ""
        yield f"- {target}: {facts.metric} {score(mean)} (SD {score(sd)}, {counted(n, 'seed')}){trivial}"


def duration(seconds: float) -> str:
    """A duration in a suitable unit.

    >>> duration(5), duration(600), duration(9000)
    ('5 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- sentences --------------------------------------------------------------------------------------------------------


def _counts(pairs: Sequence[tuple[Gain, Family]]) -> str:
    """The number of significant gains, as a clause; those that further training matches are counted separately."""
    states = [state(gain, family) for gain, family in pairs]
    positive, matched, negative = (states.count(one) for one in ("helps", "matched", "hurts"))
    if not positive + matched + negative:
        return "No gain is significant"
    gains = counted(len(states), "gain")
    clauses = [f"{negative} {_are(negative)} significant and negative"]
    if matched:
        clauses.insert(0, f"{matched} {_are(matched)} significant but no more than further training brings")
    if not positive and matched:
        return f"No gain is more than further training brings: of {gains}, {', and '.join(clauses)}"
    helping = [(gain, family) for gain, family in pairs if state(gain, family) == "helps"]
    is_more = helping and all(_exceeds_training(gain, family) for gain, family in helping)
    how = "significant, positive and more than further training brings" if is_more else "significant and positive"
    return ", ".join([f"{positive} of {gains} {_are(positive)} {how}", *clauses[:-1], f"and {clauses[-1]}"])


def _exceeds_training(gain: Gain, family: Family) -> bool:
    """Whether a significant gain exceeds that of further training; the reference of refine_finetune includes it."""
    return family.design == "refine_finetune" or exceeds_training(gain)


def _rest(pairs: Sequence[tuple[Gain, Family]]) -> str:
    """The number of the other gains, as the end of a sentence."""
    states = [state(gain, family) for gain, family in pairs]
    others: tuple[State, ...] = ("undecided", "unresolvable", "missing")
    parts = [f"{states.count(one)} {_are(states.count(one))} {one}" for one in others if one in states]
    return f"; {' and '.join(parts)}" if parts else ""


def _procedure(findings: Findings, family: Family) -> str:
    """The error rate and the test that the verdicts of a design are based on."""
    num_gains = len(family.gains)
    num_tested = sum(gain.cell.n == len(findings.seeds) for gain in family.gains)
    which = f"all {num_gains} gains" if num_tested == num_gains > 1 else f"{counted(num_tested, 'gain')}"
    return f"family-wise error rate {findings.alpha:g}, Westfall-Young step-down over {which}"


def _significant_gain(findings: Findings, family: Family, gain: Gain) -> SignificantGain:
    verdict, cell = state(gain, family), gain.cell
    verb, metric = "loses" if verdict == "hurts" else "gains", findings.targets[gain.target].metric
    text = (
        f"{gain.target} {verb} {points(abs(cell.mean), signed=False)} points of {metric}"
        f" {partner_phrase(family, gain.partner)} ({level(findings)} interval over {counted(cell.n, 'seed')}"
        f" {span(cell.interval)}, adjusted {p_statement(cell.adjusted_p)})."
    )
    if verdict == "helps" and gain.beyond is not None and is_compared(gain):
        text += f" This is {points(gain.beyond.mean, signed=False)} points more than further training brings"
        text += f" ({span(gain.beyond.interval)}, adjusted {p_statement(gain.beyond.adjusted_p)})."
    return SignificantGain(verdict, MARKS[verdict], text, tuple(_caveats(findings, gain)))


def _caveats(findings: Findings, gain: Gain) -> Iterator[str]:
    if gain.cell.verdict == "helps" and is_compared(gain) and not exceeds_training(gain):
        yield _no_more(findings, gain)
    if gain.collapsed:
        runs = counted(len(gain.collapsed), "run")
        yield f"Caution: {runs} collapsed ({'; '.join(gain.collapsed)}), which may explain the gain."
    noise = noise_floor(findings, gain.target)
    if holds(noise, gain.cell.mean):
        yield f"The gain is within the noise floor ({span(noise)}): a second set of seeds may differ by as much."
    if holds(gain.documents):
        unit = findings.targets[gain.target].unit
        yield (
            f"The gain may be specific to this test set: the interval over seeds and test {unit}s"
            f" ({span(gain.documents)}) includes 0."
        )
    facts = findings.targets[gain.target]
    if facts.baseline and mean_beats_trivial(facts) is False:
        name, value = facts.baseline
        yield f"The single-task runs do not beat the trivial predictor {name} ({score(value, 3)})."


def _no_more(findings: Findings, gain: Gain) -> str:
    """The sentence that compares a gain with that of further training alone."""
    assert gain.beyond is not None
    family = findings.family(CONTINUED)
    found = [one.cell.mean for one in family.gains if one.target == gain.target] if family else []
    alone = f"a second round alone gains {points(found[0])}, and the difference" if found else "the difference"
    return (
        f"No more than further training brings: {alone} is {points(gain.beyond.mean)}"
        f" ({span(gain.beyond.interval)}, adjusted {p_statement(gain.beyond.adjusted_p)})."
    )


def _design_limits(findings: Findings, family: Family) -> Iterator[str]:
    num_seeds = len(findings.seeds)
    states = [state(gain, family) for gain in family.gains]
    complete = [found for gain, found in zip(family.gains, states, strict=True) if gain.cell.n == num_seeds]
    unresolvable, undecided = complete.count("unresolvable"), complete.count("undecided")
    if unresolvable:
        needed = next(n for n in itertools.count(1) if floor(n) <= findings.alpha)
        yield (
            f"{counted(unresolvable, 'gain')} {_are(unresolvable)} unresolvable: with {counted(num_seeds, 'seed')}, the"
            f" smallest possible p is {p_value(family.floor)}, above {findings.alpha:g}. At least {needed} seeds are"
            " needed. This says nothing about the size of the gains."
        )
    flat = [gain for gain in family.gains if gain.cell.n > 1 and gain.cell.sd == 0]
    if flat:
        which = ", ".join(f"{gain.target} {partner_phrase(family, gain.partner)}" for gain in flat)
        yield (
            f"{counted(len(flat), 'gain')} {_are(len(flat))} identical for every seed ({which}), as happens if a task"
            " has not learned anything yet. An interval of width 0 does not mean certainty."
        )
    small = [g for g in family.gains if g.cell.n and is_below(g.cell.mean, findings.targets[g.target].test_unit)]
    if small:
        yield (
            f"{counted(len(small), 'gain')} {_are(len(small))} smaller than one unit of the test set (1 / its number of"
            " gold labels) and therefore not significant, however little they vary."
        )
    uncompared = [g for g in family.gains if state(g, family) == "helps" and not _exceeds_training(g, family)]
    if uncompared and DESIGNS[family.design].has_partners:
        few = "is" if len(uncompared) == 1 else "are"
        yield (
            f"{counted(len(uncompared), 'significant positive gain')} {few} not compared with further training of the"
            f" target alone, because {_why_uncompared(findings, family)}."
        )
    if undecided:
        yield (
            f"{counted(undecided, 'gain')} {_are(undecided)} undecided: neither an effect nor its absence is shown. The"
            " intervals show how large each effect may be."
        )
    if incomplete := sum(0 < gain.cell.n < num_seeds for gain in family.gains):
        verb = "lacks" if incomplete == 1 else "lack"
        yield (
            f"{counted(incomplete, 'gain')} {verb} at least one seed and {_are(incomplete)} excluded from the"
            " significance test."
        )
    if missing := states.count("missing"):
        yield f"{counted(missing, 'gain')} {_are(missing)} missing: no seed has both runs."


def _why_uncompared(findings: Findings, family: Family) -> str:
    if not DESIGNS[family.design].is_against_single:
        return "the reference of this design is not the single-task run"
    if findings.family(CONTINUED) is None:
        return f"the study has no control `{CONTINUED}`"
    return f"no run of the control `{CONTINUED}` is finished"


def _limits(findings: Findings) -> tuple[str, ...]:
    """The limitations of any study, and those that the findings show for this one."""
    found = [
        "The conclusions hold for this encoder, this training budget and these data. Seeds cover the randomness of"
        " training, not the variation between hospitals or corpora."
    ]
    weak = [target for target, facts in findings.targets.items() if mean_beats_trivial(facts) is False]
    if weak:
        found.append(
            f"These tasks do not beat a trivial predictor when trained alone: {', '.join(weak)}. Their gains say"
            " little."
        )
    unsettled = [name for name, facts in findings.targets.items() if facts.learning.is_settled is False]
    if unsettled:
        found.append(
            f"These tasks were not trained to near saturation: {', '.join(unsettled)}. Fewer than two of three of their"
            " single-task runs have their best evaluation before the last fifth of the run, so that a gain may only be"
            " faster learning."
        )
    unknown = [name for name, facts in findings.targets.items() if facts.baseline and facts.dev_baseline is None]
    if unknown:
        found.append(
            f"Collapsed runs were not looked for in {', '.join(unknown)}: no trivial predictor was scored on dev."
        )
    if any(family.is_control for family in findings.families):
        found.append("No conclusions are drawn from the controls; they show what else could explain a gain.")
    if findings.grouping is not None and findings.grouping.measured is None:
        found.append("The grouping is predicted from the pairs and has not been verified by training the groups.")
    return tuple(found)


def _is_candidate(gain: Gain, family: Family) -> bool:
    is_open = state(gain, family) in ("undecided", "unresolvable")
    return is_open and gain.cell.mean > 0 and gain.cell.q <= SCREENING_Q


def _sum(runs: Sequence[Cost]) -> Cost:
    return Cost(
        run="all",
        key="",
        design="",
        seconds=sum(run.seconds for run in runs),
        training_seconds=sum(run.training_seconds for run in runs),
        evaluation_seconds=sum(run.evaluation_seconds for run in runs),
        examples=sum(run.examples for run in runs),
        tokens=sum(run.tokens for run in runs),
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
