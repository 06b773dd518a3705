"""Batches prepared ahead are the same batches, and the thread that prepares them always ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.batching.data_module import MixtureData
from mtl.batching.prefetch import ahead
from mtl.config.loading import load_mixture
from tests import emulated


def same(item: Any) -> Any:
    return item


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_nothing_is_lost_or_reordered(items: list[int], depth: int) -> None:
    assert list(ahead(items, depth, same)) == items
    assert not threads()


def test_no_more_batches_are_made_than_may_wait() -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    batches = ahead(make(), 3, same)
    assert [next(batches) for _ in range(10)] == list(range(10))
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert not threads()
    assert len(made) <= 10 + 3 + 1  # one may be made but not yet wait


def test_an_error_is_raised_where_its_batch_is_asked_for() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("bad")

    batches = ahead(make(), 5, same)
    assert next(batches) == 1
    with pytest.raises(ValueError, match="bad"):
        next(batches)
    assert not threads()


@pytest.mark.parametrize("overrides", [[], ["tasks_per_step=all"], ["tokens_per_batch=40"]])
def test_a_device_trains_on_the_batches_that_a_cpu_trains_on(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], overrides: list[str]
) -> None:
    emulated.register()
    seen: dict[str, list[Any]] = {"cpu": [], "emulated": []}
    for name, batches in seen.items():

        def watch(module: Any, data: MixtureData, batches: list[Any] = batches) -> None:
            step = module.training_step

            def noting(batch: Any, batch_idx: int) -> Any:
                if batch_idx == 3:
                    module.stopped = {"cause"}  # batches that have been prepared with it are made again
                names = [(part.task, part.start, part.stop) for part in batch.parts]
                batches.append((names, batch.input_ids.cpu().tolist(), batch.layout.lengths.tolist()))
                return step(batch, batch_idx)

            module.training_step = noting

        train(load_mixture(toy_mixture(), overrides), accelerator=name, before=watch, limit_val_batches=0)
    assert seen["cpu"] == seen["emulated"]
    assert "cause" in {task for names, *_ in seen["cpu"][:4] for task, *_ in names}
    assert "cause" not in {task for names, *_ in seen["cpu"][4:] for task, *_ in names}
    assert len(seen["cpu"]) > 5
    assert not threads()


def test_every_tensor_of_a_batch_is_moved(toy_mixture: Callable[..., Path]) -> None:
    from mtl.training.assembly import build_data

    data = build_data(load_mixture(toy_mixture(), ["tasks_per_step=all"]))
    data.setup()
    batch = next(iter(data.val_dataloader()))
    moved = batch.to("meta")
    tensors = [moved.input_ids, *(v for v in vars(moved.layout).values() if isinstance(v, torch.Tensor))]
    tensors += [value for part in moved.parts for value in part.fields.values()]
    assert len(tensors) > 6
    assert all(tensor.is_meta for tensor in tensors)
