"""The scores of one model on a suite, from the finished runs of its studies, and the file that keeps them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heads import Head, Row
from mtl.data.overlapping_documents import overlapping_documents
from mtl.encoder.location import encoder_identity
from mtl.evaluation.metric_variants import VARIANTS
from mtl.evaluation.surfaces import TrainMentions, mention_overlap
from mtl.files import finite, folder_name, read_json, write_json
from mtl.study.design.run_spec import Finished
from mtl.study.running.session import Session
from mtl.suites.checking import SplitCheck, SuiteCheck
from mtl.suites.comparison import SeedScore
from mtl.suites.suite_spec import Split, SuiteSpec
from mtl.suites.suite_studies import SuiteOrder, Way, deviations
from mtl.training.undertrained import rise_at_the_end

Scores = dict[str, dict[str, float]]
"""Score by variant, then by seed, whose number is a string as in JSON."""

SURFACE_METRICS = ("seen_f1", "unseen_f1")


@dataclass(frozen=True)
class TaskResults:
    """The scores of a model on test of one task.

    Args:
        scores: All test scores.
        without_overlap: The same without the documents of test that overlap train.
        documents: Number of documents of test.
        overlapping: Number of those that overlap train.
        seeds: Number of seeds that are planned.
        baseline: Name and score of the best trivial predictor in the task's own variant; None if there is none.
        fingerprints: Hash of the rows of each split.
        deviations: How the trainings differ from the recipe, and the data from the published ones.
        undertrained: Seeds whose training ended while the task was still improving on dev.
        other_test: Whether test has another size than the published one, so that published scores are on other rows.
        surfaces: The numbers of `mentions` of test, and of those that are `seen` in train and `ambiguous` there (see
            `mtl.evaluation.surfaces`); None for a task without mentions, and in files of earlier versions.
        surface_scores: F1 on seen and on unseen mentions, `seen_f1` and `unseen_f1`, by seed; without the seeds whose
            runs did not keep it.
    """

    scores: Scores
    without_overlap: Scores
    documents: int
    overlapping: int
    seeds: int
    baseline: tuple[str, float] | None
    fingerprints: dict[str, str]
    deviations: tuple[str, ...] = ()
    undertrained: tuple[int, ...] = ()
    other_test: bool = False
    surfaces: dict[str, int] | None = None
    surface_scores: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class ModelResults:
    """The scores of one model, trained in one way.

    Args:
        suite: Name of the suite.
        revision: Its revision.
        model: Name of the encoder.
        way: How the tasks were trained.
        encoder: Hash of the encoder's weights.
        tasks: Results by task; tasks without a finished run are left out.
        versions: Versions of libraries, and the device.
    """

    suite: str
    revision: str
    model: str
    way: Way
    encoder: str
    tasks: dict[str, TaskResults] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model in tables."""
        return f"{self.model}, {self.way}"

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the results; other weights of the same name have another one."""
        return f"{folder_name(self.label)}-{self.weights}.json"

    @property
    def weights(self) -> str:
        """A short hash of the identity of the encoder."""
        return hashlib.sha256(self.encoder.encode()).hexdigest()[:8]

    def seed_scores(self, *, without_overlap: bool = False) -> list[SeedScore]:
        """The scores for the table of a suite."""
        return [
            SeedScore(self.label, task, variant, int(seed), value)
            for task, found in self.tasks.items()
            for variant, by_seed in (found.without_overlap if without_overlap else found.scores).items()
            for seed, value in by_seed.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON types."""
        content: dict[str, Any] = finite(asdict(self))
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ModelResults:
        """The results that `to_dict` wrote."""
        tasks = {
            name: TaskResults(
                **{
                    **found,
                    "deviations": tuple(found["deviations"]),
                    "baseline": found["baseline"] and tuple(found["baseline"]),
                    "undertrained": tuple(found.get("undertrained", ())),  # files of earlier versions have none
                }
            )
            for name, found in content["tasks"].items()
        }
        return cls(**{**content, "tasks": tasks})


def collect(session: Session, check: SuiteCheck, published: SuiteSpec, order: SuiteOrder) -> ModelResults:
    """The results of the finished runs of one study.

    Args:
        session: Session of the study.
        check: The suite with the user's overrides, and its data.
        published: The suite without overrides.
        order: What was trained.
    """
    spec, mixture = check.suite.spec, session.plan.study.mixture
    description = session.description()
    results = session.ledger.results(description["runs"])
    tasks = {}
    for task in mixture.tasks:
        keys = run_keys(description, order.way, task)
        finished = {seed: results[key] for seed, key in keys.items() if key in results}
        if finished:
            found = _task_results(spec, session, task, description["targets"][task], finished)
            differs = [*deviations(spec, published, order, task), *_count_deviations(check, task)]
            other_test = "test" in _other_counts(check, task)
            tasks[task] = replace(found, deviations=tuple(differs), other_test=other_test)
    versions = {name: str(value) for name, value in description["versions"].items()}
    encoder = encoder_identity(mixture.encoder)
    return ModelResults(spec.name, spec.revision, order.model, order.way, encoder, tasks, versions)


def _count_deviations(check: SuiteCheck, task: str) -> list[str]:
    """How the data differ from the published ones, each as a phrase."""
    unit = check.suite.spec.tasks[task].counts.unit.replace("_", " ")
    return [
        f"{split} has {one.found} {unit} instead of {one.published}"
        for split, one in _other_counts(check, task).items()
    ]


def _other_counts(check: SuiteCheck, task: str) -> dict[Split, SplitCheck]:
    """The splits whose size differs from the published one, for a known reason or with the user's consent."""
    splits = check.tasks[task].splits
    return {split: one for split, one in splits.items() if one.status in ("known", "accepted")}


def run_keys(description: Mapping[str, Any], way: Way, task: str) -> dict[int, str]:
    """The keys of the runs that a task is scored in, by seed.

    Args:
        description: Description of the study.
        way: How the task was trained.
        task: The task.
    """
    if way == "single":
        return dict(zip(description["seeds"], description["singles"][task], strict=True))
    return {
        seed: treated
        for design, target, _, seed, treated, _ in description["comparisons"]
        if (design, target) == (way, task)
    }


def _task_results(
    spec: SuiteSpec,
    session: Session,
    task: str,
    facts: Mapping[str, Any],
    finished: Mapping[int, Finished],
) -> TaskResults:
    head, splits = session.plan.heads[task], session.plan.data[task]
    trained = [one["train"].rows for one in session.plan.data.values()]
    overlapping = overlapping_documents(splits["test"].rows, trained)
    metrics = {variant: str(VARIANTS[variant].metric) for variant in spec.tasks[task].variants}
    own = spec.tasks[task].variant
    whole = {str(seed): one.result["test"][task] for seed, one in finished.items()}
    rest = {str(seed): score_without(head, one.counts[task], overlapping) for seed, one in finished.items()}
    baseline = facts["baseline"] if facts["metric"] == metrics[own] else None
    return TaskResults(
        scores=_by_variant(metrics, whole),
        without_overlap=_by_variant(metrics, rest),
        documents=facts["num_units"],
        overlapping=len(overlapping),
        seeds=len(session.spec.seed_list),
        baseline=None if baseline is None else (str(baseline[0]), float(baseline[1])),
        fingerprints={name: split.row_summary.fingerprint for name, split in splits.items()},
        undertrained=undertrained_seeds(task, facts, finished),
        surfaces=surfaces_of_test(head, splits["train"].rows, splits["test"].rows),
        surface_scores=surface_scores_of(task, finished),
    )


def surfaces_of_test(head: Head, train: Sequence[Row], test: Sequence[Row]) -> dict[str, int] | None:
    """The numbers of mentions of test, and of those that train knows; None for a head that predicts no mentions.

    Args:
        head: Head of the task.
        train: Rows of train.
        test: Rows of test.
    """
    if not head.mention_types:
        return None
    overlap = mention_overlap(head, TrainMentions(train, head.mention_types), test)
    return {"mentions": overlap.mentions, "seen": overlap.seen, "ambiguous": overlap.ambiguous}


def surface_scores_of(task: str, finished: Mapping[int, Finished]) -> Scores:
    """F1 on seen and on unseen mentions by seed, from the runs that kept it.

    Args:
        task: The task.
        finished: Finished run of each seed.
    """
    kept = {str(seed): one.result.get("surfaces", {}).get(task, {}) for seed, one in finished.items()}
    return _by_variant({name: name for name in SURFACE_METRICS}, kept)


def undertrained_seeds(task: str, facts: Mapping[str, Any], finished: Mapping[int, Finished]) -> tuple[int, ...]:
    """The seeds whose training ended while the task was still improving on dev (see `mtl.training.undertrained`).

    Args:
        task: The task.
        facts: What the study knows of it: its metric and, unless it is of an earlier version, its units.
        finished: Finished run of each seed.
    """
    unit = facts.get("units", {}).get("dev")
    found = []
    for seed, one in finished.items() if unit is not None else ():
        scores = [point["dev"][task][facts["metric"]] for point in one.result["curve"]]
        if rise_at_the_end([math.nan if score is None else score for score in scores], unit) is not None:
            found.append(seed)
    return tuple(found)


def _by_variant(metrics: Mapping[str, str], scores: Mapping[str, Mapping[str, float | None]]) -> Scores:
    return {
        variant: {seed: float(value) for seed, found in scores.items() if (value := found.get(metric)) is not None}
        for variant, metric in metrics.items()
    }


def score_without(
    head: Head, counts: Mapping[str, npt.NDArray[Any]], documents: Collection[str]
) -> dict[str, float | None]:
    """The scores of a test set without some of its documents; None for each metric if none is left.

    Args:
        head: Head of the task.
        counts: Counts of the whole test set: `documents` [D], `counts` [N, K] and `owners` [N].
        documents: Ids of the documents that do not count.
    """
    is_kept = ~np.isin(counts["documents"], sorted(documents))[counts["owners"]]
    if not is_kept.any():
        return dict.fromkeys(head.metrics)
    kept = torch.from_numpy(counts["counts"][is_kept])
    return dict(head.score(kept if head.reduction == "cat" else kept.sum(dim=0)))


# --- files ------------------------------------------------------------------------------------------------------------


def models_folder(root: Path, suite: str) -> Path:
    """The folder of the results of a suite's models."""
    return root / "suites" / folder_name(suite) / "models"


def keep(results: ModelResults, root: Path) -> Path:
    """Writes the results of a model; those of other tasks that the file has are kept.

    Args:
        results: The results.
        root: Folder of all results.

    Raises:
        InputError: The file cannot be read or written.
    """
    path = models_folder(root, results.suite) / results.file_name
    before = read_json(path)
    content = results.to_dict()
    if before.get("revision") == results.revision and results.way == "single":
        content["tasks"] = {**before["tasks"], **content["tasks"]}
    write_json(path, content)
    return path


def read_models(folder: Path) -> list[ModelResults]:
    """The results of all models in a folder, by file name; of models with one name, the weights are part of it."""
    found = [ModelResults.from_dict(read_json(path)) for path in sorted(folder.glob("*.json"))]
    times = Counter(one.label for one in found)
    return [replace(one, model=f"{one.model} {one.weights}") if times[one.label] > 1 else one for one in found]
