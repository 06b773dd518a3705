"""What MLflow shows of a run of a study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtl.hashed_ids import KEY_VARIABLE, PREFIX, _Process, hash_from_now_on, hashed, read_key
from mtl.study.design.run_spec import Finished as Result
from mtl.study.running.ledger import read_counts, shared_counts
from mtl.study.running.takeover import differing_values
from tests.study.finished import NAME, SEEDS, Finished, client


@pytest.mark.slow
def test_a_run_is_found_by_its_study_design_target_partner_and_seed(finished: Finished) -> None:
    names = ("study", "design", "target", "partner", "seed")
    found = {tuple(run.data.tags.get(name, "") for name in names) for run in finished.nested}
    expected = {
        (NAME, design, target, partner, str(seed))
        for seed in SEEDS
        for design, target, partner in (
            ("single", "kind", ""),
            ("single", "mentions", ""),
            ("pairwise, refine_finetune", "kind, mentions", "kind, mentions"),
            ("sequential", "kind", "mentions"),
            ("sequential", "mentions", "kind"),
            ("refine_finetune", "kind", "kind + mentions"),
            ("refine_finetune", "mentions", "kind + mentions"),
            ("refine_finetune", "kind", "kind"),
            ("refine_finetune", "mentions", "mentions"),
            ("self_partner", "kind", "kind__self"),
            ("self_partner", "mentions", "mentions__self"),
        )
    }
    assert found == expected
    assert len(finished.nested) == len(expected)


def test_a_run_has_curves_over_target_updates_test_scores_and_costs(finished: Finished) -> None:
    run = next(run for run in finished.nested if run.data.tags["design"].startswith("pairwise"))
    history = client(finished.store).get_metric_history(run.info.run_id, "val/kind/accuracy")
    assert [point.step for point in sorted(history, key=lambda point: point.step)] == [2, 4]
    gains = next(family for family in finished.findings["families"] if family["design"] == "pairwise")["gains"]
    seed = SEEDS.index(int(run.data.tags["seed"]))
    for gain in gains:
        metric = finished.findings["targets"][gain["target"]]["metric"]
        assert run.data.metrics[f"test/{gain['target']}/{metric}"] == gain["treated"][seed]
    (cost,) = [cost for cost in finished.findings["costs"] if cost["key"] == run.data.tags["key"]]
    for name in ("seconds", "training_seconds", "evaluation_seconds", "examples", "tokens"):
        assert run.data.metrics[f"cost/{name}"] == cost[name]


def test_settings_versions_and_device_are_parameters_of_every_run(finished: Finished) -> None:
    results = {
        path.parent.name: json.loads(path.read_text())
        for path in (finished.folder / "runs" / "ledger").glob("*/*/result.json")
    }
    assert len(results) == len(finished.nested)
    for run in finished.nested:
        found, result = run.data.params, results[run.data.tags["key"]]
        assert result["versions"].items() <= found.items()
        assert {"version.torch", "machine.device", "machine.threads"} <= set(found)
        for task in result["tasks"]:
            assert found[f"mixture.tasks.{task}.head"] in ("classification", "token_classification")
        expected = {
            "evaluations": "2",
            "model.learning_rate": "0.00015",  # the default for small encoders
            "mixture.seed": str(result["seed"]),
            "mixture.encoder.max_length": "24",
            "trainer.precision": "32-true",
            "targets": json.dumps(result["targets"]),
        }
        assert {name: found[name] for name in expected} == expected
    (one,) = finished.findings["trained_on"]
    assert one["num_runs"] == len(finished.nested)
    assert {one["commit"]} == {result["versions"].get("git.biomtl.commit", "") for result in results.values()}


COMPARED = {"curve": [], "selected": {}, "primary": {}, "dev": {}, "test": {}}


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    arrays = {"documents": np.array(["d1", "Fever was high."]), "counts": np.ones((2, 3)), "owners": np.arange(2)}
    path = tmp_path / "ledger" / "counts.npz"
    path.parent.mkdir()
    np.savez_compressed(path, **{f"kind/{name}": array for name, array in arrays.items()})
    return path


def test_ids_of_documents_leave_the_ledger_only_if_they_look_like_ids(counts: Path, tmp_path: Path) -> None:
    found = shared_counts(counts, tmp_path)
    assert read_counts(found)["kind"]["documents"].tolist() == ["d1", "an id of 15 characters"]
    assert shared_counts(found, tmp_path / "again") == found
    assert not list(differing_values(Result(COMPARED, read_counts(counts)), Result(COMPARED, read_counts(found))))


def test_ids_of_documents_leave_the_ledger_hashed_if_the_mixture_says_so(
    counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "id.key"))
    monkeypatch.setattr(_Process, "key", None)
    hash_from_now_on()
    before, after = read_counts(counts)["kind"], read_counts(shared_counts(counts, tmp_path))["kind"]
    assert after["documents"].tolist() == [hashed(one, read_key()) for one in before["documents"].tolist()]
    assert all(one.startswith(PREFIX) for one in after["documents"].tolist())
    for name in ("counts", "owners"):
        np.testing.assert_array_equal(after[name], before[name])
    assert not list(differing_values(Result(COMPARED, {"kind": before}), Result(COMPARED, {"kind": after})))
    other = {**before, "documents": before["documents"][::-1]}
    assert list(differing_values(Result(COMPARED, {"kind": before}), Result(COMPARED, {"kind": other})))
