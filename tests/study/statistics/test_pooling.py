"""The results of folds, put together: sums by hand, and scipy for a metric of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from mtl.config.mixture import TaskSpec, build_head
from mtl.study.design.run_spec import Finished
from mtl.study.statistics.pooling import fold_scores, pooled

DATA = {"reader": "jsonl", "path": "x"}
FIRST = np.array([[1.0, 1.5], [2.0, 2.5], [3.0, 2.0]])
SECOND = np.array([[4.0, 3.0], [0.5, 1.0]])


def finished(target: str, documents: list[str], counts: Any, dev: float | None, owners: list[int]) -> Finished:
    metrics = {"pearson": 0.5, "f1": dev}
    curve = [{"updates": {target: 2}, "dev": {target: {"f1": value}}, "train_loss": {}} for value in (0.0, dev)]
    result = {"test": {target: metrics}, "dev": {target: {"f1": dev}}, "curve": curve, "primary": {target: "f1"}}
    arrays = {"documents": np.array(documents), "counts": np.asarray(counts), "owners": np.array(owners)}
    return Finished(result, {target: arrays})


def test_a_correlation_is_that_of_the_rows_of_all_folds() -> None:
    head = build_head(TaskSpec(head="regression", options={"range": [0, 4]}, data=DATA), hidden_size=8)
    folds = [
        finished("risk", ["a", "b"], FIRST, 0.4, [0, 0, 1]),
        finished("risk", ["c", "d"], SECOND, 0.8, [0, 1]),
    ]
    made = pooled(folds, {"risk": head})
    rows = np.concatenate([FIRST, SECOND])
    assert made.result["test"]["risk"]["pearson"] == pytest.approx(stats.pearsonr(*rows.T).statistic)
    counts = made.counts["risk"]
    assert counts["documents"].tolist() == ["a", "b", "c", "d"]
    assert counts["owners"].tolist() == [0, 0, 1, 2, 3]
    assert counts["counts"] == pytest.approx(rows)
    assert made.result["dev"]["risk"]["f1"] == pytest.approx(0.6)
    assert [point["dev"]["risk"]["f1"] for point in made.result["curve"]] == pytest.approx([0, 0.6])


def test_a_rate_is_that_of_the_summed_counts_and_not_the_mean_of_the_folds() -> None:
    head = build_head(TaskSpec(head="classification", labels=["no", "yes"], data=DATA), hidden_size=8)
    right, wrong = [1, 0, 0, 0], [0, 0, 1, 0]
    folds = [
        finished("cause", ["a", "b", "c"], [right, right, right], None, [0, 1, 2]),
        finished("cause", ["d"], [wrong], 0.5, [0]),
    ]
    made = pooled(folds, {"cause": head})
    assert made.result["test"]["cause"]["accuracy"] == pytest.approx(3 / 4)
    assert made.result["dev"]["cause"]["f1"] is None, "a mean of some of the folds would not be one of all"


def test_scores_on_seen_mentions_are_means_over_folds() -> None:
    head = build_head(TaskSpec(head="classification", labels=["no", "yes"], data=DATA), hidden_size=8)
    folds = [finished("cause", [name], [[1, 0, 0, 0]], 0.5, [0]) for name in "ab"]
    kept = [{"seen_f1": 0.5, "unseen_f1": 0.25}, {"seen_f1": 1.0, "unseen_f1": None}]
    made = pooled(
        [
            Finished({**one.result, "surfaces": {"cause": own}}, one.counts)
            for one, own in zip(folds, kept, strict=True)
        ],
        {"cause": head},
    )
    assert made.result["surfaces"] == {"cause": {"seen_f1": 0.75, "unseen_f1": None}}
    assert pooled(folds, {"cause": head}).result["surfaces"] == {}, "runs of earlier versions kept none"


def test_the_scores_of_the_folds_are_those_of_their_runs() -> None:
    folds = [finished("cause", ["a"], [[1]], score, [0]) for score in (0.25, None)]
    assert fold_scores(folds, "cause", "f1") == pytest.approx([0.25, float("nan")], nan_ok=True)
