"""What a study found, as plain values: everything that its tables, figures and pages show.

Shapes: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mtl.study.statistics.learning import UNKNOWN, Learning
from mtl.study.statistics.significance import Cell, Interval


@dataclass(frozen=True)
class TargetFacts:
    """Facts about a task and its single-task results.

    Args:
        metric: Primary metric of the task; all its gains are differences of this metric.
        unit: Unit of resampling: "document", "row" if the source has no documents, or a key of `meta` like "patient".
        num_units: Number of these units in the test set.
        updates: Number of updates on the task in every run.
        train_rows: Number of training rows, after the study's limit.
        baseline: Name of the best trivial predictor and its score on test; None if there is none.
        single: Test score of the single-task run of each seed, [S]; NaN where the run is missing.
        dev_baseline: Name of the best trivial predictor and its score on dev; None if there is none or it is unknown.
        test_unit: One unit of the test set (`mtl.evaluation.units`); 0 if it is unknown.
        learning: How the single-task runs learned.
    """

    metric: str
    unit: str
    num_units: int
    updates: int
    train_rows: int
    baseline: tuple[str, float] | None
    single: tuple[float, ...]
    dev_baseline: tuple[str, float] | None = None
    test_unit: float = 0.0
    learning: Learning = UNKNOWN


@dataclass(frozen=True)
class Gain:
    """The gain of one target with one partner, over all seeds.

    Args:
        target: Task whose score is compared.
        partner: Task or tasks it is trained with, joined with " + ".
        cell: Statistics over seeds.
        documents: Interval of the mean gain over resampled seeds and units; None if counts are missing.
        differences: Difference by seed, [S]; NaN where a run is missing.
        reference: Test score of the reference run by seed, [S].
        treated: Test score of the run with the partner by seed, [S].
        beyond: Statistics over seeds of the same run minus a second round of the target alone (the control
            `continued`), tested for all gains of the design together; None if the design or study has no such
            comparison.
        learning: How the runs with the partner learned.
        collapsed: Names of the runs that collapsed, on either side of the difference.
    """

    target: str
    partner: str
    cell: Cell
    documents: Interval | None
    differences: tuple[float, ...]
    reference: tuple[float, ...]
    treated: tuple[float, ...]
    beyond: Cell | None = None
    learning: Learning = UNKNOWN
    collapsed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """The gains of one design or control, which are tested together and separately from all other families.

    Args:
        design: Name of the design or control, such as pairwise or self_partner.
        question: The question that its gains answer, in a sentence.
        is_control: Whether it is a control, from which no conclusions are drawn.
        gains: Gains in the order of targets, then partners.
        floor: Smallest p value that this number of seeds can give.
        smallest_gains: By target, the minimum detectable gain: the smallest that would be significant in four of five
            such studies (power 0.8); infinite if no gain could be.
        relative_change: Mean relative change over the targets (Delta-m) by seed, for designs in which one run serves
            several targets; the key names the tasks of the run. Empty for other designs.
    """

    design: str
    question: str
    is_control: bool
    gains: tuple[Gain, ...]
    floor: float
    smallest_gains: Mapping[str, float] = field(default_factory=dict)
    relative_change: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StageScores:
    """Test scores of a target before and after the stages of `refine_finetune`; NaN where a run is missing.

    Args:
        target: The task.
        single: Trained alone, with the budget of the study, [S].
        refined: Trained with all other tasks in the stage `refine`, [S].
        refined_alone: Trained alone in the stage `refine`, [S].
        finetuned: Fine-tuned alone after the stage with all other tasks, [S].
        finetuned_alone: Fine-tuned alone after the stage alone, [S].
    """

    target: str
    single: tuple[float, ...]
    refined: tuple[float, ...]
    refined_alone: tuple[float, ...]
    finetuned: tuple[float, ...]
    finetuned_alone: tuple[float, ...]


@dataclass(frozen=True)
class SurfaceMeans:
    """Mean test scores of a target on mentions that occur in its train, and on those that do not.

    See `mtl.evaluation.surfaces`. A mean is NaN if no run has the score.

    Args:
        target: The task.
        design: Design of the runs; empty for the single-task runs.
        partner: Partner of the target in the design; empty for the single-task runs.
        num_runs: Number of runs that kept these scores.
        seen_share: Share of the mentions of test whose surface form is that of a mention in train.
        ambiguous_share: Share of those whose surface form occurs in train with another type or unlabelled.
        seen_f1: F1 on seen mentions.
        unseen_f1: F1 on unseen mentions.
    """

    target: str
    design: str
    partner: str
    num_runs: int
    seen_share: float
    ambiguous_share: float
    seen_f1: float
    unseen_f1: float


@dataclass(frozen=True)
class ArmScores:
    """Test scores of a target with the settings of an arm.

    Args:
        target: The task.
        arm: Name of the arm.
        scores: Test scores by seed, [S]; NaN where a run is missing.
        published: Published score in percent; None if there is none.
        source: Where it was published; empty if there is none.
    """

    target: str
    arm: str
    scores: tuple[float, ...]
    published: float | None = None
    source: str = ""


@dataclass(frozen=True)
class SizeGain:
    """The gain of a target at one size of its training set.

    Args:
        target: The task.
        partner: The partner, which has all of its rows; empty for a second round of the target alone.
        num_rows: Number of training rows of the target.
        cell: Statistics over seeds.
    """

    target: str
    partner: str
    num_rows: int
    cell: Cell


@dataclass(frozen=True)
class FoldMeans:
    """The single-task scores of a target in cross-validation; NaN where a run is missing.

    Args:
        target: The task.
        pooled: Scores of the predictions on all test folds together, by seed, [S].
        means: Means of the scores of the folds, by seed, [S].
    """

    target: str
    pooled: tuple[float, ...]
    means: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """A learning curve: dev score at each evaluation, mean over seeds.

    Args:
        target: Task whose score is shown.
        partner: "single" for the single-task runs, otherwise the partner.
        updates: Number of updates on the target at each evaluation.
        mean: Mean of the primary metric on dev over seeds.
        sd: Standard deviation over seeds; 0 with one seed.
    """

    target: str
    partner: str
    updates: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class RunNote:
    """A run that needs care, and why.

    Args:
        run: Name of the run.
        target: Task that it concerns.
        score: Dev score that selected the tested evaluation.
        compared: Score of the best trivial predictor on dev for a collapsed run; the best earlier dev score for an
            undertrained one.
    """

    run: str
    target: str
    score: float
    compared: float


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Args:
        run: Name of the run, such as "gad + hoc, seed 3".
        key: Key of the run in the ledger.
        design: The first design that needs the run.
        seconds: Time from start to end.
        training_seconds: Time in training steps, including batches.
        evaluation_seconds: Time in evaluations on dev and test.
        examples: Number of training examples, counting repetitions.
        tokens: Number of tokens of these examples.
        reused: Whether the run is reused from another study.
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
    """The code and the machine that some of the runs were trained with.

    Args:
        version: Version of biomtl; empty if the runs did not record it.
        commit: Commit of its repository; empty if it was not in one.
        is_changed: Whether tracked files had uncommitted changes.
        device: Device of the runs: cpu, or the name of a GPU.
        threads: Number of threads of each run.
        num_runs: Number of runs.
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
        max_encoders: Largest number of encoders allowed.
        groups: Tasks of each encoder.
        predicted: Predicted gain of each task, in its metric.
        predicted_total: Sum of the predicted gains.
        updates: Training cost: number of updates of all groups together, for one seed.
        measured: Measured gain of each task in its group; None before `mtl study verify`.
        intervals: Confidence interval of the measured gain of each task.
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
    """All results of a study.

    Args:
        study: Name of the study.
        question: The question it answers, in a sentence.
        setup: Sentences about the methods: mixture, encoder, budget, selection, fairness, seeds, threads.
        seeds: Seeds of the study, [S].
        alpha: Family-wise error rate of each family.
        targets: Facts about each task, by its name.
        families: Designs first, then controls.
        curves: Learning curves of the single-task runs and of the pairs.
        costs: Cost of each finished run.
        outside_share: Share of the workers' time outside training and evaluation.
        repeat_seconds: Time for repeating finished runs of which the encoder was needed and no longer kept.
        grouping: Grouping predicted from the pairs; None without a complete matrix of pairs.
        missing: Sentences about runs that failed or have not been run, and the gains that lack them.
        deviations: Sentences that a reader must know before relying on the results (changed mixture, leakage, ...).
        versions: Versions of packages and the machine when the study was last described.
        trained_on: The code and the machines that the runs were trained with.
        stages: Scores before and after the stages of `refine_finetune`; empty if the study does not have this design.
        arms: Scores of each target in each arm, the first arm first; empty without the design `arms`.
        sizes: Gains by number of training rows of the target; empty without the design `sizes`.
        folds: Single-task scores of all folds together and their means over folds; empty without cross-validation.
        averages: Names of the means over tasks, with these tasks; some of them may be in `left_out`.
        left_out: Tasks that the study would have, but whose data is absent, with where it comes from.
        collapsed: Runs that did not learn a task that other seeds learned (`mtl.study.statistics.learning`).
        undertrained: Runs that were stopped while they still improved.
        surfaces: Scores on seen and on unseen mentions; empty if no run has kept them.
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
    stages: tuple[StageScores, ...] = ()
    arms: tuple[ArmScores, ...] = ()
    sizes: tuple[SizeGain, ...] = ()
    folds: tuple[FoldMeans, ...] = ()
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    collapsed: tuple[RunNote, ...] = ()
    undertrained: tuple[RunNote, ...] = ()
    surfaces: tuple[SurfaceMeans, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON types, except that numbers may be NaN or infinite."""
        return {name: _named(value) for name, value in asdict(self).items()}

    def family(self, design: str) -> Family | None:
        """The family of a design or control; None if the study does not have it."""
        return next((family for family in self.families if family.design == design), None)


def _named(value: Any) -> Any:
    """The value with named tuples turned into mappings, because JSON would drop their field names."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _named(value._asdict())
    if isinstance(value, Mapping):
        return {name: _named(inner) for name, inner in value.items()}
    return [_named(inner) for inner in value] if isinstance(value, list | tuple) else value
