"""The scores of a model: with and without test documents that overlap train, and their file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heads.classification import Classification
from heads.regression import Regression
from heads.rows import Entity, SpanRow, TextRow
from heads.token_classification import TokenClassification
from mtl.study.design.run_spec import Finished
from mtl.suites.model_results import (
    ModelResults,
    TaskResults,
    keep,
    models_folder,
    read_models,
    run_keys,
    score_without,
    surface_scores_of,
    surfaces_of_test,
    undertrained_seeds,
)

HEAD = Classification(labels=["no", "yes"], hidden_size=4)


def counts_of(head: Any, predicted: list[str], gold: list[str]) -> dict[str, np.ndarray]:
    rows = [TextRow(f"r{n}", f"d{n}", "x", label=label) for n, label in enumerate(gold)]
    counts = [
        head.counts({"label": label}, row).reshape(-1).numpy() for label, row in zip(predicted, rows, strict=True)
    ]
    return {
        "documents": np.array([row.document for row in rows]),
        "counts": np.stack(counts),
        "owners": np.arange(len(rows)),
    }


def test_a_score_without_documents_is_that_of_the_others() -> None:
    counts = counts_of(HEAD, ["yes", "no", "no"], ["yes", "yes", "no"])
    assert score_without(HEAD, counts, set())["accuracy"] == pytest.approx(2 / 3)
    assert score_without(HEAD, counts, {"d1"})["accuracy"] == 1.0
    assert score_without(HEAD, counts, {"d0", "d2"})["accuracy"] == 0.0


def test_without_all_documents_there_is_no_score() -> None:
    counts = counts_of(HEAD, ["yes"], ["yes"])
    assert set(score_without(HEAD, counts, {"d0"}).values()) == {None}


def test_a_correlation_without_documents_is_that_of_the_other_rows() -> None:
    head = Regression(labels=[], hidden_size=4, range=(-9.0, 9.0))
    predicted, gold = np.array([1.0, 2.0, 9.0, 3.0]), np.array([1.0, 2.5, -9.0, 2.0])
    rows = [TextRow(f"r{n}", f"d{n}", "x", label=float(value)) for n, value in enumerate(gold)]
    counts = [head.counts({"value": float(p)}, row) for p, row in zip(predicted, rows, strict=True)]
    stacked = {
        "documents": np.array(["d0", "d1", "d2", "d3"]),
        "counts": np.concatenate([count.reshape(-1, count.shape[-1]).numpy() for count in counts]),
        "owners": np.arange(4),
    }
    keep_rows = [0, 1, 3]
    expected = np.corrcoef(predicted[keep_rows], gold[keep_rows])[0, 1]
    assert score_without(head, stacked, {"d2"})["pearson"] == pytest.approx(expected)


def test_the_runs_of_each_way_are_found() -> None:
    description = {
        "seeds": [0, 1],
        "singles": {"a": ["k0", "k1"]},
        "comparisons": [["joint", "a", "all others", 0, "j0", "k0"], ["joint", "b", "all others", 0, "j0", "m0"]],
    }
    assert run_keys(description, "single", "a") == {0: "k0", 1: "k1"}
    assert run_keys(description, "joint", "a") == {0: "j0"}


def test_the_seeds_that_were_still_improving_are_found() -> None:
    facts = {"metric": "f1", "units": {"dev": 0.1}}
    curves = {0: [0.5, 0.7], 1: [0.7, 0.75], 2: [None, 0.5, 0.9], 3: [0.5, None]}
    finished = {
        seed: Finished({"curve": [{"dev": {"a": {"f1": score}}} for score in curve]}, {})
        for seed, curve in curves.items()
    }
    assert undertrained_seeds("a", facts, finished) == (0, 2)
    assert undertrained_seeds("a", {"metric": "f1"}, finished) == (), "a study of an earlier version knows no unit"


def test_mentions_of_test_are_seen_if_train_has_their_surface_form() -> None:
    def row(name: str, *words: str) -> SpanRow:
        text, places = " ".join(words), [(" ".join(words[:n]) + " ").lstrip() for n in range(len(words))]
        spans = [(len(place), len(place) + len(word)) for place, word in zip(places, words, strict=True)]
        found = tuple(Entity(f"T{n}", "Drug", (span,)) for n, span in enumerate(spans) if words[n] != "and")
        return SpanRow(name, name, text, entities=found)

    train, test = [row("a", "aspirin", "and", "codeine")], [row("b", "Aspirin", "and", "warfarin", "heparin")]
    head = TokenClassification(["Drug"], 4)
    assert surfaces_of_test(head, train, test) == {"mentions": 3, "seen": 1, "ambiguous": 0}
    assert surfaces_of_test(HEAD, train, test) is None


def test_scores_on_seen_and_unseen_mentions_are_those_of_the_runs_that_kept_them() -> None:
    kept = {"seen_f1": 0.75, "unseen_f1": 0.5, "seen_share": 0.2}
    finished = {0: Finished({"surfaces": {"a": kept}}, {}), 1: Finished({}, {})}
    assert surface_scores_of("a", finished) == {"seen_f1": {"0": 0.75}, "unseen_f1": {"0": 0.5}}


def results(model: str = "ours", way: Any = "single", **tasks: float) -> ModelResults:
    found = {
        task: TaskResults(
            {"v": {"0": score}}, {"v": {"0": score}}, 3, 1, 2, ("majority", 0.25), {"test": "f"}, ("x",), (1,)
        )
        for task, score in tasks.items()
    }
    return ModelResults("toy", "1", model, way, "abcdef0123", found, {"torch": "2"})


def test_files_of_earlier_versions_have_no_scores_on_unseen_mentions() -> None:
    content = results(a=0.5).to_dict()
    for name in ("surfaces", "surface_scores", "undertrained"):
        del content["tasks"]["a"][name]
    found = ModelResults.from_dict(content).tasks["a"]
    assert (found.surfaces, found.surface_scores, found.undertrained) == (None, {}, ())


def test_results_are_the_same_after_they_are_written_and_read(tmp_path: Path) -> None:
    keep(results(a=0.5), tmp_path)
    assert read_models(models_folder(tmp_path, "toy")) == [results(a=0.5)]


def test_tasks_that_are_trained_alone_are_added_and_those_together_replace_each_other(tmp_path: Path) -> None:
    for way in ("single", "joint"):
        keep(results(way=way, a=0.5, b=0.5), tmp_path)
        keep(results(way=way, b=0.75), tmp_path)
    joint, single = read_models(models_folder(tmp_path, "toy"))
    assert joint == results(way="joint", b=0.75)
    assert {task: found.scores["v"]["0"] for task, found in single.tasks.items()} == {"a": 0.5, "b": 0.75}


def test_other_weights_of_the_same_name_have_another_file(tmp_path: Path) -> None:
    keep(results(a=0.5), tmp_path)
    keep(replace(results(a=0.75), encoder="0123456789"), tmp_path)
    found = read_models(models_folder(tmp_path, "toy"))
    assert len(found) == len({one.label for one in found}) == 2, "and another name in tables"


def test_encoders_of_the_hub_are_told_apart_by_name_and_revision(tmp_path: Path) -> None:
    for identity in ("microsoft/a@1", "microsoft/a@2", "microsoft/b@1"):
        keep(replace(results(a=0.5), encoder=identity), tmp_path)
    assert {one.encoder for one in read_models(models_folder(tmp_path, "toy"))} == {
        "microsoft/a@1",
        "microsoft/a@2",
        "microsoft/b@1",
    }
