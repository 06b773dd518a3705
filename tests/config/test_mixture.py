from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.config.loading import load_mixture, parse_mixture
from mtl.config.mixture import LimitSpec, Mixture, PermuteSpec, build_head
from mtl.problems import InputError


def task(**fields: Any) -> dict[str, Any]:
    data = {"reader": "jsonl", "path": "rows"}
    return {"head": "classification", "labels": ["a", "b"], "data": data, **fields}


def mixture(**fields: Any) -> Mixture:
    return parse_mixture({"name": "m", "tasks": {"one": task(), "two": task()}, **fields})


def test_the_smallest_mixture_has_the_documented_defaults() -> None:
    made = parse_mixture({"name": "m", "tasks": {"one": task()}})
    assert (made.encoder.name, made.encoder.max_length, made.sampler.name) == ("minilm-l6", 128, "proportional")
    assert (made.evaluation.select, made.batch_size, made.seed, made.privacy.log_text) == ("mean", 32, 0, False)
    assert (made.tasks["one"].rate, made.tasks["one"].loss_weight) == (None, 1.0)


def test_a_mixture_of_several_kinds_of_tasks_is_read_completely(tmp_path: Path) -> None:
    (tmp_path / "rqe.yaml").write_text(
        "head: classification\ndata: {reader: rqe, path: x}\nlabels: ['true', 'false']\n"
    )
    (tmp_path / "m.yaml").write_text(
        """
name: two_kinds
encoder: {name: minilm-l6, max_length: 128}
sampler: {name: temperature, temperature: 2.0, max_examples: 20000}
include: [rqe.yaml]
tasks:
  ncbi_disease:
    head: token_classification
    data: {reader: conll, path: "${oc.env:MTL_NO_SUCH,data}/ncbi", files: {train: train.tsv, dev: devel.tsv}}
    labels: [Disease]
  biosses:
    head: regression
    data: {reader: table, path: biosses, columns: {text: sentence1, text_pair: sentence2, label: score}}
    options: {range: [0, 4]}
  rqe: {loss_weight: 0.5}
"""
    )
    made = load_mixture(tmp_path / "m.yaml", ["tasks.biosses.rate=3"])
    assert sorted(made.tasks) == ["biosses", "ncbi_disease", "rqe"]
    assert made.sampler.options == {"temperature": 2.0, "max_examples": 20000}
    assert made.tasks["ncbi_disease"].data.reader_arguments == {
        "path": "data/ncbi",
        "files": {"train": "train.tsv", "dev": "devel.tsv"},
    }
    assert (made.tasks["biosses"].rate, made.tasks["rqe"].loss_weight) == (3.0, 0.5)
    assert made.tasks["biosses"].head_options == {"range": [0, 4]}


def test_a_mixture_can_be_restored_from_its_dictionary() -> None:
    made = mixture(sampler={"name": "temperature", "temperature": 3.0}, seed=4)
    assert parse_mixture(made.to_dict()) == made
    assert parse_mixture(made.to_dict()).sampler.options == {"temperature": 3.0}


def test_notes_on_data_are_written_only_where_they_are_set() -> None:
    data = {"reader": "conll", "path": "corpus"}
    for own in ({}, {"licence": "CC BY 4.0", "private": True}):
        task = {"head": "token_classification", "labels": ["Drug"], "data": data | own}
        mixture = load_mixture({"name": "m", "tasks": {"drugs": task}})
        written = mixture.to_dict()["tasks"]["drugs"]["data"]
        assert {key: written[key] for key in ("licence", "private") if key in written} == own
        assert Mixture(**mixture.to_dict()) == mixture


def test_a_mapping_with_a_folder_is_read_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    made = load_mixture({"name": "m", "tasks": {"one": task()}}, folder=tmp_path)
    assert made.tasks["one"].data.path == str(tmp_path / "rows")


def test_paths_per_split_are_passed_to_the_reader_as_files() -> None:
    data = {"reader": "jsonl", "path": {"train": "/a.jsonl", "dev": "/b.jsonl"}, "on_bad_row": "skip"}
    spec = parse_mixture({"name": "m", "tasks": {"one": task(data=data)}}).tasks["one"].data
    assert spec.reader_arguments == {
        "path": "",
        "files": {"train": "/a.jsonl", "dev": "/b.jsonl"},
        "on_bad_row": "skip",
    }


def test_limit_exclude_and_permute_survive_a_round_trip_and_are_not_options_of_the_reader() -> None:
    steps = {"limit": {"train": 3}, "exclude": ["d1"], "permute": {"seed": 2}}
    data = {"reader": "jsonl", "path": "rows", "meta": ["site"], **steps}
    made = parse_mixture({"name": "m", "tasks": {"one": task(data=data)}})
    assert parse_mixture(made.to_dict()) == made
    spec = made.tasks["one"].data
    assert (spec.limit, spec.exclude, spec.permute) == (LimitSpec(train=3), ("d1",), PermuteSpec(seed=2))
    assert spec.reader_arguments == {"path": "rows", "meta": ["site"]}


def test_batch_size_and_length_of_a_task_default_to_those_of_the_mixture() -> None:
    made = mixture(tasks={"one": task(batch_size=4, max_length=64), "two": task()}, batch_size=16)
    assert [made.batch_size_of(name) for name in made.tasks] == [4, 16]
    assert [made.max_length_of(name) for name in made.tasks] == [64, 128]


def test_a_primary_metric_is_passed_to_the_head() -> None:
    head = build_head(mixture(tasks={"one": task(primary_metric="macro_f1")}).tasks["one"], hidden_size=8)
    assert head.primary_metric == "macro_f1"


def test_a_mixture_reduced_to_some_tasks_keeps_what_they_need() -> None:
    tasks = {"one": task(), "two": task(same_rows_as="one"), "three": task(loss_weight=2)}
    whole = mixture(tasks=tasks, evaluation={"select": "weighted", "weights": {"one": 2, "three": 3}})
    part = whole.only(["two", "three"])
    assert list(part.tasks) == ["two", "three"]
    assert part.tasks["two"].same_rows_as is None  # its leader is gone, so it trains on its own
    assert part.evaluation.weights == {"three": 3.0}
    assert whole.only(["one", "two"]).tasks["two"].same_rows_as == "one"
    assert parse_mixture(part.to_dict()) == part


def test_the_key_only_drops_the_other_tasks() -> None:
    assert list(mixture(only=["two"]).tasks) == ["two"]
    assert list(mixture(only=None).tasks) == ["one", "two"]


def test_a_selection_by_a_dropped_task_is_invalid() -> None:
    with pytest.raises(InputError, match=r"evaluation\.select: .*'one/accuracy'"):
        mixture(only=["two"], evaluation={"select": "one/accuracy"})


def test_an_unknown_task_in_only_is_reported() -> None:
    with pytest.raises(InputError, match=r"only: .*'on'.*'one'\?"):
        mixture().only(["on"])


def test_a_mixture_is_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        mixture().seed = 3  # type: ignore[misc]


def test_a_mixture_reduced_to_some_tasks_has_no_more_tasks_per_step_than_these() -> None:
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "rows"}}
    mixture = load_mixture({"name": "m", "tasks": dict.fromkeys("abc", task), "tasks_per_step": 3})
    assert mixture.only(["a", "b"]).tasks_per_step == 2
    assert mixture.model_copy(update={"tasks_per_step": "all"}).only(["a"]).tasks_per_step == "all"


def test_tokens_per_batch_or_batch_size_of_a_task_override_the_tokens_per_batch_of_the_mixture() -> None:
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "rows"}}
    tasks = {"a": task, "b": {**task, "tokens_per_batch": 64}, "c": {**task, "batch_size": 4}}
    mixture = load_mixture({"name": "m", "tasks": tasks, "tokens_per_batch": 512})
    assert [mixture.tokens_per_batch_of(name) for name in "abc"] == [512, 64, None]
