from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands.arguments import take_mixture
from mtl.config.config_file import read_config
from mtl.problems import InputError

MIXTURE = {
    "name": "m",
    "tasks": {"gad": {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "rows"}}},
}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def mixture(tmp_path: Path) -> str:
    return str(write(tmp_path / "m.yaml", MIXTURE))


def test_without_a_mixture_all_arguments_pass(tmp_path: Path) -> None:
    assert take_mixture(["--trainer.max_epochs", "1", "--help"]) == (None, ["--trainer.max_epochs=1", "--help"])


@pytest.mark.parametrize("form", [["--mixture", "{}"], ["--mixture={}"], ["mixture={}"]])
def test_the_mixture_is_extracted_from_every_form_of_the_option(mixture: str, form: list[str]) -> None:
    found, rest = take_mixture([*(word.format(mixture) for word in form), "--trainer.devices", "2"])
    assert found is not None
    assert (found.name, rest) == ("m", ["--trainer.devices=2"])


def test_overrides_and_the_seed_reach_the_mixture(mixture: str) -> None:
    words = [
        "--mixture",
        mixture,
        "--mixture.tasks.gad.loss_weight",
        "2",
        "mixture.batch_size=4",
        "--seed_everything=7",
    ]
    found, rest = take_mixture(words)
    assert found is not None
    assert (found.tasks["gad"].loss_weight, found.batch_size, found.seed, rest) == (2.0, 4, 7, [])


def test_overrides_without_dashes_become_options() -> None:
    assert take_mixture(["trainer.max_epochs=1", "trainer.devices=2"])[1] == [
        "--trainer.max_epochs=1",
        "--trainer.devices=2",
    ]


def test_a_value_may_contain_an_equals_sign_or_start_with_a_dash(mixture: str) -> None:
    words = ["--run.root", "runs/lr=3e-5", "--trainer.max_steps", "-1", "--model.x={'a': 'b=c'}", "--mixture", mixture]
    assert take_mixture(words)[1] == ["--run.root=runs/lr=3e-5", "--trainer.max_steps=-1", "--model.x={'a': 'b=c'}"]


def test_a_mixture_file_with_an_equals_sign_in_its_path_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "lr=1" / "m.yaml", MIXTURE)
    found, _ = take_mixture(["--mixture", str(path)])
    assert found is not None


def test_a_flag_takes_no_value(mixture: str) -> None:
    assert take_mixture(["--print_config", "trainer.max_epochs=1"])[1] == ["--print_config", "--trainer.max_epochs=1"]
    assert take_mixture(["--profile", "trainer.max_epochs=1"])[1] == ["--run.profile=true", "--trainer.max_epochs=1"]


@pytest.mark.parametrize("words", [["--trainer.precision", "auto"], ["trainer.precision=auto"]])
def test_the_precision_auto_is_the_default_and_not_passed_to_lightning(words: list[str]) -> None:
    assert take_mixture([*words, "--trainer.max_epochs=1"])[1] == ["--trainer.max_epochs=1"]


@pytest.mark.parametrize("name", ["--mixture", "--mixture.seed", "--seed_everything", "--config", "-c"])
def test_an_option_without_its_value_is_an_error(name: str) -> None:
    with pytest.raises(InputError) as error:
        take_mixture([name])
    assert [problem.key for problem in error.value.problems] == [name]
    with pytest.raises(InputError):
        take_mixture([name, "--trainer.max_epochs", "1"])


# --- config files ---------------------------------------------------------------------------------------------------


def test_a_config_names_a_mixture_beside_it_and_the_rest_is_passed_on(tmp_path: Path, mixture: str) -> None:
    config = {"mixture": "m.yaml", "seed_everything": 5, "trainer": {"max_epochs": 2, "precision": "auto"}}
    path = write(tmp_path / "c.yaml", config)
    found, rest = take_mixture(["--config", str(path)])
    assert found is not None
    assert (found.name, found.seed) == ("m", 5)
    assert rest[0] == "--config"
    assert json.loads(rest[1]) == {"trainer": {"max_epochs": 2}}  # Lightning has no precision `auto`


def test_the_command_line_overrides_a_later_config_which_overrides_an_earlier_one(tmp_path: Path, mixture: str) -> None:
    write(tmp_path / "n.yaml", {**MIXTURE, "name": "n"})
    one = write(tmp_path / "one.yaml", {"mixture": "m.yaml", "seed_everything": 1})
    two = write(tmp_path / "two.yaml", {"mixture": "n.yaml", "seed_everything": 2})
    found, _ = take_mixture(["--config", str(one), "--config", str(two)])
    assert found is not None
    assert (found.name, found.seed) == ("n", 2)
    found, _ = take_mixture(
        ["--config", str(one), "--config", str(two), "--seed_everything", "3", "--mixture", mixture]
    )
    assert found is not None
    assert (found.name, found.seed) == ("m", 3)


def test_paths_of_a_mixture_inside_a_config_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "there" / "rows").mkdir(parents=True)
    path = write(tmp_path / "there" / "c.yaml", {"mixture": MIXTURE})
    found, _ = take_mixture(["--config", str(path)])
    assert found is not None
    assert found.tasks["gad"].data.path == str(tmp_path / "there" / "rows")


def test_interpolation_of_a_config_is_resolved_without_that_of_the_mixture_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_TEST_ROOT", "/somewhere")
    inside = {**MIXTURE, "seed": "${batch_size}", "batch_size": 8}
    path = write(tmp_path / "c.yaml", {"mixture": inside, "run": {"root": "${oc.env:MTL_TEST_ROOT}/runs"}})
    assert read_config(path).rest == {"run": {"root": "/somewhere/runs"}}
    found, _ = take_mixture(["--config", str(path)])
    assert found is not None
    assert found.seed == 8


def test_numbers_of_the_environment_are_numbers(tmp_path: Path, mixture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", "3")
    number = "${oc.env:NUMBER}"
    trainer = {"max_epochs": number, "accumulate_grad_batches": number, "default_root_dir": number}
    content = {"mixture": "m.yaml", "seed_everything": number, "trainer": trainer, "model": {"learning_rate": number}}
    path = write(tmp_path / "c.yaml", content)
    found, rest = take_mixture(["--config", str(path)])
    assert found is not None
    assert (found.seed, json.loads(rest[1])["model"]) == (3, {"learning_rate": 3})
    expected = {"max_epochs": 3, "accumulate_grad_batches": 3, "default_root_dir": "3"}
    assert json.loads(rest[1])["trainer"] == expected


@pytest.mark.parametrize("written", [False, ["m.yaml"], 3])
def test_a_mixture_of_a_config_is_a_path_or_a_mapping(tmp_path: Path, written: Any) -> None:
    with pytest.raises(InputError) as error:
        read_config(write(tmp_path / "c.yaml", {"mixture": written}))
    assert [problem.key for problem in error.value.problems] == [f"{tmp_path / 'c.yaml'}: mixture"]


@pytest.mark.parametrize("seed", [True, False])
def test_a_boolean_seed_keeps_the_seed_of_the_mixture(tmp_path: Path, mixture: str, seed: bool) -> None:
    path = write(tmp_path / "c.yaml", {"mixture": "m.yaml", "seed_everything": seed})
    found, rest = take_mixture(["--config", str(path), "--mixture.seed=9"])
    assert found is not None
    assert (found.seed, json.loads(rest[1])) == (9, {})


@pytest.mark.parametrize(
    "words",
    [["--optimizer", "SGD"], ["--optimizer.lr=0.1"], ["--lr_scheduler=StepLR"], ["--lr_scheduler.gamma", "0.1"]],
)
def test_optimisers_of_lightning_are_an_error(mixture: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        take_mixture(["--mixture", mixture, *words])
    (problem,) = error.value.problems
    assert problem.key == words[0].partition("=")[0]
    assert "model.learning_rate" in problem.suggestion


def test_optimisers_of_lightning_in_a_config_are_an_error(tmp_path: Path, mixture: str) -> None:
    path = write(tmp_path / "c.yaml", {"mixture": "m.yaml", "optimizer": {"lr": 0.1}, "lr_scheduler": "StepLR"})
    with pytest.raises(InputError) as error:
        take_mixture(["--config", str(path)])
    assert [problem.key for problem in error.value.problems] == [f"{path}: optimizer", f"{path}: lr_scheduler"]


def test_all_problems_of_the_mixture_are_reported_at_once(mixture: str) -> None:
    with pytest.raises(InputError) as error:
        take_mixture(["--mixture", mixture, "--mixture.tasks.gad.head=clasification", "--mixture.sampler.name=unifrom"])
    assert [problem.key for problem in error.value.problems] == ["tasks.gad.head", "sampler.name"]


@pytest.mark.parametrize("section", ["guard", "early_stopping", "run", "model", "trainer"])
def test_a_config_file_may_have_a_single_section(section: str, tmp_path: Path) -> None:
    config = read_config(write(tmp_path / "c.yaml", {section: {}}))
    assert (config.mixture, config.rest) == (None, {section: {}})


def test_a_file_without_an_option_is_a_mixture_or_a_config_file(mixture: str, tmp_path: Path) -> None:
    found, rest = take_mixture([mixture, "--trainer.max_epochs", "1"])
    assert found is not None
    assert (found.name, rest) == ("m", ["--trainer.max_epochs=1"])
    config = write(tmp_path / "c.yaml", {"mixture": "m.yaml", "trainer": {"max_epochs": 2}})
    found, rest = take_mixture([str(config)])
    assert found is not None
    assert (found.name, json.loads(rest[1])["trainer"]) == ("m", {"max_epochs": 2})
    assert take_mixture(["none.yaml"]) == (None, ["none.yaml"])
