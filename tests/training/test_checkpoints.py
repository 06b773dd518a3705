import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.commands.arguments import import_modules
from mtl.config.loading import parse_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.training.checkpoints import check_checkpoint, checkpoint_mixture, located, read_checkpoint
from mtl.training.hyperparameters import Optimisation
from mtl.training.module import CHECKPOINT_KEY


def task(**changes: Any) -> dict[str, Any]:
    data = {"reader": "jsonl", "path": "nowhere"}
    return {"head": "classification", "data": data, "labels": ["y", "n"], **changes}


def mixture(**changes: Any) -> Mixture:
    return parse_mixture({"name": "m", "tasks": {"a": task(), "b": task()}, **changes})


OPTIONS = Optimisation(learning_rate=5e-5)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({CHECKPOINT_KEY: {"mixture": mixture().to_dict(), "model": asdict(OPTIONS.resolved())}}, path)
    return path


def problems(checkpoint: Path, other: Mixture) -> list[str]:
    with pytest.raises(InputError) as caught:
        check_checkpoint(checkpoint, other)
    assert caught.value.problems[0].key == str(checkpoint)
    return [problem.key for problem in caught.value.problems[1:]]


def test_a_checkpoint_gives_back_its_mixture(checkpoint: Path) -> None:
    assert checkpoint_mixture(checkpoint) == mixture()


def test_what_does_not_change_the_weights_may_differ(checkpoint: Path) -> None:
    tasks = {
        "b": task(loss_weight=3.0, data={"reader": "jsonl", "path": "elsewhere"}),
        "a": task(options={"metrics": ["auroc"]}, primary_metric="mcc"),
    }
    check_checkpoint(checkpoint, mixture(name="other", seed=9, batch_size=4, tasks=tasks))


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"encoder": {"name": "other"}}, ["encoder.name"]),
        ({"encoder": {"num_layers": 2}}, ["encoder.num_layers"]),
        ({"tasks": {"a": task()}}, ["tasks.b"]),
        ({"tasks": {"a": task(), "b": task(), "c": task()}}, ["tasks.c"]),
        ({"tasks": {"a": task(labels=["n", "y"]), "b": task()}}, ["tasks.a.labels"]),
        ({"tasks": {"a": task(options={"hidden_layer": 4}), "b": task()}}, ["tasks.a.options"]),
        ({"tasks": {"a": task(), "b": task(head="multilabel")}}, ["tasks.b.head"]),
    ],
)
def test_each_difference_is_named(checkpoint: Path, changes: dict[str, Any], keys: list[str]) -> None:
    assert problems(checkpoint, mixture(**changes)) == keys


def test_all_differences_are_named_at_once(checkpoint: Path) -> None:
    changed = task(head="multilabel", labels=["y", "n", "x"], options={"hidden_layer": 4})
    other = mixture(encoder={"name": "other", "num_layers": 3}, tasks={"a": changed, "c": task()})
    assert problems(checkpoint, other) == [
        "encoder.name",
        "encoder.num_layers",
        "tasks.a.head",
        "tasks.a.labels",
        "tasks.a.options",
        "tasks.b",
        "tasks.c",
    ]


def test_a_file_that_is_not_a_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"checkpoint \(\w+Error\)") as caught:
        read_checkpoint(tmp_path / "text.ckpt")
    assert [problem.key for problem in caught.value.problems] == [str(tmp_path / "text.ckpt")]


def test_a_checkpoint_of_another_program_is_an_input_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match="framework") as caught:
        read_checkpoint(tmp_path / "foreign.ckpt")
    assert [problem.key for problem in caught.value.problems] == [str(tmp_path / "foreign.ckpt")]


def test_the_encoder_in_the_run_folder_replaces_the_original(checkpoint: Path) -> None:
    original = mixture(encoder={"name": "gone", "num_layers": 2, "revision": "abc", "max_length": 64})
    assert located(original, checkpoint) == original
    folder = checkpoint.parent.parent / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    encoder = located(original, checkpoint).encoder
    assert (encoder.name, encoder.num_layers, encoder.revision, encoder.max_length) == (str(folder), None, None, 64)


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"seed": 9}, ["seed"]),
        ({"batch_size": 4}, ["batch_size"]),
        ({"sampler": {"name": "temperature", "temperature": 3.0}}, ["sampler.name", "sampler.temperature"]),
        ({"tasks": {"a": task(loss_weight=3.0), "b": task()}}, ["tasks.a.loss_weight"]),
        ({"encoder": {"freeze_layers": 1}}, ["encoder.freeze_layers"]),
        ({"leakage": {"documents": "exclude", "texts": "error"}}, ["leakage.documents"]),
    ],
)
def test_resuming_is_refused_if_it_would_change_batches_losses_or_weights(
    checkpoint: Path, changes: dict[str, Any], keys: list[str]
) -> None:
    torch.save({**read_checkpoint(checkpoint), "optimizer_states": []}, checkpoint.with_name("last.ckpt"))
    with pytest.raises(InputError) as caught:
        check_checkpoint(checkpoint.with_name("last.ckpt"), mixture(**changes), resumes=OPTIONS)
    assert [problem.key for problem in caught.value.problems[1:]] == keys


def test_excluded_documents_are_counted_and_not_named(checkpoint: Path) -> None:
    torch.save({**read_checkpoint(checkpoint), "optimizer_states": []}, checkpoint.with_name("last.ckpt"))
    data = {**task()["data"], "exclude": ["Anna Kovacs 1", "Anna Kovacs 2"]}
    with pytest.raises(InputError) as caught:
        check_checkpoint(
            checkpoint.with_name("last.ckpt"), mixture(tasks={"a": task(data=data), "b": task()}), resumes=OPTIONS
        )
    (problem,) = caught.value.problems[1:]
    assert problem.key == "tasks.a.data.exclude"
    assert re.findall(r"\d+", problem.message) == ["0", "2"]
    assert "Kovacs" not in str(problem)


def test_resuming_is_allowed_if_only_names_paths_selection_and_warnings_differ(checkpoint: Path) -> None:
    torch.save({**read_checkpoint(checkpoint), "optimizer_states": []}, checkpoint.with_name("last.ckpt"))
    tasks = {"a": task(data={"reader": "jsonl", "path": "elsewhere"}), "b": task()}
    other = mixture(name="other", evaluation={"select": "worst"}, tasks=tasks, leakage={"documents": "warn"})
    check_checkpoint(checkpoint.with_name("last.ckpt"), other, resumes=OPTIONS)


def test_resuming_is_refused_with_rates_that_the_optimiser_state_would_override(checkpoint: Path) -> None:
    content = read_checkpoint(checkpoint)
    last = checkpoint.with_name("last.ckpt")
    torch.save({**content, "optimizer_states": []}, last)
    check_checkpoint(last, mixture(), resumes=OPTIONS)
    check_checkpoint(last, mixture())  # an evaluation moves no weight
    with pytest.raises(InputError) as caught:
        check_checkpoint(last, mixture(), resumes=replace(OPTIONS, learning_rate=1e-3, schedule="cosine"))
    assert [problem.key for problem in caught.value.problems[1:]] == [
        "model.learning_rate",
        "model.head_learning_rate",  # which follows the encoder's
        "model.schedule",
    ]


# --- a checkpoint is data ---------------------------------------------------------------------------------------------


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("place", ["whole", "mixture", "state"])
def test_a_checkpoint_with_code_is_an_input_error_and_does_not_run(place: str, checkpoint: Path) -> None:
    ran = checkpoint.parent / "ran"
    content = torch.load(checkpoint, weights_only=True)
    changed = {
        "whole": Payload(ran),
        "mixture": {**content, CHECKPOINT_KEY: {**content[CHECKPOINT_KEY], "mixture": Payload(ran)}},
        "state": {**content, "state_dict": {"weight": Payload(ran)}},
    }
    torch.save(changed[place], checkpoint)
    with pytest.raises(InputError) as caught:
        checkpoint_mixture(checkpoint)
    assert [problem.key for problem in caught.value.problems] == [str(checkpoint)]
    assert not ran.exists()


@pytest.mark.parametrize("own", [None, [], {"mixture": 3}, {}])
def test_a_checkpoint_without_a_mixture_is_an_input_error(own: Any, checkpoint: Path) -> None:
    torch.save({CHECKPOINT_KEY: own}, checkpoint)
    with pytest.raises(InputError) as caught:
        checkpoint_mixture(checkpoint)
    assert [problem.key for problem in caught.value.problems] == [str(checkpoint)]


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": {"a": {"head": "lab.evil.Head"}}},
        {"tasks": {"a": {"data": {"reader": "lab.evil.Reader", "path": "x"}}}},
        {"sampler": {"name": "lab.evil.Sampler"}},
        {"balancing": {"name": "lab.evil.Balancing"}},
    ],
)
def test_a_class_that_only_the_checkpoint_names_is_not_imported(
    changes: dict[str, Any], checkpoint: Path, lab: Callable[..., None]
) -> None:
    lab(evil=f"open({str(checkpoint.parent / 'ran')!r}, 'w').close()")
    fields = mixture().to_dict()
    tasks = {name: {**fields["tasks"][name], **task} for name, task in changes.get("tasks", {}).items()}
    fields = {**fields, **changes, "tasks": {**fields["tasks"], **tasks}}
    torch.save({CHECKPOINT_KEY: {"mixture": fields, "model": {}}}, checkpoint)
    with pytest.raises(InputError) as caught:
        checkpoint_mixture(checkpoint)
    (problem,) = caught.value.problems
    assert problem.key == str(checkpoint)
    assert "--import lab.evil" in problem.suggestion
    assert not (checkpoint.parent / "ran").exists()


def test_a_class_whose_module_the_user_imports_is_used(checkpoint: Path, lab: Callable[..., None]) -> None:
    lab(heads="from heads.classification import Classification\nclass Ours(Classification):\n    '''Ours.'''\n")
    fields = mixture().to_dict()
    fields["tasks"]["a"]["head"] = "lab.heads.Ours"
    torch.save({CHECKPOINT_KEY: {"mixture": fields, "model": {}}}, checkpoint)
    import_modules(["lab.heads"])
    assert checkpoint_mixture(checkpoint).tasks["a"].head == "lab.heads.Ours"
    with pytest.raises(InputError) as caught:
        import_modules(["lab.none", "lab.heads"])
    assert [problem.key for problem in caught.value.problems] == ["--import"]
