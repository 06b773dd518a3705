"""Test scores by the corpus that was trained on and the corpus that was tested: the matrix of the design `cross`."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtl.study.report.conclusions import mean_and_sd
from mtl.study.statistics.findings import Family, Findings


class CrossScore(NamedTuple):
    """The test score of a model on a corpus, over seeds.

    Args:
        train: Task whose training data the model was trained on.
        test: Task whose test set it was scored on.
        metric: Primary metric of both tasks.
        n: Number of seeds with a score.
        mean: Mean over seeds; NaN without any.
        sd: Standard deviation over seeds; NaN with fewer than two.
    """

    train: str
    test: str
    metric: str
    n: int
    mean: float
    sd: float


def score_matrix(findings: Findings, family: Family) -> list[list[CrossScore | None]]:
    """The scores of a family in which models are tested on other corpora: one row per test corpus.

    Rows and columns are the corpora in the order of the study. A pair that is not part of the design is None.
    """
    treated = {(gain.partner, gain.target): gain.treated for gain in family.gains}
    names = [name for name in findings.targets if any(name in pair for pair in treated)]
    treated |= {(name, name): findings.targets[name].single for name in names}
    return [[_score(findings, train, test, treated.get((train, test))) for train in names] for test in names]


def score_columns(findings: Findings, family: Family) -> dict[str, list[Any]]:
    """The scores as columns, for `mlflow.log_table`."""
    found = [score for row in score_matrix(findings, family) for score in row if score is not None]
    return {name: [getattr(score, name) for score in found] for name in CrossScore._fields}


def _score(findings: Findings, train: str, test: str, scores: tuple[float, ...] | None) -> CrossScore | None:
    if scores is None:
        return None
    return CrossScore(train, test, findings.targets[test].metric, *mean_and_sd(scores))
