"""Which rows another corpus gives a task, and under which label names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.prediction.other_corpus import Corpus, other_corpus, parse_names
from mtl.problems import InputError, Problem


def data(path: str = "x") -> dict[str, Any]:
    return {"reader": "jsonl", "path": path}


TASKS: dict[str, Any] = {
    "drugs": {"head": "token_classification", "labels": ["Drug", "Sign"], "data": data()},
    "genes": {"head": "token_classification", "labels": ["GENE"], "data": data("genes")},
    "kind": {"head": "classification", "labels": ["no", "yes"], "data": data()},
    "links": {
        "head": "relation",
        "labels": ["up", "none"],
        "options": {"negative": "none", "pairs": [["Drug", "Sign"]]},
        "data": data(),
    },
}


@pytest.fixture
def mixture() -> Mixture:
    return load_mixture({"name": "m", "tasks": TASKS})


def written(folder: Path, **fields: Any) -> str:
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return str(path)


def problems(*arguments: Any) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        other_corpus(*arguments)
    return caught.value.problems


def test_another_task_of_the_run_is_a_corpus_and_scored_on_the_types_that_it_has(mixture: Mixture) -> None:
    found = other_corpus(mixture, "drugs", "genes", {"GENE": "Drug"})
    assert found.name == "genes"
    assert (found.data.path, found.data.rename, found.data.annotated) == ("genes", {"GENE": "Drug"}, ("Drug",))


def test_a_task_file_is_a_corpus_whose_paths_are_relative_to_it(mixture: Mixture, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    path = written(tmp_path, head="token_classification", labels=["Sign", "Drug"], data=data("rows"))
    found = other_corpus(mixture, "drugs", path)
    assert found == Corpus("other", found.data)
    assert (found.data.path, found.data.rename, found.data.annotated) == (str(tmp_path / "rows"), None, None)


def test_a_file_with_data_alone_is_taken_to_annotate_all_labels(mixture: Mixture, tmp_path: Path) -> None:
    found = other_corpus(mixture, "drugs", written(tmp_path, data=data()), {"Medicine": "Drug"})
    assert (found.data.rename, found.data.annotated) == ({"Medicine": "Drug"}, None)
    assert other_corpus(mixture, "drugs", written(tmp_path, data=data(), labels=["Drug"])).data.annotated == ("Drug",)


def test_names_apply_after_those_of_the_corpus(mixture: Mixture, tmp_path: Path) -> None:
    own = {**data(), "rename": {"PRGE": "GENE"}, "annotated": ["GENE"]}
    path = written(tmp_path, head="token_classification", labels=["GENE"], data=own)
    found = other_corpus(mixture, "drugs", path, {"GENE": "Drug"}).data
    assert (found.rename, found.annotated) == ({"GENE": "Drug", "PRGE": "Drug"}, ("Drug",))


def test_classes_may_be_fewer_and_mask_nothing(mixture: Mixture, tmp_path: Path) -> None:
    path = written(tmp_path, head="classification", labels=["a", "b"], data=data())
    found = other_corpus(mixture, "kind", path, {"a": "yes", "b": "no"}).data
    assert (found.rename, found.annotated) == ({"a": "yes", "b": "no"}, None)


def test_values_of_an_attribute_may_be_fewer_and_mask_no_mention() -> None:
    """`annotated` names attributes and entity types; with the values in it, the default would not apply."""
    task = {"head": "mention_classification", "options": {"attribute": "negated", "default": "no"}, "data": data()}
    tasks = {"one": {**task, "labels": ["no", "yes", "maybe"]}, "two": {**task, "labels": ["no", "yes"]}}
    assert other_corpus(load_mixture({"name": "m", "tasks": tasks}), "one", "two").data.annotated is None


def test_entity_types_of_a_relation_task_can_be_mapped_though_they_are_no_labels(
    mixture: Mixture, tmp_path: Path
) -> None:
    path = written(tmp_path, **{**TASKS["links"], "options": {"negative": "none", "pairs": [["Medicine", "Sign"]]}})
    assert other_corpus(mixture, "links", path, {"Medicine": "Drug"}).data.rename == {"Medicine": "Drug"}


def test_a_corpus_of_another_type_is_an_error(mixture: Mixture) -> None:
    (problem,) = problems(mixture, "drugs", "kind")
    assert (problem.key, "classification" in problem.message) == ("--on", True)


def test_unknown_labels_and_names_are_reported_together(mixture: Mixture) -> None:
    found = problems(mixture, "drugs", "genes", {"GNE": "Drug"})
    assert [problem.key for problem in found] == ["--on", "--map"]
    assert "--map 'GENE=Drug'" in found[0].suggestion
    assert "'GENE'" in found[1].suggestion


@pytest.mark.parametrize("on", ["nothing", "nothing.yaml"])
def test_what_is_neither_a_file_nor_a_task_is_an_error(mixture: Mixture, on: str) -> None:
    (problem,) = problems(mixture, "drugs", on)
    assert problem.key == "--on"
    assert "genes" in problem.suggestion


def test_a_file_without_data_is_an_error_with_its_name(mixture: Mixture, tmp_path: Path) -> None:
    (problem,) = problems(mixture, "drugs", written(tmp_path, name="m", tasks={}))
    assert problem.key.endswith("other.yaml")


@pytest.mark.parametrize("word", ["GENE", "=Gene", "GENE="])
def test_a_name_without_two_sides_is_an_error(word: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_names(["A=B", word])
    assert [problem.key for problem in caught.value.problems] == ["--map"]
