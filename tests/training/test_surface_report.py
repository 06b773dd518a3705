"""Scores on seen and unseen mentions in the records of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from heads.classification import Classification
from mtl.evaluation.intervals import ScoreInterval
from mtl.evaluation.surfaces import SurfaceScores, surface_scores
from mtl.training.surface_report import surface_lines, surfaces_of, with_surfaces, write_surface_counts
from tests.evaluation.test_surfaces import FOUND, TEST, TRAIN, head

DATA = cast(
    Any,
    SimpleNamespace(
        heads={"drugs": head(), "kind": Classification(["no", "yes"], 8), "untested": head()},
        tasks={
            "drugs": {
                "train": SimpleNamespace(rows=TRAIN),
                "dev": SimpleNamespace(rows=TRAIN),
                "test": SimpleNamespace(rows=TEST),
            },
            "kind": {"train": SimpleNamespace(rows=[]), "test": SimpleNamespace(rows=[])},
            "untested": {"train": SimpleNamespace(rows=TRAIN)},
        },
    ),
)
"""A task with mentions, one without, and one without test."""


@pytest.fixture
def surfaces() -> dict[str, SurfaceScores]:
    return surfaces_of(DATA, "test", kept())


def kept() -> Any:
    return SimpleNamespace(records=lambda task: list(FOUND.items()))


def test_only_tasks_with_mentions_and_this_split_have_scores_and_only_of_kept_predictions(
    surfaces: dict[str, SurfaceScores],
) -> None:
    expected = surface_scores(head(), TRAIN, TEST, FOUND)
    assert expected is not None
    assert {task: found.scores() for task, found in surfaces.items()} == {"drugs": expected.scores()}
    assert surfaces_of(DATA, "test", None) == {}


def test_the_scores_are_added_to_those_of_their_task_and_of_no_other(surfaces: dict[str, SurfaceScores]) -> None:
    result = replace(surfaces["drugs"].parts["seen"], scores={"f1": 0.5, "loss": 1.0})
    added = with_surfaces({"drugs": result, "kind": result}, surfaces)
    assert added["drugs"].scores == {"f1": 0.5, "loss": 1.0, **surfaces["drugs"].scores()}
    assert added["kind"].scores == result.scores == {"f1": 0.5, "loss": 1.0}


def test_the_counts_of_both_parts_are_files_per_document(surfaces: dict[str, SurfaceScores], tmp_path: Path) -> None:
    write_surface_counts(tmp_path / "counts", surfaces)
    assert sorted(path.name for path in (tmp_path / "counts").iterdir()) == ["drugs.seen.npz", "drugs.unseen.npz"]
    with np.load(tmp_path / "counts" / "drugs.seen.npz") as found:
        assert found["documents"].tolist() == ["d-4", "d-5", "d-6"]
        total = found["counts"].sum(0)
    # Of 4 gold mentions 2 are right, and 1 of 3 predictions is wrong; see the tests of `surface_scores`.
    assert head().score(torch.from_numpy(total))["f1"] == pytest.approx(4 / 7)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_lines_have_the_f1_of_both_parts_in_the_column_of_the_split(
    split: str, surfaces: dict[str, SurfaceScores]
) -> None:
    interval = ScoreInterval(0.1, 0.9, "bootstrap")
    seen, unseen = surface_lines(split, surfaces, {"drugs": {"seen_f1": interval}})
    assert [(line.task, line.metric, line.baseline) for line in (seen, unseen)] == [
        ("drugs", "seen_f1", None),
        ("drugs", "unseen_f1", None),
    ]
    assert getattr(seen, split) == pytest.approx(4 / 7)
    assert getattr(unseen, split) == pytest.approx(1 / 2)
    assert getattr(seen, {"dev": "test", "test": "dev"}[split]) is None
    assert (seen.interval, unseen.interval) == (interval, None)
