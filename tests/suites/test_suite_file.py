"""Suite files: found by name, read as a whole, refused with all their problems."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from mtl.evaluation.metric_variants import VARIANTS
from mtl.problems import InputError
from mtl.shipped import shipped
from mtl.suites.suite_file import find_suite, known_suites, load_suite
from tests.suites.toy import write_suite

SAME = {"split": "dev", "found": 1, "because": "it does not differ"}
SHIPPED = ("blue", "blurb", "encoders11")


def problems(path: Path, *overrides: str) -> dict[str, str]:
    with pytest.raises(InputError) as found:
        load_suite(path, overrides)
    return {problem.key: f"{problem.message} {problem.suggestion}" for problem in found.value.problems}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_is_valid_without_any_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    suite = load_suite(name)
    assert suite.spec.name == name
    assert all(Path(path).is_relative_to(tmp_path) for task in suite.spec.tasks.values() for path in task.paths)
    assert {one.source for one in suite.published} == set(suite.spec.sources)
    assert sorted(chain.from_iterable(suite.spec.aggregation.groups.values())) == sorted(suite.spec.tasks)


def test_the_shipped_suites_have_the_tasks_and_seeds_of_their_benchmarks() -> None:
    specs = {name: load_suite(name).spec for name in SHIPPED}
    assert {name: len(spec.tasks) for name, spec in specs.items()} == {"blue": 10, "blurb": 13, "encoders11": 11}
    ten = {task for spec in specs.values() for task in spec.tasks if spec.seeds_of(task) != 5}
    assert ten == {"blue_biosses", "blurb_biosses", "blurb_pubmedqa", "blurb_bioasq"}
    assert all(spec.seeds_of(task) == 10 for spec in specs.values() for task in spec.tasks if task in ten)


COUNTS = {
    # Gu et al. 2021, Table 1, and the README of BLUE.
    "blurb": """
        bc5_chem 5203 5347 5385, bc5_disease 4182 4244 4424, ncbi_disease 5134 787 960, bc2gm 15197 3061 6325,
        jnlpba 46750 4551 8662, ebm_pico 339167 85321 16364, chemprot 18035 11268 15745, ddi 25296 2496 5716,
        gad 4261 535 534, biosses 64 16 20, hoc 1295 186 371, pubmedqa 450 50 500, bioasq 670 75 140
    """,
    "blue": """
        medsts 675 75 318, biosses 64 16 20, bc5cdr_disease 4182 4244 4424, bc5cdr_chemical 5203 5347 5385,
        share 4628 1075 5195, ddi 2937 1004 979, chemprot 4154 2416 3458, i2b2_2010 3110 11 6293, hoc 1108 157 315,
        mednli 11232 1395 1422
    """,
}


@pytest.mark.parametrize("suite", sorted(COUNTS))
def test_the_counts_of_a_suite_are_those_of_its_publication(suite: str) -> None:
    expected = {
        f"{suite}_{name}": dict(zip(("train", "dev", "test"), map(int, counts), strict=True))
        for name, *counts in (task.split() for task in COUNTS[suite].split(","))
    }
    assert {name: task.counts.published() for name, task in load_suite(suite).spec.tasks.items()} == expected


def test_one_data_set_has_another_name_in_each_suite() -> None:
    tasks = [task for name in SHIPPED for task in load_suite(name).spec.tasks]
    assert len(set(tasks)) == len(tasks) == 34


def test_a_suite_is_found_by_name_in_the_working_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_suite("blurb") == shipped("suites") / "blurb.yaml"
    folder = tmp_path / "experiments" / "suites"
    folder.mkdir(parents=True)
    shutil.copy(write_suite(tmp_path), folder / "blurb.yaml")
    assert find_suite("blurb").resolve() == folder / "blurb.yaml"
    assert set(known_suites()) == set(SHIPPED)


def test_an_unknown_name_gets_the_nearest_one_and_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no suite 'blurp'.*Did you mean 'blurb'\?.*blue, blurb, encoders11"):
        find_suite("blurp")
    with pytest.raises(InputError, match="does not exist"):
        find_suite(str(tmp_path / "none.yaml"))
    assert find_suite(str(write_suite(tmp_path))) == tmp_path / "toy.yaml"


def test_problems_of_all_kinds_are_reported_at_once(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path,
        ["paper,theirs,toy_drugs,,70,,,"],
        tasks__toy_risk__variant="acuracy",
        tasks__toy_drugs__options={"spans": "lenient", "schme": "IO"},
        tasks__toy_drugs__counts={"unit": "mention", "train": 2},
        tasks__toy_risk__differences=[SAME],
        aggregation={"rule": "mean_of_tasks", "groups": {"one": ["toy_risk", "toy_drug"]}},
        seed=3,
    )
    found = problems(path)
    assert set(found) >= {
        "seed",
        "tasks.toy_risk.variant",
        "tasks.toy_drugs.counts.unit",
        "tasks.toy_risk.differences.0",
        "aggregation.groups.one",
        "aggregation.groups",
        f"{tmp_path / 'published.csv'}:2",
    }
    assert "Did you mean 'seeds'?" in found["seed"]
    assert "Did you mean 'accuracy'?" in found["tasks.toy_risk.variant"]
    assert "Did you mean 'toy_drugs'?" in found["aggregation.groups.one"]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"tasks__toy_drugs__variant": "pearson"}, "tasks.toy_drugs.variant", "regression"),
        ({"tasks__toy_drugs__variant": "f1_averaging_unclear"}, "tasks.toy_drugs.variant", "publications only"),
        ({"tasks__toy_drugs__options": {"spans": "lenient"}}, "tasks.toy_drugs.variant", "spans: strict, got lenient"),
        ({"tasks__toy_risk__also": ["accuracy"]}, "tasks.toy_risk.also", "classification"),
        ({"tasks__toy_drugs__options": {"schme": "IO"}}, "tasks.toy_drugs.options.schme", "scheme"),
        ({"tasks__toy_drugs__labels": ["Drug", "Drug"]}, "tasks.toy_drugs.labels", "unique"),
        ({"tasks__toy_drugs__head": "tokens"}, "tasks.toy_drugs.head", "no head 'tokens'"),
        ({"tasks__toy_drugs__access__licence": "MIT"}, "tasks.toy_drugs.access.licence", "Choices: agreement"),
        ({"tasks__toy_drugs__access": None}, "tasks.toy_drugs.access", "missing"),
        ({"name": "other"}, "tasks.toy_risk", "other_"),
        ({"name": "a/b"}, "name", "folder name"),
        ({"aggregation": {"rule": "mean_of_group_means"}}, "aggregation.groups", "must be given"),
        ({"recipe": {"learning_rate": -1.0}}, "recipe.learning_rate", "above 0"),
        (
            {"tasks__toy_risk__differences": [{"split": "dev", "found": 1, "because": "-"}]},
            "tasks.toy_risk.differences.0",
            "1",
        ),
    ],
)
def test_each_rule_names_its_key(tmp_path: Path, changes: dict[str, Any], key: str, words: str) -> None:
    assert words in problems(write_suite(tmp_path, **changes))[key]


def test_the_reader_of_a_task_is_not_looked_up_before_its_data_are_read(tmp_path: Path) -> None:
    path = write_suite(tmp_path, tasks__toy_drugs__data={"reader": "not_yet_written", "path": "nowhere"})
    assert load_suite(path).spec.tasks["toy_drugs"].data.reader == "not_yet_written"


def test_overrides_change_a_suite(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path), ["tasks.toy_drugs.data.path=elsewhere", "tasks.toy_drugs.seeds=3"])
    assert suite.spec.tasks["toy_drugs"].paths == ["elsewhere"]
    assert suite.spec.seeds_of("toy_drugs") == 3
    assert "tasks.toy_drugs.sds" in problems(write_suite(tmp_path), "tasks.toy_drugs.sds=3")


def test_a_task_is_scored_by_its_variants_and_trained_by_its_recipe(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path,
        recipe={"learning_rate": 1e-5, "max_length": 64, "warmup": 0.1},
        tasks__toy_risk__recipe={"learning_rate": 2e-5, "batch_size": 8},
    )
    spec = load_suite(path).spec
    task = spec.task_fields()["toy_risk"]
    assert (task["primary_metric"], task["options"]["metrics"]) == ("micro_f1", ["accuracy"])
    assert (task["max_length"], task["batch_size"]) == (64, 8)
    assert spec.recipe_of("toy_risk").learning_rate == 2e-5
    assert spec.recipe_of("toy_drugs").learning_rate == 1e-5
    assert spec.recipe_of("toy_risk").warmup == 0.1


def test_every_variant_that_a_suite_asks_for_is_in_the_vocabulary() -> None:
    for name in SHIPPED:
        for task in load_suite(name).spec.tasks.values():
            assert all(VARIANTS[variant].head == task.head for variant in task.variants)
