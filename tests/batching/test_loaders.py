"""Examples that their head draws again each time that they are put in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from mtl.batching.batch import Batch
from mtl.batching.data_module import MixtureData
from mtl.batching.loaders import TrainLoader, _Update
from mtl.batching.schedule import Step
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.training.assembly import build_data
from tests.masked_lm_models import mlm_and_risk

Write = Callable[..., Path]


@pytest.fixture
def mixture(toy_mixture: Write, tmp_path: Path) -> Callable[..., Mixture]:
    """A function that gives the mixture of a masked language model on the texts of `cause`, and of `risk`."""

    def make(**fields: Any) -> Mixture:
        return load_mixture(toy_mixture(tasks=mlm_and_risk(tmp_path), **fields))

    return make


def ready(mixture: Mixture, rank: int = 0, world: int = 1) -> MixtureData:
    data = build_data(mixture)
    data.setup()
    data.rank_and_world_size = lambda: (rank, world)  # type: ignore[method-assign]
    return data


def steps_of(data: MixtureData, task: str, epochs: int = 1) -> list[Step]:
    """The steps that train a task."""
    return [step for epoch in range(epochs) for step in data.schedule.epoch(epoch) if step[0].task == task]


def batches(data: MixtureData, steps: list[Step], accumulate: int = 1) -> list[Batch]:
    loader, found = TrainLoader(data), []
    for first in range(0, len(steps), accumulate):
        update = _Update(data, steps[first : first + accumulate])
        found += [loader._batch(step, update, ()) for step in steps[first : first + accumulate]]
    return found


def read(batch: Batch) -> list[list[int]]:
    """The ids that the encoder reads, by sequence."""
    ids = batch.input_ids.split(batch.layout.lengths.tolist())
    by_place = dict(zip(batch.layout.order.tolist(), ids, strict=True))
    return [by_place[place].tolist() for place in range(len(by_place))]


def test_a_batch_is_drawn_alike_wherever_reading_starts_and_however_steps_are_accumulated(
    mixture: Callable[..., Mixture],
) -> None:
    data = ready(mixture())
    steps = steps_of(data, "mlm")
    whole = list(map(read, batches(data, steps)))
    assert list(map(read, batches(ready(mixture()), steps[2:]))) == whole[2:]
    assert list(map(read, batches(data, steps, accumulate=3))) == whole
    assert list(map(read, batches(ready(mixture(seed=2)), steps))) != whole


def test_a_partner_and_its_prefetching_do_not_change_the_draws(mixture: Callable[..., Mixture]) -> None:
    both, alone = ready(mixture()), ready(mixture().only(["mlm"]))
    found = [list(map(read, batches(data, steps_of(data, "mlm")))) for data in (both, alone)]
    assert found[0] == found[1]


def test_another_pass_masks_the_same_texts_anew(mixture: Callable[..., Mixture]) -> None:
    data = ready(mixture())
    passes = data.schedule.batchers["mlm"].batches_per_pass
    steps = steps_of(data, "mlm", epochs=2)
    found = []
    for of_pass in (steps[:passes], steps[passes:]):
        drawn = {}
        for step, batch in zip(of_pass, batches(data, of_pass), strict=True):
            drawn |= dict(zip(data.schedule.indices(step[0]).tolist(), read(batch), strict=True))
        found.append(drawn)
    first, second = found
    assert first.keys() == second.keys()
    assert all(len(first[index]) == len(second[index]) for index in first)
    assert sum(first[index] != second[index] for index in first) > len(first) / 2


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_draw_what_one_process_draws_and_count_the_same_targets(
    world: int, mixture: Callable[..., Mixture]
) -> None:
    steps = steps_of(ready(mixture()), "mlm")
    whole = batches(ready(mixture()), steps, accumulate=2)
    by_rank = [batches(ready(mixture(), rank, world), steps, accumulate=2) for rank in range(world)]
    for place, batch in enumerate(whole):
        parts = [rank[place] for rank in by_rank]
        assert {part.parts[0].update.targets for part in parts} == {batch.parts[0].update.targets}
        shared = [ids for part in parts if part.parts[0].update.share for ids in read(part)]
        assert sorted(shared) == sorted(read(batch))


def test_the_targets_of_an_update_are_its_masked_tokens(mixture: Callable[..., Mixture]) -> None:
    data = ready(mixture())
    steps = steps_of(data, "mlm")[:4]
    for first, second in zip(*[iter(batches(data, steps, accumulate=2))] * 2, strict=True):
        masked = sum(int(batch.parts[0].fields["num_masked"].sum()) for batch in (first, second))
        assert first.parts[0].update == second.parts[0].update
        assert first.parts[0].update.targets == masked > 0


def test_the_stored_examples_are_not_changed_and_other_heads_get_them_as_they_are(
    mixture: Callable[..., Mixture],
) -> None:
    data = ready(mixture())
    before = {name: tasks["train"].examples.take(range(5)) for name, tasks in data.tasks.items()}
    for batch, step in zip(batches(data, steps_of(data, "risk")), steps_of(data, "risk"), strict=True):
        stored = data.tasks["risk"]["train"].examples.take(data.schedule.indices(step[0]))
        assert read(batch) == [example["input_ids"] for example in stored]
    batches(data, steps_of(data, "mlm"))
    assert before == {name: tasks["train"].examples.take(range(5)) for name, tasks in data.tasks.items()}


def test_a_resumed_training_ends_with_the_same_weights(
    mixture: Callable[..., Mixture], train: Callable[..., Any], tmp_path: Path
) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "within.ckpt")

    whole = train(mixture(), limit_val_batches=0, callbacks=[Save()]).weights
    resumed = train(mixture(), limit_val_batches=0, ckpt_path=tmp_path / "within.ckpt").weights
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
