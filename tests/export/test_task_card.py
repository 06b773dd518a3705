from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries

from mtl.config.loading import load_mixture
from mtl.config.mixture import DataSpec
from mtl.export.evaluation_results import evaluation_results
from mtl.export.task_model import export_tasks
from mtl.prediction.trained_model import TrainedModel
from tests.trained_runs import saved_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    """The README of the task `drugs` of a run with all records, next to a task whose data is on the hub."""
    folder = tmp_path_factory.mktemp("card")
    hub = {"reader": "hub", "path": "owner/answers", "config": "plain", "revision": COMMIT, "licence": "CC BY 4.0"}
    tasks: dict[str, Any] = {
        "drugs": {
            "head": "token_classification",
            "labels": ["Drug"],
            "rate": 2,
            "data": {"reader": "jsonl", "path": "secret/rows"},
        },
        "kind": {
            "head": "classification",
            "labels": ["yes", "no"],
            "rate": 1,
            "options": {"pooling": "pooler"},
            "data": hub,
        },
    }
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    run, _ = saved_run(
        folder / "runs",
        load_mixture({"name": "both", "encoder": encoder, "sampler": {"name": "weighted"}, "tasks": tasks}),
    )
    run.write_metrics("dev", {"drugs": {"f1": 0.51234, "loss": 0.5}, "kind": {"accuracy": 0.75}})
    run.write_metrics("test", {"drugs": {"f1": 0.43219}, "kind": {"accuracy": 0.625}})
    run.write_metrics("interval", {"drugs": {"f1": {"low": 0.401, "high": 0.499, "method": "bootstrap"}}})
    run.write_json("baselines.json", {"test": {"drugs": {"lexicon": {"f1": 0.3217}, "majority": {"f1": 0.0}}}})
    for split, rows in (("train", 120), ("test", 34)):
        record = {"name": "drugs", "split": split, "fingerprint": f"{rows}abcdef" * 8, "rows": rows}
        run.append_line("datasets.jsonl", {**record, "source": "secret/rows"})
    run.append_line("metrics.jsonl", {"step": 0, "time": 1.0, "metrics": {"data/drugs/rate": 0.6875}})
    run.update_info(evaluated={"test": run.resolve_checkpoint("best").name})
    export_tasks(run.path, folder / "out")
    return folder / "out" / "drugs" / "README.md"


OTHER_ROWS: list[dict[str, Any]] = [
    {"rename": {"y": "yes"}},
    {"annotated": ("yes",)},
    {"options": {"split_names": {"train": "train", "test": "validation"}}},
    {"options": {"on_bad_row": "skip"}},
    {"sources": {"x": {"weight": 1.0}}},
    {"limit": {"test": 5}},
]


@pytest.mark.parametrize("changes", OTHER_ROWS, ids=str)
def test_a_score_of_another_checkpoint_or_of_other_rows_is_no_evaluation_result(
    readme: Path, changes: dict[str, Any]
) -> None:
    run = TrainedModel(next((readme.parents[2] / "runs").rglob("run.json")).parent)
    assert evaluation_results(run, "kind")
    run.folder.update_info(evaluated={"test": "last-step9.ckpt"})
    assert evaluation_results(run, "kind") == {}
    run.folder.update_info(evaluated={"test": run.checkpoint.name})
    spec = run.trained_mixture.tasks["kind"]
    fields = spec.data.model_dump()
    options = changes.get("options", {})  # of the reader, which the fields hold with the others
    data = DataSpec(**{**fields, **{name: value for name, value in changes.items() if name != "options"}, **options})
    run.trained_mixture.tasks["kind"] = spec.model_copy(update={"data": data})
    assert evaluation_results(run, "kind") == {}


def section(text: str, title: str) -> list[list[str]]:
    """The cells of the lines of a section's tables."""
    own = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in own.splitlines() if line[:1] == "|"]


def test_the_hub_reads_the_metadata(readme: Path) -> None:
    card = ModelCard.load(readme)
    found = card.data.to_dict()
    assert found["pipeline_tag"] == "token-classification"
    assert found["library_name"] == "transformers"
    assert found["datasets"] == ["owner/answers"]
    assert found["metrics"] == ["f1"]
    other = ModelCard.load(readme.parent.parent / "kind" / "README.md").data.to_dict()
    assert other["pipeline_tag"] == "text-classification"


def test_scores_stand_beside_their_interval_and_trivial_predictors(readme: Path) -> None:
    heading, _, *lines = section(readme.read_text(encoding="utf-8"), "Scores")
    assert heading == ["metric", "dev", "test", "interval on test", "lexicon", "majority"]
    assert lines == [["f1", "0.5123", "0.4322", "0.401 to 0.499", "0.3217", "0"]]


def test_rates_rows_fingerprints_and_licences_are_those_of_the_run(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    training = section(text, "Training")
    assert ["drugs", "token_classification", "2", "0.6875", "1"] in training
    assert ["kind", "classification", "1", "–", "1"] in training
    assert ["checkpoint", "best-step3.ckpt, after 3 updates"] in training
    data = section(text, "Data")
    assert ["drugs", "jsonl", "not stated", "train", "120", "120abcdef120abcd"] in data
    assert ["kind", "owner/answers", "CC BY 4.0", "–", "–", "–"] in data


def test_the_readme_has_no_path_and_names_what_pipeline_needs(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    assert "secret" not in text
    assert str(readme.parents[2]) not in text
    settings = json.loads((readme.parent / "config.json").read_text(encoding="utf-8"))["biomtl"]
    assert settings == {
        "task": "drugs",
        "head": "token_classification",
        "aggregation_strategy": "first",
        "stride": 23,  # at most half of the 46 tokens between the special ones
    }
    assert 'aggregation_strategy="first", stride=23' in text


def test_a_score_on_data_of_the_hub_is_an_evaluation_result(readme: Path) -> None:
    files = {path.relative_to(readme.parents[1]).as_posix() for path in readme.parents[1].glob("*/.eval_results/*")}
    assert files == {"kind/.eval_results/kind.yaml"}
    content = (readme.parents[1] / files.pop()).read_text(encoding="utf-8")
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.dataset_revision) == (
        "owner/answers",
        "plain",
        0.625,
        COMMIT,
    )
    assert entry.notes is not None
    assert "accuracy" in entry.notes
