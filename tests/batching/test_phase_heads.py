"""Trainings whose options, rates and loss weights change at exact updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from heads import Head
from mtl.batching.phase_heads import PhaseHeads
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.training.assembly import build_data, build_heads, build_module
from tests.masked_lm_models import mlm_and_risk

Write = Callable[..., Path]
Train = Callable[..., Any]

BOUNDARY = 4
RATE = {"from_step": BOUNDARY, "tasks.mlm.options.rate": 0.9}
CURRICULUM = [
    {**RATE, "tasks.mlm.options.selection": "exact", "tasks.risk.loss_weight": 0.5},
    {"from_step": 6, "tasks.risk.rate": 0},
]


@pytest.fixture
def mixture(toy_mixture: Write, tmp_path: Path) -> Callable[..., Mixture]:
    """A function that gives the mixture of a masked language model and a regression, with a curriculum."""

    def make(*curriculum: dict[str, Any], **fields: Any) -> Mixture:
        sampler = {"name": "weighted", "steps_per_epoch": 12}
        return load_mixture(
            toy_mixture(tasks=mlm_and_risk(tmp_path), curriculum=list(curriculum), sampler=sampler, **fields)
        )

    return make


class Seen(NamedTuple):
    """What a batch was trained with."""

    update: int
    task: str
    masked: float
    weights: dict[str, float]


class Watch:
    """Records every batch of a training."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __call__(self, module: Any, data: Any) -> None:
        step = module.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            for part in batch.parts:
                masked = part.fields["num_masked"].sum().item() if part.task == "mlm" else 0
                share = masked / (len(batch.input_ids) - 2 * len(batch))
                self.seen.append(Seen(module.global_step, part.task, share, dict(module.balancing.weights)))
            return step(batch, batch_idx)

        module.training_step = training_step


def test_each_update_has_the_head_of_its_phase(mixture: Callable[..., Mixture]) -> None:
    made = mixture(RATE, {"from_step": 9, "tasks.mlm.options.unit": "word", "tasks.risk.rate": 3})
    heads, tokenizer = build_heads(made)
    of_phase = PhaseHeads.of(made, heads, tokenizer)
    found = [of_phase.at("mlm", update) for update in (0, 3, 4, 8, 9, 100)]
    assert [(head.masking.rate, head.masking.unit) for head in found] == [
        *[(0.15, "token")] * 2,
        *[(0.9, "token")] * 2,
        *[(0.9, "word")] * 2,
    ]
    assert found[0] is found[1] is heads["mlm"]
    assert all(of_phase.at("risk", update) is heads["risk"] for update in (0, 4, 9))


@pytest.mark.parametrize("accumulate", [1, 5])  # the last update of an epoch of 12 steps has 2 steps
def test_everything_changes_at_the_exact_update(accumulate: int, mixture: Callable[..., Mixture], train: Train) -> None:
    watch, plain = Watch(), Watch()
    options = {"max_epochs": 4, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    train(mixture(*CURRICULUM), before=watch, **options)
    train(mixture(), before=plain, **options)
    assert max(seen.update for seen in watch.seen) == 4 * math.ceil(12 / accumulate) - 1
    assert [seen for seen in watch.seen if seen.update < BOUNDARY] == [
        seen for seen in plain.seen if seen.update < BOUNDARY
    ]
    for seen in watch.seen:
        after = seen.update >= BOUNDARY
        assert seen.weights == {"mlm": 1.0, "risk": 0.5 if after else 1.0}
        if seen.task == "mlm":
            assert (seen.masked > 0.7) == after
        else:
            assert seen.update < 6
    assert {seen.task for seen in watch.seen if seen.update < 6} == {"mlm", "risk"}
    assert any(seen.task == "risk" and seen.update >= 6 for seen in plain.seen)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_resumed_before_at_and_after_a_boundary_ends_with_the_same_weights(
    accumulate: int, mixture: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    saved = (BOUNDARY - 1, BOUNDARY, BOUNDARY + 1)

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
            if trainer.global_step in saved and (index + 1) % accumulate == 0:
                trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    whole = train(mixture(*CURRICULUM), callbacks=[Save()], **options).weights
    for step in saved:
        resumed = train(mixture(*CURRICULUM), ckpt_path=tmp_path / f"{step}.ckpt", **options).weights
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items()), step
    other = train(mixture(CURRICULUM[1]), **options).weights
    assert not all(torch.equal(value, other[name]) for name, value in whole.items())


def test_a_step_of_several_tasks_leaves_out_those_without_a_rate(
    mixture: Callable[..., Mixture], train: Train, toy_mixture: Write, tmp_path: Path
) -> None:
    made = mixture({"from_step": 2, "tasks.risk.rate": 0})
    third = made.tasks["risk"].model_copy(update={"loss_weight": 2.0})
    three = made.model_copy(update={"tasks": {**made.tasks, "other": third}, "tasks_per_step": 2})
    watch = Watch()
    train(three, before=watch, max_epochs=1, limit_val_batches=0)
    tasks = [{seen.task for seen in watch.seen if seen.update == update} for update in range(12)]
    assert any("risk" in found for found in tasks[:2])
    assert tasks[2:] == [{"mlm", "other"}] * 10


def test_a_training_that_ends_before_a_change_is_refused(mixture: Callable[..., Mixture], train: Train) -> None:
    with pytest.raises(InputError) as error:
        train(mixture(RATE), max_steps=BOUNDARY)
    assert [problem.key for problem in error.value.problems] == ["curriculum.0.from_step"]
    train(mixture(RATE), max_steps=BOUNDARY + 1, limit_val_batches=0)


SUPERVISED = {
    "tasks.cause.options.class_weights": {"yes": 3.0},
    "tasks.cause.options.dropout": 0.5,
    "tasks.bleed.options.class_weights": {"no": 2.0},
    "tasks.drugs.options.dropout": 0.4,
}
"""Options that `forward` and `loss` read; `bleed` trains on the batches of `cause`."""

OPTIONS: dict[str, Any] = {"max_epochs": 2, "limit_val_batches": 0}


@pytest.fixture
def supervised(toy_mixture: Write) -> Callable[..., Mixture]:
    """A function that gives the mixture of four supervised tasks; the head of `cause` has layers of the encoder."""

    def make(*curriculum: dict[str, Any], **fields: Any) -> Mixture:
        sampler = {"name": "weighted", "steps_per_epoch": 8 if fields else 12}
        made = load_mixture(toy_mixture(curriculum=list(curriculum), sampler=sampler, **fields))
        pooled = made.tasks["cause"].model_copy(update={"options": {"pooling": "pooler", "hidden_layer": 8}})
        return made.model_copy(update={"tasks": {**made.tasks, "cause": pooled}})

    return make


def with_options(mixture: Mixture, changes: dict[str, Any]) -> Mixture:
    """The mixture with other options, without a curriculum."""
    tasks = dict(mixture.tasks)
    for key, value in changes.items():
        _, name, _, option = key.split(".")
        tasks[name] = tasks[name].model_copy(update={"options": {**tasks[name].options, option: value}})
    return mixture.model_copy(update={"tasks": tasks, "curriculum": ()})


def are_equal(weights: dict[str, Any], others: dict[str, Any]) -> bool:
    assert weights.keys() == others.keys()
    return all(torch.equal(value, others[name]) for name, value in weights.items())


class SaveAt(pl.Callback):
    """Saves a checkpoint after some numbers of updates.

    Args:
        folder: Where to save ``N.ckpt``.
        steps: The numbers.
    """

    def __init__(self, folder: Path, *steps: int) -> None:
        self._folder, self._steps = folder, steps

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step in self._steps and (index + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self._folder / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize(
    ("accumulate", "fields"), [(1, {}), (2, {}), (1, {"tasks_per_step": "all"})], ids=["plain", "accumulated", "mixed"]
)
def test_a_training_whose_options_change_equals_two_trainings_by_hand(
    accumulate: int, fields: dict[str, Any], supervised: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    options = {**OPTIONS, "accumulate_grad_batches": accumulate}
    plain = supervised(**fields)
    first = train(plain, callbacks=[SaveAt(tmp_path, BOUNDARY)], **options).weights
    by_hand = train(with_options(plain, SUPERVISED), ckpt_path=tmp_path / f"{BOUNDARY}.ckpt", **options).weights
    whole = train(supervised({"from_step": BOUNDARY, **SUPERVISED}, **fields), **options).weights
    assert are_equal(whole, by_hand)
    changed = {name.split(".")[1] for name, weight in whole.items() if not torch.equal(weight, first[name])}
    assert changed >= {"cause", "bleed", "drugs"}


def test_changed_options_resume_exactly_before_at_and_after_a_boundary(
    supervised: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    steps = (BOUNDARY - 1, BOUNDARY, BOUNDARY + 1)
    mixture = supervised({"from_step": BOUNDARY, **SUPERVISED})
    options = {**OPTIONS, "max_epochs": 1}
    whole = train(mixture, callbacks=[SaveAt(tmp_path, *steps)], **options).weights
    for step in steps:
        assert are_equal(whole, train(mixture, ckpt_path=tmp_path / f"{step}.ckpt", **options).weights), step


def test_options_that_change_back_and_one_at_step_0(supervised: Callable[..., Mixture], train: Train) -> None:
    plain = supervised()
    changed = with_options(plain, SUPERVISED)
    start = supervised({"from_step": 0, **SUPERVISED})
    back = dict.fromkeys(SUPERVISED, 0.1) | {key: None for key in SUPERVISED if key.endswith("class_weights")}
    options = {**OPTIONS, "max_epochs": 1}
    assert are_equal(train(start, **options).weights, train(changed, **options).weights)
    nothing = supervised({"from_step": 2, **back})
    assert are_equal(train(nothing, **options).weights, train(plain, **options).weights)


def test_evaluations_use_the_options_at_the_start(supervised: Callable[..., Mixture], train: Train) -> None:
    found = train(supervised({"from_step": 2, **SUPERVISED}), max_epochs=1)
    assert found.module.optimisation is not None
    seen = {name: result.scores for name, result in found.module.results["dev"].items()}
    for changes, is_same in ((), True), (SUPERVISED, False):
        made = with_options(supervised(), dict(changes))
        module = build_module(made, weights=False)
        module.load_state_dict(found.weights)
        found.trainer.validate(module, datamodule=build_data(made), verbose=False)
        losses = {name: result.scores["loss"] for name, result in module.results["dev"].items()}
        assert (losses == {name: scores["loss"] for name, scores in seen.items()}) == is_same
        assert {name: scores["loss"] for name, scores in seen.items() if name == "risk"} == {"risk": losses["risk"]}


def test_what_is_optimised_and_saved_are_the_tasks_own_heads(
    supervised: Callable[..., Mixture], train: Train
) -> None:
    found = train(supervised({"from_step": 2, **SUPERVISED}), max_epochs=1, limit_val_batches=0)
    own, other = (found.module._phase_heads.at("cause", update) for update in (0, 2))
    assert own is found.module.head("cause")
    assert other is not own
    assert dict(other.named_parameters()).keys() == dict(own.named_parameters()).keys()
    assert all(weight is other.get_parameter(name) for name, weight in own.named_parameters())
    assert found.weights.keys() == build_module(supervised(), weights=False).state_dict().keys()


def test_an_option_that_changes_shapes_is_refused(supervised: Callable[..., Mixture]) -> None:
    plain = supervised()
    heads, tokenizer = build_heads(plain)
    wider, _ = build_heads(with_options(plain, {"tasks.drugs.options.hidden_layer": 3}))
    changed = PhaseHeads(heads, [(3, {"drugs": wider["drugs"]})])
    with pytest.raises(ValueError, match="drugs"):
        changed.share_weights(torch.device("cpu"))


def test_cached_examples_do_not_depend_on_options_that_may_change(
    supervised: Callable[..., Mixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = supervised()
    data = build_data(plain)
    data.setup()
    monkeypatch.setattr(Head, "encode", None)
    for cls in {type(head) for head in data.heads.values()}:
        monkeypatch.setattr(cls, "encode", None)
    again = build_data(with_options(plain, SUPERVISED))
    again.setup()
    assert {name: len(splits["train"].examples) for name, splits in again.tasks.items()} == {
        name: len(splits["train"].examples) for name, splits in data.tasks.items()
    }
