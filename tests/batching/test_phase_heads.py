"""Trainings whose options, rates and loss weights change at exact updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from mtl.batching.phase_heads import PhaseHeads
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.training.assembly import build_heads
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
    of_phase = PhaseHeads(made, heads, tokenizer)
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
