from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.training.assembly import build_heads, build_module
from mtl.training.checkpoints import located
from mtl.training.matching_heads import matching_tasks
from tests.trained_runs import saved_run

Tiny = Callable[[str], Path]
Run = tuple[Any, Any]
DATA = {"reader": "jsonl", "path": "rows"}
TASKS: dict[str, Any] = {
    "topic": {"head": "classification", "labels": ["a", "b"], "data": DATA},
    "pairs": {
        "head": "relation",
        "labels": ["x", "none"],
        "options": {"negative": "none", "entity_types": ["Drug"]},
        "data": DATA,
    },
    "mlm": {"head": "masked_lm", "data": DATA},
}


def mixture(*tasks: str, **fields: Any) -> Mixture:
    return load_mixture({"name": "m", "tasks": {name: TASKS[name] for name in tasks}, **fields})


def started(run: Path, *tasks: str, heads: str = "none", **fields: Any) -> Mixture:
    return mixture(*tasks, encoder={"max_length": 48}, init={"run": str(run), "heads": heads}, **fields)


@pytest.fixture
def run(tmp_path: Path, tiny_encoder: Tiny) -> Run:
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    return saved_run(tmp_path / "runs", mixture("pairs", "mlm", encoder=encoder))


def keys(error: Any) -> list[str]:
    return [problem.key for problem in error.value.problems]


def test_the_encoder_and_its_tokens_are_those_of_the_run_and_the_heads_are_new(run: Run) -> None:
    folder, trained = run
    own = started(folder.path, "topic", "mlm")
    built = build_heads(own)
    module = build_module(own, built=built, learning_rate=1e-3)
    theirs = trained.encoder.state_dict()
    assert module.encoder.state_dict().keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in module.encoder.state_dict().items())
    added = {token: index for token, index in built[1].get_added_vocab().items() if "DRUG" in token.upper()}
    assert added
    assert max(added.values()) < len(theirs["model.embeddings.word_embeddings.weight"])
    assert module.head("mlm").first_weights == "random"
    assert not torch.equal(module.head("mlm").transform[0].weight, trained.head("mlm").transform[0].weight)


def test_a_new_token_gets_a_row_of_its_own_below_those_of_the_run(tmp_path: Path, tiny_encoder: Tiny) -> None:
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    folder, trained = saved_run(tmp_path / "runs", mixture("mlm", encoder=encoder))
    own = started(folder.path, "mlm", "pairs", heads="matching")
    module = build_module(own, learning_rate=1e-3)
    before, after = (one.encoder.token_embeddings.weight for one in (trained, module))
    assert len(after) > len(before)
    assert torch.equal(after[: len(before)], before)
    assert torch.equal(module.head("mlm").bias[: len(before)], trained.head("mlm").bias)
    assert not module.head("mlm").bias[len(before) :].any()


def test_matching_heads_start_from_those_of_the_run_and_others_anew(run: Run) -> None:
    folder, trained = run
    module = build_module(started(folder.path, "topic", "pairs", "mlm", heads="matching"), learning_rate=1e-3)
    alone = build_module(started(folder.path, "topic"), learning_rate=1e-3)
    for name in ("pairs", "mlm"):
        own, theirs = module.head(name).state_dict(), trained.head(name).state_dict()
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[key], theirs[key]) for key in own)
        assert module.head(name).first_weights == f"run: task {name}"
    own, theirs = (one.head("topic").state_dict() for one in (module, alone))
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_a_checkpoint_of_the_run_can_be_named(run: Run) -> None:
    folder, trained = run
    own = started(next(folder.checkpoints.iterdir()), "topic")
    weight = build_module(own, learning_rate=1e-3).encoder.token_embeddings.weight
    assert torch.equal(weight, trained.encoder.token_embeddings.weight)


def test_heads_that_do_not_match_are_named_at_once(run: Run) -> None:
    folder, _ = run
    with pytest.raises(InputError) as caught:
        matching_tasks(started(folder.path, "topic", heads="matching"))
    assert keys(caught) == ["init.heads"]
    other = {"topic": TASKS["topic"], "mlm": TASKS["topic"], "pairs": {**TASKS["pairs"], "labels": ["none", "x"]}}
    with pytest.raises(InputError) as caught:
        matching_tasks(
            load_mixture({"name": "m", "tasks": other, "init": {"run": str(folder.path), "heads": "matching"}})
        )
    assert keys(caught) == ["tasks.mlm.head", "tasks.mlm.labels", "tasks.pairs.labels"]
    wider = {"pairs": {**TASKS["pairs"], "options": {**TASKS["pairs"]["options"], "hidden_layer": 4}}}
    fields = {"name": "m", "tasks": wider, "encoder": {"max_length": 48}}
    with pytest.raises(InputError) as caught:
        build_module(load_mixture({**fields, "init": {"run": str(folder.path), "heads": "matching"}}))
    assert keys(caught) == ["tasks.pairs.options"]


def test_a_run_that_cannot_be_started_from_is_refused(run: Run, tmp_path: Path) -> None:
    folder, _ = run
    for path in (folder.path.parent, folder.path / "run.json", tmp_path / "nothing"):
        with pytest.raises(InputError):
            build_heads(started(path, "topic"))
    (file,) = folder.checkpoints.iterdir()
    copy = tmp_path / "copies" / "m" / "run"
    shutil.copytree(folder.path, copy)
    (copy / "checkpoints" / file.name).write_bytes(b"damaged")
    with pytest.raises(InputError):
        build_heads(started(copy, "topic"))
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError):
        build_heads(started(copy, "topic"))


def test_the_located_mixture_of_a_run_needs_no_other_run(run: Run) -> None:
    folder, _ = run
    own = started(folder.path, "topic")
    checkpoint = next(folder.checkpoints.iterdir())
    assert located(own, checkpoint).init is None
    assert located(own, checkpoint).encoder.name == str(folder.encoder)
