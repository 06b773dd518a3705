"""The ceiling on a GPU: a plain loop that replays the whole update of every batch as a CUDA graph.

The graph of a batch holds its forward and backward pass, clipping and AdamW, so that an update costs one launch and no
filling. Training cannot have this, since it meets every batch once: here each is captured before the timed updates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from contestants import batch_loss, encoder_size, groups_of, our_batches
from meter import LEARNING_RATE, Meter, seeded
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtl.batching.batch import Batch
    from mtl.training.module import MultiTaskModule

Update = Callable[[], Tensor]
"""Makes an update and returns its loss, a scalar."""


def bare_with_graphs(options: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """Trains on the batches of the timed updates of `ours` twice and times the second pass.

    A graph is slower the first time that it is launched. Without a GPU, all updates are computed eagerly.

    Raises:
        ValueError: A loss is not finite.
    """
    from mtl.training.assembly import build_module

    mixture = seeded(options)
    timed = our_batches(mixture, options.warmup + options.updates)[options.warmup :]
    batches = [batch.to(options.device) for batch in timed]
    module = build_module(mixture, learning_rate=LEARNING_RATE).to(options.device).train()
    losses = train(module, batches, meter, precision=options.precision)
    if not losses.isfinite().all():
        raise ValueError(f"{int((~losses.isfinite()).sum())} of {len(losses)} losses are not finite")
    return {
        "precision": options.precision,
        "optimizer": "AdamW, fused",
        **encoder_size(module),
        **meter.figures(),
        "loss": float(losses.mean()),
    }


def train(module: MultiTaskModule, batches: Sequence[Batch], meter: Meter, *, precision: str) -> Tensor:
    """Trains twice on some batches and returns the losses of the second pass [updates].

    Args:
        module: The model, on its device and in training mode.
        batches: The batches, on the same device.
        meter: Measures the second pass.
        precision: Lightning's name for the precision.
    """
    from mtl.training.optimisation import schedule

    rate = torch.zeros((), device=module.device)
    optimizer = optimizer_of(module, rate)
    updates: list[Update] = [partial(update, module, optimizer, batch, precision=precision) for batch in batches]
    if rate.is_cuda:
        warm_up(module, batches, precision=precision)
        pool = torch.cuda.graph_pool_handle()  # graphs that run one after the other can share their memory
        updates = [captured(eager, pool) for eager in updates]
    factor = schedule("linear", warmup=round(0.2 * len(batches)), total=2 * len(batches))
    losses: list[Tensor] = []
    meter.begin(len(batches), len(batches))
    for number in range(2 * len(batches)):
        batch, replay = batches[number % len(batches)], updates[number % len(batches)]
        rate.fill_(LEARNING_RATE * factor(number))
        losses.append(replay())
        meter.count(module.encoder, (batch.input_ids, batch.layout), {})
        meter.update_done()
    return torch.stack(losses[len(batches) :])


def optimizer_of(module: MultiTaskModule, rate: Tensor) -> torch.optim.AdamW:
    """AdamW as in `ours`, with a learning rate that graphs read from memory.

    Its moments exist before the first update: those that a graph makes would be zero again in each replay.
    """
    groups = [{**group, "lr": rate} for group in groups_of(module)]
    optimizer = torch.optim.AdamW(groups, fused=True, capturable=rate.is_cuda)
    for parameter in (parameter for group in groups for parameter in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # at the rate 0, so no weight moves
    optimizer.zero_grad()
    for state in optimizer.state.values():
        state["step"].zero_()
    return optimizer


def update(module: MultiTaskModule, optimizer: torch.optim.Optimizer, batch: Batch, *, precision: str) -> Tensor:
    """Makes one update and returns its loss."""
    optimizer.zero_grad()
    loss = differentiated(module, batch, precision=precision)
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    return loss


def differentiated(module: MultiTaskModule, batch: Batch, *, precision: str) -> Tensor:
    """The loss of an update, after its backward pass."""
    # A graph must not read casts of the weights that autocast keeps.
    device, in_bf16 = module.device.type, precision == "bf16-mixed"
    with torch.autocast(device, dtype=torch.bfloat16, enabled=in_bf16, cache_enabled=False):
        loss = batch_loss(module, batch)
    loss.backward()
    return loss.detach()


def warm_up(module: MultiTaskModule, batches: Sequence[Batch], *, precision: str) -> None:
    """One pass of each combination of tasks, on a stream of its own as PyTorch asks for before captures."""
    of_tasks = {tuple(part.task for part in batch.parts): batch for batch in batches}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for batch in of_tasks.values():
            differentiated(module, batch, precision=precision)
            module.zero_grad()
    torch.cuda.current_stream().wait_stream(stream)


def captured(eager: Update, pool: Any) -> Update:
    """The same update as a CUDA graph, whose loss is that of the latest replay."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        loss = eager()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay
