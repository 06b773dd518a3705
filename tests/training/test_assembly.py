import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.training.assembly import build_data, build_heads, build_module

Write = Callable[..., Path]


def head_weights(mixture: Any, task: str) -> dict[str, torch.Tensor]:
    return dict(build_heads(mixture)[0][task].state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_partner_does_not_change_the_initial_weights_of_a_head(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture())
    for task in mixture.tasks:
        assert same(head_weights(mixture, task), head_weights(mixture.only([task]), task))


def test_another_task_or_another_seed_gives_a_head_other_initial_weights(toy_mixture: Write) -> None:
    path = toy_mixture()
    mixture = load_mixture(path)
    cause = head_weights(mixture, "cause")
    assert not same(cause, head_weights(mixture, "bleed"))
    assert not same(cause, head_weights(load_mixture(path, ["seed=2"]), "cause"))


def test_building_does_not_change_the_global_random_state(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_heads(mixture)
    assert torch.equal(torch.rand(3), expected)


def test_the_tokenizer_holds_the_tokens_of_all_heads(toy_mixture: Write) -> None:
    path = toy_mixture()
    data = {"reader": "jsonl", "path": "nowhere"}
    options = {"pairs": [["Chemical", "Disease"]], "negative": "none"}
    task = {"head": "relation", "labels": ["none", "CID"], "options": options, "data": data}
    mixture = load_mixture(path, [f"tasks.cid={task}"])
    heads, tokenizer = build_heads(mixture)
    tokens = heads["cid"].special_tokens()
    assert tokens
    assert all(tokenizer.tokenize(token) == [token] for token in tokens)
    module = build_module(mixture)
    assert module.encoder.config.vocab_size == len(tokenizer)


def test_a_length_above_the_encoder_limit_is_a_problem_of_every_such_task(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(), ["tasks.drugs.max_length=131", "tasks.risk.max_length=900"])
    with pytest.raises(InputError) as caught:
        build_heads(mixture)
    assert [problem.key for problem in caught.value.problems] == ["tasks.drugs.max_length", "tasks.risk.max_length"]
    assert all("130" in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("build", [build_heads, build_module, build_data])
def test_a_missing_encoder_is_an_input_error(build: Callable[..., Any], toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(), ["encoder.name=./nowhere"])
    with pytest.raises(InputError, match=r"\./nowhere") as caught:
        build(mixture)
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]


def test_module_and_data_agree_on_heads(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture())
    module, data = build_module(mixture), build_data(mixture)
    assert list(module.heads) == list(data.heads) == list(mixture.tasks)
    assert all(same(dict(module.head(task).state_dict()), dict(data.heads[task].state_dict())) for task in data.heads)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": math.inf, "head_learning_rate": -1.0},
        {"warmup": 1.5, "weight_decay": -0.1},
        {"schedule": "triangular"},
        {"learing_rate": 1e-4},
    ],
)
def test_every_invalid_option_of_the_optimisation_is_named_by_its_key(
    options: dict[str, Any], toy_mixture: Write
) -> None:
    with pytest.raises(InputError) as caught:
        build_module(load_mixture(toy_mixture()), **options)
    assert {problem.key for problem in caught.value.problems} == {f"model.{name}" for name in options}
