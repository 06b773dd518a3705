"""What a tuning file may say, and that all its problems are reported together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.commands.tune import load
from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.tuning.search import TrialSearch
from mtl.tuning.search_space import Choices, NumberRange, mixture_overrides

Write = Callable[..., Path]


def keys(path: Path, *overrides: str) -> list[str]:
    """The keys of the problems of a file."""
    with pytest.raises(InputError) as caught:
        load(path, overrides)
    return [problem.key for problem in caught.value.problems]


def test_five_mistakes_give_five_problems(search_file: Write) -> None:
    path = search_file(
        smapler="grid",
        seeds=0,
        objective="val/drugs/macro",
        search={"model.learning_rate": [1e-4, -1], "tasks.cause.options.pooling": ["cls", "man"]},
    )
    with pytest.raises(InputError) as caught:
        load(path)
    problems = {problem.key: problem for problem in caught.value.problems}
    assert len(caught.value.problems) == 5
    assert set(problems) == {
        "smapler",
        "seeds",
        "objective",
        "search.model.learning_rate",
        "search.tasks.cause.options.pooling",
    }
    assert "'sampler'?" in problems["smapler"].suggestion
    assert "'macro_f1'?" in problems["objective"].suggestion
    assert "-1" in problems["search.model.learning_rate"].message
    assert "man" in problems["search.tasks.cause.options.pooling"].message


def test_every_wrong_value_of_a_key_is_a_problem_of_its_own(search_file: Write) -> None:
    search = {"tasks.cause.options.pooling": ["man", "cls", 3], "trainer.max_epochs": [2, "many", -1]}
    path = search_file(search=search)
    assert sorted(keys(path)) == ["search.tasks.cause.options.pooling"] * 2 + ["search.trainer.max_epochs"] * 2


def test_unknown_keys_are_named_with_the_nearest(search_file: Write) -> None:
    search = {"model.learnig_rate": [1e-4], "tasks.casue.rate": [1], "tasks.cause.options.poling": ["cls"]}
    with pytest.raises(InputError) as caught:
        load(search_file(search=search))
    texts = [str(problem) for problem in caught.value.problems]
    for nearest in ("'learning_rate'", "'cause'", "'pooling'"):
        assert any(nearest in text for text in texts)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "seed",
        "evaluation.select",
        "leakage.texts",
        "tasks.cause.labels",
        "tasks.cause.data.limit.dev",
        "tasks.drugs.primary_metric",
        "trainer.logger",
        "trainer.limit_val_batches",
        "run.root",
        "model",
    ],
)
def test_keys_that_make_trials_incomparable_are_refused(key: str, search_file: Write) -> None:
    assert keys(search_file(search={key: [1, 2]})) == [f"search.{key}"]


@pytest.mark.parametrize(
    ("interval", "key"),
    [
        ({"low": 1e-3, "high": 1e-4}, ".high"),
        ({"low": 0.0, "high": 1e-4, "log": True}, ".low"),
        ({"low": 1, "high": 9, "step": 0}, ".step"),
        ({"low": 1, "hihg": 9}, ".hihg"),
    ],
)
def test_an_range_that_holds_no_values_is_refused(interval: dict[str, Any], key: str, search_file: Write) -> None:
    found = keys(search_file(sampler="tpe", search={"model.learning_rate": interval}))
    assert f"search.model.learning_rate{key}" in found


def test_both_bounds_of_an_range_are_checked(search_file: Write) -> None:
    search = {"model.warmup": {"low": 0.0, "high": 1.5}}
    assert keys(search_file(sampler="random", search=search)) == ["search.model.warmup"]


def test_a_grid_needs_lists_and_all_its_trials(search_file: Write) -> None:
    assert keys(search_file(search={"model.warmup": {"low": 0.0, "high": 0.5}})) == ["search.model.warmup"]
    assert keys(search_file(trials=1)) == ["trials"]


def test_values_that_are_only_invalid_together_are_found_in_a_grid(search_file: Write) -> None:
    search = {"batch_size": [4, 8], "tasks.cause.batch_size": [None, 4], "tasks.cause.tokens_per_batch": [None, 64]}
    assert keys(search_file(search=search)) == ["search"]


def test_a_problem_of_the_mixture_is_reported_once(search_file: Write) -> None:
    assert keys(search_file(mixture={"batch_size": 0})) == ["mixture: batch_size"]


@pytest.mark.parametrize("objective", ["val/drugs", "test/drugs/f1", "selection"])
def test_an_objective_is_a_score_on_dev(objective: str, search_file: Write) -> None:
    assert keys(search_file(objective=objective)) == ["objective"]


@pytest.mark.parametrize(("metric", "is_known"), [("mcc", True), ("nonsense", False)])
def test_an_objective_that_a_head_computes_on_request_says_how(metric: str, is_known: bool, search_file: Write) -> None:
    with pytest.raises(InputError) as caught:
        load(search_file(objective=f"val/cause/{metric}"))
    (problem,) = caught.value.problems
    assert problem.key == "objective"
    assert ("tasks.cause.options.metrics" in problem.suggestion) == is_known


def test_wilcoxon_needs_enough_seeds_to_prune(search_file: Write) -> None:
    assert keys(search_file(prune="wilcoxon", seeds=4)) == ["prune"]
    assert load(search_file(prune="wilcoxon", seeds=5)).spec.prune == "wilcoxon"


def test_a_file_has_defaults_and_overrides(search_file: Write) -> None:
    path = search_file(sampler=None, objective=None, seeds=None)
    tuning = load(path, ["trials=7", "seeds=[3, 5]"])
    assert (tuning.spec.sampler, tuning.spec.objective, tuning.is_minimized) == ("tpe", "val/selection", False)
    assert (tuning.num_trials, tuning.spec.seed_list) == (7, (3, 5))
    assert load(path).num_trials == 20
    assert keys(path, "search={}") == ["search"]


def test_numbers_of_the_environment_and_words_that_are_booleans(
    search_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIALS", "3")
    assert load(search_file(trials="${oc.env:TRIALS}"), []).spec.trials == 3
    with pytest.raises(InputError) as caught:
        load(search_file(objective=True))
    assert [(problem.key, "quotes" in problem.suggestion) for problem in caught.value.problems] == [("objective", True)]


def test_a_lower_loss_is_better(search_file: Write) -> None:
    assert load(search_file(objective="val/drugs/loss")).is_minimized


def test_lists_and_intervals_become_values(search_file: Write) -> None:
    search = {
        "sampler": [{"name": "proportional"}, {"name": "temperature", "temperature": 2.0}],
        "model.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "trainer.max_epochs": {"low": 1, "high": 5, "step": 2},
    }
    space = load(search_file(sampler="random", search=search)).space
    assert list(space) == list(search)
    assert space["sampler"] == Choices(({"name": "proportional"}, {"name": "temperature", "temperature": 2.0}))
    assert space["model.learning_rate"] == NumberRange(1e-5, 1e-3, log=True)
    assert (space["trainer.max_epochs"].size, space["model.learning_rate"].size) == (3, float("inf"))


def test_a_mixture_may_be_written_inline_with_paths_beside_the_file(search_file: Write) -> None:
    tuning = load(search_file(mixture=None, name="inline"), [])
    inline = {"name": "inline_mixture", "include": ["toy.yaml"]}
    path = search_file()
    text = path.read_text().replace("mixture: toy.yaml", f"mixture: {inline}")
    path.write_text(text)
    mixture = load(path).mixture({"model.learning_rate": 1.0}, 3)
    assert (mixture.name, mixture.seed) == ("inline_mixture", 3)
    assert list(mixture.tasks) == list(tuning.mixture({}, 0).tasks)


def test_the_written_file_of_an_inline_mixture_and_the_best_values_give_the_best_trial(
    search_file: Write, tmp_path: Path
) -> None:
    weights = [{"yes": 2.0}, {"no": 3.0}]
    path = search_file(search={"tasks.cause.options.class_weights": weights})
    inline = {"name": "inline_mixture", "include": ["toy.yaml"]}
    path.write_text(path.read_text().replace("mixture: toy.yaml", f"mixture: {inline}"))
    tuning = load(path)
    written = TrialSearch(tuning, tmp_path / "runs").record().mixture
    for value in weights:
        values = {"tasks.cause.options.class_weights": value}
        found = load_mixture(tmp_path / written, mixture_overrides(values))
        assert found.tasks["cause"].options["class_weights"] == value
        assert found.to_dict() == tuning.mixture(values, found.seed).to_dict()
