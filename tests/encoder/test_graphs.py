"""The rooms of CUDA graphs on a CPU, with plain functions instead of graphs; `gpu.py` checks real ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl.config.mixture import EncoderSpec
from mtl.encoder import graphs, packed_attention
from mtl.encoder.graphs import EncoderGraphs, Places, Room, kernel_obstacle, obstacle
from mtl.encoder.model import Encoder
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from tests import flash_kernel
from tests.tiny_sizes import PACKED

Tiny = Callable[[str], Path]
CPU = torch.device("cpu")
BATCHES = ([5, 60, 1, 17], [128, 128], [3], [40] * 17, [100, 99, 1, 100] * 4)


class Captures:
    """Counts the captures, and gives back the module itself."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, module: nn.Module, samples: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        self.number += 1
        shapes = [sample.shape for sample in samples]

        def replay(*arguments: Tensor) -> Tensor:
            assert [argument.shape for argument in arguments] == shapes
            states: Tensor = module(*arguments)
            return states

        return replay


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel for sequences of different lengths that runs on a CPU, for what graphs compute."""
    monkeypatch.setattr(packed_attention, "_has_kernel", lambda q, layout, window: isinstance(layout, Places))
    flash_kernel.install(monkeypatch)


def load(folder: Path) -> Encoder:
    spec = EncoderSpec(name=str(folder), dropout=0.0)
    return load_encoder(spec, load_tokenizer(spec), seed=0)


def passed(encoder: Encoder, lengths: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """The states of a batch and the gradients of the weights."""
    random = np.random.default_rng(len(lengths))
    layout = Layout(lengths)
    ids = layout.packed([random.integers(5, 60, length).tolist() for length in lengths])
    types = layout.packed([[int(place > 2) for place in range(length)] for length in lengths])
    encoder.zero_grad()
    states = encoder(ids, layout, types)
    (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("family", PACKED)
def test_a_batch_in_a_room_has_the_states_and_gradients_of_the_batch_alone(tiny_encoder: Tiny, family: str) -> None:
    encoder = load(tiny_encoder(family))
    expected = [passed(encoder, lengths) for lengths in BATCHES]
    captures = Captures()
    encoder.use_graphs(captures)
    for lengths, (states, gradients) in zip(BATCHES, expected, strict=True):
        found, found_gradients = passed(encoder, lengths)
        torch.testing.assert_close(found, states, atol=1e-5, rtol=0)
        assert set(found_gradients) == set(gradients)
        for name, gradient in gradients.items():
            torch.testing.assert_close(found_gradients[name], gradient, atol=1e-4, rtol=1e-4)
    assert captures.number == len({Room.of(Layout(lengths)) for lengths in BATCHES}) < len(BATCHES)


@pytest.mark.parametrize("family", PACKED)
def test_the_kernel_gets_16_bits_from_every_family(
    tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Rotary layers compute queries and keys in fp32 under autocast; the kernel takes neither that nor mixed types."""
    seen: list[tuple[torch.dtype, ...]] = []

    def has_kernel(q: Tensor, layout: Any, window: int | None) -> bool:
        return q.dtype == torch.bfloat16

    def flash(query: Tensor, key: Tensor, value: Tensor, *others: Any, **options: Any) -> tuple[Tensor]:
        seen.append((query.dtype, key.dtype, value.dtype))
        return flash_kernel.flash_attention_forward(query, key, value, *others, **options)

    monkeypatch.setattr(packed_attention, "_has_kernel", has_kernel)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)
    encoder = load(tiny_encoder(family))
    encoder.use_graphs(Captures())
    with torch.autocast("cpu", torch.bfloat16):
        passed(encoder, [5, 60, 1, 17])
    assert set(seen) == {(torch.bfloat16,) * 3}
    assert encoder.has_graphs
    assert len(encoder._graphs or ()) == 1


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_a_room_holds_its_batch_and_a_filling(lengths: list[int]) -> None:
    layout = Layout(lengths)
    room = Room.of(layout)
    bounds = room.boundaries(layout).tolist()
    sizes = np.diff(bounds)
    assert bounds[-1] == room.tokens
    assert len(sizes) == room.sequences >= len(lengths)
    assert room.longest == (256 if max(lengths) <= 256 else 512)  # the filling makes no room of its own
    assert sizes[: len(lengths)].tolist() == layout.lengths.tolist()
    assert sizes.min() >= 0
    assert sizes.max() <= room.longest
    assert room.tokens - layout.num_tokens < max(256, layout.num_tokens / 8)


@pytest.mark.usefixtures("kernel")
def test_evaluation_uses_no_room(tiny_encoder: Tiny) -> None:
    encoder, captures, layout = load(tiny_encoder("bert")), Captures(), Layout([4, 9])
    encoder.use_graphs(captures)
    ids = torch.full((13,), 7)
    with torch.no_grad():
        encoder(ids, layout)
    encoder.eval()(ids, layout)
    assert captures.number == 0
    encoder.train()(ids, layout)
    assert captures.number == 1


@pytest.mark.usefixtures("kernel")
def test_after_a_failed_capture_everything_is_eager_and_the_reason_is_logged_once(
    tiny_encoder: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fails(module: nn.Module, samples: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        tries.append(samples)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    encoder = load(tiny_encoder("bert"))
    expected = [passed(encoder, lengths) for lengths in BATCHES]
    encoder.use_graphs(fails)
    with caplog.at_level(logging.WARNING):
        found = [passed(encoder, lengths) for lengths in BATCHES]
    assert len(tries) == len(caplog.messages) == 1
    assert "operation not permitted when stream is capturing" in caplog.text
    for (states, gradients), (other, others) in zip(expected, found, strict=True):
        assert torch.equal(states, other)
        assert all(torch.equal(gradients[name], others[name]) for name in gradients)


@pytest.mark.usefixtures("kernel")
def test_a_failed_capture_gives_up_the_rooms_before_it(tiny_encoder: Tiny) -> None:
    captures = Captures()

    def second_fails(module: nn.Module, samples: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        if captures.number:
            raise RuntimeError("out of memory")
        return captures(module, samples)

    found = EncoderGraphs(load(tiny_encoder("bert")).model, 0, second_fails)
    rooms = []
    for lengths in ([9], [100, 100, 100], [9]):
        layout = Layout(lengths)
        is_eager = found({"input_ids": torch.full((layout.num_tokens,), 7)}, layout) is None
        rooms.append((len(found), is_eager))
    assert rooms == [(1, False), (0, True), (0, True)]
    assert found.failed


@pytest.mark.usefixtures("kernel")
def test_beyond_the_largest_number_the_room_that_was_not_used_for_longest_is_captured_anew(
    tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    captures = Captures()
    found = EncoderGraphs(load(tiny_encoder("bert")).model, 0, captures)
    numbers = []
    with caplog.at_level(logging.WARNING):
        for length in (250, 500, 250, 760, 250, 500, 760):
            layout = Layout([length // 10] * 10)
            assert found({"input_ids": torch.full((layout.num_tokens,), 7)}, layout) is not None
            numbers.append(captures.number)
    assert numbers == [1, 2, 2, 3, 3, 4, 5]
    assert len(found) == 2
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("kernel")
def test_a_batch_is_computed_by_a_graph_whatever_came_before_it(
    tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed meets other rooms first; its dropout must not depend on that."""
    monkeypatch.setattr(graphs, "MOST", 1)
    folder = tiny_encoder("bert")
    states = []
    for before in ([], [[128, 128, 9]]):
        encoder = load(folder)
        encoder.use_graphs(Captures())
        for lengths in [*before, [5, 60, 1, 17]]:
            torch.manual_seed(3)
            found, _ = passed(encoder, lengths)
        states.append(found)
    assert torch.equal(*states)


class Generator:
    """What `_OnGPU` uses of the generator of a GPU."""

    def __init__(self, state: str) -> None:
        self.state = state

    def clone_state(self) -> Generator:
        return Generator(self.state)

    def graphsafe_set_state(self, other: Generator) -> None:
        self.state = other.state

    def get_state(self) -> str:
        return self.state

    def set_state(self, state: str) -> None:
        self.state = state


@pytest.mark.parametrize("error", [None, RuntimeError("operation failed due to a previous error during capture")])
def test_stream_and_generator_are_as_before_a_capture_whether_or_not_it_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    pools, streams, generator = [], ["before"], Generator("before")
    left: dict[str, list[Any]] = {"_cuda_endAllocateToPool": [], "_cuda_releasePool": []}

    def make(module: nn.Module, samples: tuple[Tensor, ...], *, pool: object, **_: object) -> nn.Module:
        pools.append(pool)
        streams.append("capture")
        generator.state = "capture"
        if error is not None:
            raise error
        streams.pop()
        return module

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "default_generators", [generator])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    for name, calls in left.items():
        monkeypatch.setattr(torch._C, name, lambda *found, calls=calls: calls.append(found), raising=False)
    capture, sample = graphs._OnGPU(), torch.zeros(1, device="meta")
    for _ in range(2):
        if error is None:
            capture(nn.Identity(), (sample,))
        else:
            with pytest.raises(RuntimeError):
                capture(nn.Identity(), (sample,))
    assert streams[-1] == generator.state == "before"
    assert pools[0] is pools[1]
    assert set(map(len, left.values())) == {0 if error is None else 2}


def test_an_encoder_that_cannot_be_captured_says_why(tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, half = torch.device("cuda"), torch.bfloat16

    def reason(model: nn.Module, *, packs: bool = True, device: torch.device = cuda, dtype: Any = half) -> str:
        found = obstacle(model, packs=packs, device=device, dtype=dtype)
        assert found is not None
        return found

    bert = load(tiny_encoder("bert")).model
    assert "packed" in reason(bert, packs=False)
    assert "cpu" in reason(bert, device=CPU)
    assert "bf16-mixed" in reason(bert, dtype=torch.float32)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    wide = load(tiny_encoder("bert")).model
    wide.config.head_dim = 12  # type: ignore[union-attr]  # of transformers
    assert "kernel" in reason(wide)
    frozen = load(tiny_encoder("bert")).model.requires_grad_(requires_grad=False)
    checkpointed = load(tiny_encoder("bert")).model
    checkpointed.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    assert "frozen" in reason(frozen)
    assert "gradient_checkpointing" in reason(checkpointed)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "Ampere" in reason(bert)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert "FlashAttention" in reason(bert)


@pytest.mark.parametrize(
    ("capability", "size", "has_kernel"),
    [((8, 6), 192, True), ((8, 6), 200, False), ((9, 0), 256, True), ((9, 0), 264, False), ((9, 0), 100, False)],
)
def test_the_kernel_trains_large_heads_on_some_devices_only(
    capability: tuple[int, int], size: int, has_kernel: bool, gpu: Callable[..., None]
) -> None:
    gpu(capability)
    assert (kernel_obstacle(size, torch.device("cuda")) is None) == has_kernel


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes PyTorch report a GPU with FlashAttention of a compute capability."""

    def install(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)

    return install


@pytest.mark.parametrize("family", PACKED)
def test_every_family_that_can_be_packed_can_be_captured(
    tiny_encoder: Tiny, gpu: Callable[..., None], family: str
) -> None:
    gpu((8, 0))
    model = load(tiny_encoder(family)).model
    assert obstacle(model, packs=True, device=torch.device("cuda"), dtype=torch.bfloat16) is None
