"""What may be said of a study, in plain sentences made from its verdicts."""

from __future__ import annotations

import itertools
import math
import statistics as numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mtl.study.report.presentation import MARKS, company, holds, level, noise_floor, p_value, points, score, span, state
from mtl.study.statistics.findings import Cost, Family, Findings, Gain, Grouping, TargetFacts
from mtl.study.statistics.significance import Interval, floor, interval

SCREENING_Q = 0.1
"""An unclaimed gain above 0 with at most this q is a candidate for a further study.

Of all gains with such a q, claimed ones included, about one in ten is by chance; of what isn't claimed it may be more.
"""

CONTROLS: Mapping[str, str] = {
    "replicate": "The same single-task runs with other seeds. What they differ by is the noise floor: a gain no further"
    " from 0 than these intervals reach is not worth discussing.",
    "self_partner": "Each task trained beside its own copy: the same rows in another order, and a second head. What it"
    " gains comes from more training of the shared encoder, and not from another task.",
    "continued": "Each task trained alone, and then alone once more. What it gains comes from having its own updates"
    " twice, as both sides of refine_finetune have them, and not from other tasks.",
    "shuffled_partner": "The partner's labels are permuted. What is left of a gain comes from the partner's texts, or"
    " from noise as a regulariser, and not from what its labels teach.",
}


class Claim(NamedTuple):
    """A gain that may be claimed.

    Args:
        verdict: helps or hurts.
        mark: Of the verdict.
        text: The sentence.
        cautions: Sentences that belong to it.
    """

    verdict: str
    mark: str
    text: str
    cautions: tuple[str, ...]


class DesignSummary(NamedTuple):
    """What one design supports.

    Args:
        design: Its name.
        statement: What was and wasn't claimed, in a sentence.
        claims: One by one; helps before hurts, the largest first.
        limits: What may not be claimed, in sentences.
    """

    design: str
    statement: str
    claims: tuple[Claim, ...]
    limits: tuple[str, ...]


class Summary(NamedTuple):
    """A study in short."""

    headline: str
    designs: tuple[DesignSummary, ...]
    limits: tuple[str, ...]


class Partner(NamedTuple):
    """A gain as a reason to take a partner or not, with its design and what its claim needs to be read with."""

    gain: Gain
    design: str
    cautions: tuple[str, ...]


class Partners(NamedTuple):
    """What the evidence says about the company of a target.

    Args:
        target: A task.
        recommended: Gains that are claimed to help, without a caution.
        doubtful: Gains that are claimed to help, with a caution.
        avoided: Gains that are claimed to hurt.
        candidates: For a further study; nothing is claimed of them.
    """

    target: str
    recommended: tuple[Partner, ...]
    doubtful: tuple[Partner, ...]
    avoided: tuple[Partner, ...]
    candidates: tuple[Partner, ...]


class Change(NamedTuple):
    """The mean relative change over the targets of a company (Delta-m), over seeds."""

    design: str
    company: str
    n: int
    mean: float
    interval: Interval


class Costs(NamedTuple):
    """What runs took: of each design, and of all."""

    by_design: tuple[tuple[str, Cost, int], ...]
    total: Cost
    num_runs: int
    num_reused: int


def summary(findings: Findings) -> Summary:
    """What may be claimed, and what may not."""
    designs = [family for family in findings.families if not family.is_control]
    states = [state(gain, family) for family in designs for gain in family.gains]
    helped, hurt = states.count("helps"), states.count("hurts")
    if not states:
        headline = "The study has no design whose gains could be claimed."
    elif not helped + hurt:
        noun = "pair" if all(_is_of_pairs(findings, family) for family in designs) else "company"
        asked = _count(len(states), "gain")
        headline = f"No {noun} could be claimed to help or hurt, among {asked} that were asked for."
    else:
        headline = (
            f"Of {_count(len(states), 'gain')} that were asked for, {helped} may be claimed to help and {hurt} to"
            f" hurt; of the other {len(states) - helped - hurt} nothing is claimed."
        )
    if findings.missing:
        headline = f"The study is not finished, and this is what its runs say so far. {headline}"
    return Summary(headline, tuple(design_summary(findings, family) for family in designs), _limits(findings))


def design_summary(findings: Findings, family: Family) -> DesignSummary:
    """What one design supports."""
    claimed = [gain for gain in family.gains if state(gain, family) in ("helps", "hurts")]
    claimed.sort(key=lambda gain: -gain.cell.mean)
    helped = sum(state(gain, family) == "helps" for gain in claimed)
    if claimed:
        hurt = len(claimed) - helped
        statement = f"{helped} of {_count(len(family.gains), 'gain')} may be claimed to help, {hurt} to hurt."
    else:
        noun = "pair" if _is_of_pairs(findings, family) else "company"
        statement = f"No {noun} could be claimed to help or hurt ({_count(len(family.gains), 'gain')})."
    texts = tuple(_claim(findings, family, gain) for gain in claimed)
    return DesignSummary(family.design, statement, texts, tuple(_design_limits(findings, family)))


def partners(findings: Findings) -> list[Partners]:
    """The company of each target, over all designs; controls recommend nothing."""
    found = []
    for target in findings.targets:
        gains = [(g, f) for f in findings.families if not f.is_control for g in f.gains if g.target == target]
        gains.sort(key=lambda pair: -pair[0].cell.mean if pair[0].cell.n else math.inf)
        every = [(Partner(gain, family.design, tuple(_cautions(findings, gain))), family) for gain, family in gains]
        helping = [partner for partner, family in every if state(partner.gain, family) == "helps"]
        found.append(
            Partners(
                target,
                tuple(partner for partner in helping if not partner.cautions),
                tuple(partner for partner in helping if partner.cautions),
                tuple(partner for partner, family in every if state(partner.gain, family) == "hurts"),
                tuple(partner for partner, family in every if _is_candidate(partner.gain, family)),
            )
        )
    return found


def grouping_statement(grouping: Grouping) -> str:
    """The groups that pairs predict, and what they measured."""
    groups = " | ".join(" + ".join(group) for group in grouping.groups)
    told = f"Groups that the pairs predict to be best: {groups} (sum of gains {points(grouping.predicted_total)})"
    if grouping.measured is None:
        return f"{told}; `mtl study verify` trains them."
    return f"{told}; measured: {points(sum(grouping.measured.values()))}."


def grouping_limits(findings: Findings, grouping: Grouping) -> list[str]:
    """How far the sums of a grouping are to be trusted, in sentences."""
    found = ["It is the best of many partitions, by means with noise: its sum is above 0 also where no pair matters."]
    if len({facts.metric for facts in findings.targets.values()}) > 1:
        found.append("It adds gains of different metrics as if their points were worth the same.")
    if grouping.measured is not None and any(len(group) == 2 for group in grouping.groups):
        found.append("A group of two is its own pair again: what is measured there is what it was predicted from.")
    return found


def changes(findings: Findings) -> Iterator[Change]:
    """The Delta-m of every company that has one."""
    for family in findings.families:
        for tasks, values in family.relative_change.items():
            known = [value for value in values if not math.isnan(value)]
            mean = numbers.fmean(known) if known else math.nan
            yield Change(family.design, tasks, len(known), mean, interval(known, 1 - findings.alpha))


def costs(findings: Findings) -> Costs:
    """The sums over runs."""
    designs = dict.fromkeys(cost.design for cost in findings.costs)
    by_design = []
    for design in designs:
        runs = [cost for cost in findings.costs if cost.design == design]
        by_design.append((design, _sum(runs), len(runs)))
    reused = sum(cost.reused for cost in findings.costs)
    return Costs(tuple(by_design), _sum(findings.costs), len(findings.costs), reused)


def mean_and_sd(values: Sequence[float]) -> tuple[int, float, float]:
    """The number of known values, their mean and standard deviation; NaN where there are too few."""
    known = [value for value in values if not math.isnan(value)]
    sd = numbers.stdev(known) if len(known) > 1 else math.nan
    return len(known), numbers.fmean(known) if known else math.nan, sd


def beats_baseline(facts: TargetFacts) -> bool | None:
    """Whether the single-task runs are better than the trivial predictor on average; None where one is missing."""
    mean = mean_and_sd(facts.single)[1]
    if facts.baseline is None or math.isnan(mean) or math.isnan(facts.baseline[1]):
        return None
    return mean > facts.baseline[1]


def beaten(findings: Findings, target: str) -> str:
    """Whether single-task runs beat the trivial predictor: yes, no, or open where the interval over seeds holds it."""
    facts = findings.targets[target]
    beats = beats_baseline(facts)
    if facts.baseline is None or beats is None:
        return "–"
    differences = [score - facts.baseline[1] for score in facts.single if not math.isnan(score)]
    is_open = len(differences) < 2 or holds(interval(differences, 1 - findings.alpha))
    return "open" if is_open else "yes" if beats else "no"


def duration(seconds: float) -> str:
    """A time with the unit that suits it.

    >>> duration(5), duration(600), duration(9000)
    ('5 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- sentences --------------------------------------------------------------------------------------------------------


def _claim(findings: Findings, family: Family, gain: Gain) -> Claim:
    verdict, cell = state(gain, family), gain.cell
    verb, metric = "gains" if verdict == "helps" else "loses", findings.targets[gain.target].metric
    words = company(family, gain.partner)
    text = (
        f"{gain.target} {verb} {points(abs(cell.mean), signed=False)} points of {metric} {words}"
        f" ({level(findings)} interval {span(cell.interval)}, adjusted p {p_value(cell.adjusted_p)}, {cell.n} seeds)."
    )
    return Claim(verdict, MARKS[verdict], text, tuple(_cautions(findings, gain)))


def _cautions(findings: Findings, gain: Gain) -> Iterator[str]:
    noise = noise_floor(findings, gain.target)
    if holds(noise, gain.cell.mean):
        yield f"It lies inside the noise floor ({span(noise)}): a second set of seeds may differ by as much."
    if holds(gain.documents):
        unit = findings.targets[gain.target].unit
        yield f"It holds for this test set; other test {unit}s leave it open ({span(gain.documents)})."
    facts = findings.targets[gain.target]
    if facts.baseline and beats_baseline(facts) is False:
        yield f"By itself the task is not better than the trivial {facts.baseline[0]} ({score(facts.baseline[1], 3)})."


def _design_limits(findings: Findings, family: Family) -> Iterator[str]:
    num_seeds = len(findings.seeds)
    states = [state(gain, family) for gain in family.gains]
    complete = [found for gain, found in zip(family.gains, states, strict=True) if gain.cell.n == num_seeds]
    unresolvable, undecided = complete.count("unresolvable"), complete.count("undecided")
    if unresolvable:
        needed = next(n for n in itertools.count(1) if floor(n) <= findings.alpha)
        yield (
            f"{_count(unresolvable, 'gain')} can't be resolved: with {num_seeds} seeds the smallest p is"
            f" {p_value(family.floor)}, above {findings.alpha:g}. At least {needed} seeds are needed. That tells about"
            " the number of seeds, and nothing about the gains."
        )
    flat = [gain for gain in family.gains if gain.cell.n > 1 and gain.cell.sd == 0]
    if flat:
        which = ", ".join(f"{gain.target} {company(family, gain.partner)}" for gain in flat)
        yield (
            f"{_count(len(flat), 'gain')} {_are(len(flat))} the same for every seed ({which}), as where a task has"
            " learnt nothing yet: an interval without width is no certainty."
        )
    if undecided:
        yield (
            f"{_count(undecided, 'gain')} {_are(undecided)} undecided: neither an effect nor its absence is shown. The"
            " intervals tell how large each may be."
        )
    if incomplete := sum(0 < gain.cell.n < num_seeds for gain in family.gains):
        verb, it = ("lacks", "it stands") if incomplete == 1 else ("lack", "they stand")
        yield f"{_count(incomplete, 'gain')} {verb} a seed: {it} outside the matrix that claims are made from."
    if missing := states.count("missing"):
        yield f"{_count(missing, 'gain')} {_are(missing)} missing: no seed has the runs."


def _limits(findings: Findings) -> tuple[str, ...]:
    """What no study may claim, so far as this one shows it."""
    found = [
        "A claim is about this encoder, this budget and these data; the seeds stand for chance in training, and not for"
        " other hospitals or corpora."
    ]
    weak = [target for target, facts in findings.targets.items() if beats_baseline(facts) is False]
    if weak:
        found.append(
            f"By itself no better than a trivial predictor: {', '.join(weak)}. A gain of such a task says little."
        )
    if any(family.is_control for family in findings.families):
        found.append("Nothing is claimed from controls; they say what a gain may be due to.")
    if findings.grouping is not None and findings.grouping.measured is None:
        found.append("The grouping is a prediction from pairs that no run has checked.")
    return tuple(found)


def _is_of_pairs(findings: Findings, family: Family) -> bool:
    return all(gain.partner in findings.targets for gain in family.gains)


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
