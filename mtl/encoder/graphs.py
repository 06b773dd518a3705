"""CUDA graphs of the packed encoder, which replay its forward and backward pass without launching kernels one by one.

A graph replays kernels on fixed shapes, so a batch is filled up to a room: a number of tokens with one graph for the
forward and one for the backward pass. The filling is in sequences of its own, which no head reads. Rooms are captured
when a batch first needs them. They share their memory for intermediate results, which is safe because the backward pass
of a batch comes before the next batch.

Shapes: N tokens of all sequences together, R tokens of the room, S sequences of the room, H hidden size.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from mtl.encoder.packing import Layout

_log = logging.getLogger(__name__)

TOKENS, SEQUENCES, MOST = 256, 16, 24
"""Smallest step between rooms in tokens and in sequences, and the largest number of rooms at a time. Each keeps
gradients of the size of the encoder."""

LARGE_HEADS = ((8, 0), (9, 0), (10, 0))
"""Compute capabilities on which FlashAttention trains heads of more than 192 units with dropout."""

CAPTURING = threading.Lock()
"""Held during a capture. Other threads must not allocate pinned memory meanwhile, which would make it fail."""

Capture = Callable[..., Callable[..., Tensor]]


class Places(NamedTuple):
    """What a kernel for sequences of different lengths needs to know of a layout.

    Args:
        boundaries: Place at which each sequence starts, and the number of tokens [S + 1].
        longest: Upper bound of the length of a sequence.
    """

    boundaries: Tensor
    longest: int


class Room(NamedTuple):
    """The fixed sizes of a graph.

    Args:
        tokens: Number of tokens.
        sequences: Number of sequences, the filling included.
        longest: Upper bound of the length of a sequence.
    """

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, layout: Layout) -> Room:
        """The smallest room for a layout. At most an eighth of a large one is filling.

        >>> from mtl.encoder.packing import Layout
        >>> Room.of(Layout([100, 30])), Room.of(Layout([300] * 20)).tokens
        (Room(tokens=256, sequences=16, longest=256), 6144)
        """
        step = max(TOKENS, 2 ** (layout.num_tokens.bit_length() - 4))
        tokens = _rounded_up(layout.num_tokens, step)
        longest = 1 << (max(layout.longest, TOKENS) - 1).bit_length()
        sequences = len(layout.lengths) + -(-(tokens - layout.num_tokens) // longest)
        return cls(tokens, _rounded_up(sequences, SEQUENCES), longest)

    def boundaries(self, layout: Layout) -> Tensor:
        """The boundaries of the layout, of the filling, and of empty sequences [S + 1]."""
        places = torch.arange(1, self.sequences + 2 - len(layout.boundaries), device=layout.boundaries.device)
        filling = (layout.num_tokens + places * self.longest).clamp(max=self.tokens)
        return torch.cat([layout.boundaries, filling.to(layout.boundaries.dtype)])


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


class EncoderGraphs:
    """The states of a packed encoder in training, from CUDA graphs.

    Dropout differs from that of the eager pass, since the filling draws too. Every batch is computed by a graph, so a
    resumed run draws what an uninterrupted one does: where there are too many rooms, the one that was not used for
    longest is given up, and captured again when a batch needs it. If a capture fails, the reason is logged and
    everything is computed eagerly from then on.

    Args:
        model: The transformer, on its device and in training mode.
        first_position: Position of a sequence's first token, as the model counts them.
        capture: Captures a module for sample arguments; by default the function of PyTorch.
    """

    def __init__(self, model: nn.Module, first_position: int, capture: Capture | None = None) -> None:
        self._model, self._first_position = model, first_position
        self._capture = capture or _OnGPU()
        self._rooms: dict[Room, Callable[..., Tensor]] = {}  # the least recently used first
        self._has_given_up = False
        self.captures = 0
        """Number of rooms that were captured."""
        self.failed = False
        """Whether a capture failed, so that everything is computed eagerly."""

    def __len__(self) -> int:
        return len(self._rooms)

    def __call__(self, inputs: dict[str, Tensor], layout: Layout) -> Tensor | None:
        """States [N, H] of the tokens; None if they must be computed eagerly.

        Args:
            inputs: Ids [N], and token types [N] if the encoder uses them.
            layout: Where the sequences are.
        """
        if self.failed or not (self._model.training and torch.is_grad_enabled()):
            return None
        room = Room.of(layout)
        filling = (0, room.tokens - layout.num_tokens)
        positions = layout.positions + self._first_position
        rows = [*inputs.values(), positions]
        # The positions of the filling need not rise: nothing reads its states. All of them exist in every encoder.
        padded = [pad(row, filling, value=self._first_position if row is positions else 0)[None] for row in rows]
        arguments = (*padded, room.boundaries(layout))
        if room not in self._rooms and not self._add(room, tuple(inputs), arguments):
            return None
        self._rooms[room] = replay = self._rooms.pop(room)
        return replay(*arguments)[0, : layout.num_tokens]

    def _add(self, room: Room, names: tuple[str, ...], arguments: tuple[Tensor, ...]) -> bool:
        """Captures a room and returns whether there is one."""
        if len(self._rooms) == MOST:
            if not self._has_given_up:
                self._has_given_up = True
                message = "Batches have more than %d sizes, so CUDA graphs are captured repeatedly, which takes time."
                _log.warning(f"{message} Turn graphs off, or set tokens_per_batch.", MOST)
            del self._rooms[next(iter(self._rooms))]
            gc.collect()  # a captured module refers to itself
        try:
            with CAPTURING:
                samples = tuple(argument.clone() for argument in arguments)
                self._rooms[room] = self._capture(_Pass(self._model, room.longest, names), samples)
            self.captures += 1
        except Exception as error:  # of CUDA or of a layer that cannot be captured; eager computation still works
            self.failed = True
            reason = next(iter(str(error).splitlines()), "")
            _log.warning("CUDA graphs are off: a capture failed with %s: %s", type(error).__name__, reason)
        if self.failed:
            self.free()  # only now, because the traceback of the error holds the tensors of the capture
        return not self.failed

    def free(self) -> None:
        """Gives up all rooms, whose gradients and results keep the memory of the device."""
        self._rooms.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Pass(nn.Module):
    """The encoder as a function of tensors only, as a capture needs it."""

    def __init__(self, model: nn.Module, longest: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self._longest, self._names = model, longest, names

    def forward(self, *arguments: Tensor) -> Tensor:
        """States [1, R, H] of ids, further inputs and positions [1, R] and boundaries [S + 1]."""
        *rows, positions, boundaries = arguments
        inputs: dict[str, Any] = dict(zip(self._names, rows, strict=True))
        layout = Places(boundaries, self._longest)
        states: Tensor = self.model(**inputs, position_ids=positions, layout=layout).last_hidden_state
        return states


class _OnGPU:
    """Captures modules as CUDA graphs that share their memory for intermediate results."""

    def __init__(self) -> None:
        self._pool: Any = None
        # The warm-up of a capture makes the nodes that accumulate gradients, on a stream of its own.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)

    def __call__(self, module: nn.Module, samples: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Captures a module.

        Raises:
            Exception: CUDA or a layer cannot capture it. Stream and generator are then as before: PyTorch leaves them
                in the capture where CUDA itself has ended it.
        """
        device = samples[0].device
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        generator = torch.cuda.default_generators[device.index or 0]
        stream, state = torch.cuda.current_stream(device), generator.clone_state()
        try:
            # A graph must not read casts of the weights that autocast keeps for a single step.
            with torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
                graphed = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True, pool=self._pool)
        except BaseException:
            torch.cuda.set_stream(stream)
            generator.graphsafe_set_state(state)
            _leave_pool(device, self._pool)
            raise
        # The passes that warm up draw dropout. Restoring the generator keeps later draws independent of captures.
        generator.set_state(state.get_state())
        return cast("Callable[..., Tensor]", graphed)


def kernel_obstacle(head_size: int, device: torch.device) -> str | None:
    """Why a GPU has no kernel for attention over sequences of different lengths; None if it has one.

    Args:
        head_size: Units per attention head.
        device: The GPU.
    """
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return "the GPU is older than Ampere"
    if not torch.backends.cuda.is_flash_attention_available():
        return "this build of PyTorch has no FlashAttention"
    # With dropout, the backward pass for large heads needs the shared memory of a data centre's GPU.
    if head_size % 8 or head_size > (256 if capability in LARGE_HEADS else 192):
        return "the attention of this encoder has no kernel for sequences of different lengths"
    return None


def _leave_pool(device: torch.device, pool: Any) -> None:
    """Ends the allocation of all of a device's memory from a pool, which a failed capture leaves on in torch 2.11."""
    backend: Any = torch._C
    index = device.index or 0
    with suppress(RuntimeError):  # it has ended already
        backend._cuda_endAllocateToPool(index, pool)
        backend._cuda_releasePool(index, pool)


def obstacle(model: nn.Module, *, packs: bool, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why an encoder cannot be captured; None if it can.

    Args:
        model: The transformer.
        packs: Whether it computes all sequences in one row.
        device: Device of the training.
        dtype: Data type in which its attention computes.
    """
    config: Any = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not packs:
        return "this encoder cannot be packed"
    if device.type != "cuda":
        return f"the device is {device.type}, not cuda"
    if dtype not in (torch.bfloat16, torch.float16):
        return "only 16-bit attention has a kernel for sequences of different lengths; use bf16-mixed"
    reason = kernel_obstacle(size, device)
    if reason is not None:
        return reason
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return "the encoder is frozen"
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return "encoder.gradient_checkpointing computes states twice"
    return None
