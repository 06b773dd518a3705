"""What a study found, as plain values: all that its tables, pictures and pages show.

Shapes: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mtl.study.statistics.significance import Cell, Interval


@dataclass(frozen=True)
class TargetFacts:
    """What is known of a task by itself.

    Args:
        metric: Its primary metric, in whose unit all its gains are.
        unit: What is resampled: "document", or "row" where the source knows no documents.
        num_units: Of test.
        updates: Own updates of the task in every run.
        train_rows: Training rows after the study's cap.
        baseline: The strongest trivial predictor's name and its score on test.
        single: Test score of the single-task run of each seed, [S]; NaN where the run is missing.
    """

    metric: str
    unit: str
    num_units: int
    updates: int
    train_rows: int
    baseline: tuple[str, float] | None
    single: tuple[float, ...]


@dataclass(frozen=True)
class Gain:
    """One target in one company, over all seeds.

    Args:
        target: Whose score.
        partner: In whose company: a task, or several joined with " + ".
        cell: The statistics over seeds.
        documents: Interval of the mean gain over resampled seeds and documents; None where counts are missing.
        differences: By seed, [S]; NaN where a run is missing.
        reference: Test score of the reference run by seed, [S].
        treated: Test score of the run in company by seed, [S].
    """

    target: str
    partner: str
    cell: Cell
    documents: Interval | None
    differences: tuple[float, ...]
    reference: tuple[float, ...]
    treated: tuple[float, ...]


@dataclass(frozen=True)
class Family:
    """The gains of one design or control: what is claimed together, and never mixed with another's.

    Args:
        design: Its name, such as pairwise or self_partner.
        question: What its gains tell, in a sentence.
        is_control: Shown beside the matrix, nothing is claimed from it.
        gains: In the order of targets, then partners.
        floor: The smallest p that so many seeds can give.
        smallest_gains: By target, the gain that would be claimed in four of five studies; infinite where none could.
        relative_change: By seed, the mean relative change over the targets (Delta-m), for designs with one run for
            several targets, by the name of the company; empty elsewhere.
    """

    design: str
    question: str
    is_control: bool
    gains: tuple[Gain, ...]
    floor: float
    smallest_gains: Mapping[str, float] = field(default_factory=dict)
    relative_change: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """Dev score after each evaluation, mean over seeds.

    Args:
        target: Whose score.
        company: "single", or the partner.
        updates: The target's own updates at each evaluation.
        mean: Of the primary metric on dev.
        sd: Over seeds; 0 with one seed.
    """

    target: str
    company: str
    updates: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Args:
        run: Its name, such as "gad + hoc, seed 3".
        key: In the ledger.
        design: For which it was run first.
        seconds: From its start to its end.
        training_seconds: In training steps, batches included.
        evaluation_seconds: In evaluations on dev and test.
        examples: That were trained, with repetitions.
        tokens: Word pieces of these.
        reused: Whether it was there before this study.
    """

    run: str
    key: str
    design: str
    seconds: float
    training_seconds: float
    evaluation_seconds: float
    examples: int
    tokens: int
    reused: bool = False


@dataclass(frozen=True)
class TrainedOn:
    """Code and machine that some runs were trained on.

    Args:
        version: Of biomtl; empty where the runs don't tell.
        commit: Of its repository; empty where it was in none.
        is_changed: Whether tracked files weren't those of the commit.
        device: Such as cpu, or a GPU's name.
        threads: Of each run.
        num_runs: How many.
    """

    version: str
    commit: str
    is_changed: bool
    device: str
    threads: str
    num_runs: int


@dataclass(frozen=True)
class Grouping:
    """Which tasks to train together, predicted from the pairs and, once verified, measured.

    Args:
        max_encoders: How many encoders were allowed.
        groups: The tasks of each encoder.
        predicted: Gain by task, in its metric; a prediction from pairs.
        predicted_total: The sum.
        updates: Training updates of all groups of one seed together: the cost.
        measured: Gain by task as the groups gave it; None before `mtl study verify`.
        intervals: Of the measured gain by task.
    """

    max_encoders: int
    groups: tuple[tuple[str, ...], ...]
    predicted: Mapping[str, float]
    predicted_total: float
    updates: int
    measured: Mapping[str, float] | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """All of a study.

    Args:
        study: Its name.
        question: In a sentence.
        setup: Sentences: mixture, encoder, budget, selection, fairness, seeds, threads.
        seeds: S.
        alpha: Chance of any wrong claim in one family.
        targets: By task.
        families: Designs first, then controls.
        curves: Of single-task runs and of pairs.
        costs: Of every run that counts.
        outside_share: Share of the runs' time outside training and evaluation.
        repeat_seconds: Of finished runs that this study trained once more, for encoders that had been dropped.
        grouping: From the pairs; None without them.
        missing: Sentences: runs that failed or weren't run, and what lacks for them.
        deviations: Sentences: what a reader has to know before believing (changed mixture, leakage left out, ...).
        versions: Of packages and machine, where the study was described last.
        trained_on: On which code and machines its runs were trained.
    """

    study: str
    question: str
    setup: tuple[str, ...]
    seeds: tuple[int, ...]
    alpha: float
    targets: Mapping[str, TargetFacts]
    families: tuple[Family, ...]
    curves: tuple[Curve, ...] = ()
    costs: tuple[Cost, ...] = ()
    outside_share: float = 0.0
    repeat_seconds: float = 0.0
    grouping: Grouping | None = None
    missing: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    trained_on: tuple[TrainedOn, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, but for numbers that aren't finite."""
        return {name: _named(value) for name, value in asdict(self).items()}

    def family(self, design: str) -> Family | None:
        """The gains of a design or control; None where the study has none."""
        return next((family for family in self.families if family.design == design), None)


def _named(value: Any) -> Any:
    """The value with named tuples as mappings, since JSON would drop their names."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _named(value._asdict())
    if isinstance(value, Mapping):
        return {name: _named(inner) for name, inner in value.items()}
    return [_named(inner) for inner in value] if isinstance(value, list | tuple) else value
