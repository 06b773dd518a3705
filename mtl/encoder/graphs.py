"""CUDA graphs of the packed encoder, which replay its forward and backward pass without launching kernels one by one.

A graph replays kernels on fixed shapes, so a batch is filled up to a room: a number of tokens with one graph for the
forward and one for the backward pass. The filling is a sequence of its own, which no head reads. Rooms are captured
when a batch first needs them.

Shapes: N tokens of all sequences together, R tokens of the room, S sequences of the room, H hidden size.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from mtl.encoder.packing import Layout

_log = logging.getLogger(__name__)

TOKENS, SEQUENCES, MOST = 256, 16, 24
"""Smallest step between rooms in tokens and in sequences, and the largest number of rooms. Each keeps gradients of the
size of the encoder."""

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
        tokens = -(-layout.num_tokens // step) * step
        longest = max(layout.longest, tokens - layout.num_tokens, TOKENS)
        sequences = -(-(len(layout.lengths) + 1) // SEQUENCES) * SEQUENCES
        return cls(tokens, sequences, 1 << (longest - 1).bit_length())

    def boundaries(self, layout: Layout) -> Tensor:
        """The boundaries of the layout, of the filling, and of empty sequences [S + 1]."""
        return pad(layout.boundaries, (0, self.sequences + 1 - len(layout.boundaries)), value=self.tokens)


class EncoderGraphs:
    """The states of a packed encoder in training, from CUDA graphs.

    Dropout differs from that of the eager pass, since the filling draws too. If a capture fails, the reason is logged
    and everything is computed eagerly from then on.

    Args:
        model: The transformer, on its device and in training mode.
        first_position: Position of a sequence's first token, as the model counts them.
        capture: Captures a module for sample arguments; by default the function of PyTorch.
    """

    def __init__(self, model: nn.Module, first_position: int, capture: Capture | None = None) -> None:
        self._model, self._first_position = model, first_position
        self._capture = capture or _captured_on_gpu
        self._rooms: dict[Room, Callable[..., Tensor]] = {}
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
        return self._rooms[room](*arguments)[0, : layout.num_tokens]

    def _add(self, room: Room, names: tuple[str, ...], arguments: tuple[Tensor, ...]) -> bool:
        """Captures a room and returns whether there is one."""
        if len(self._rooms) == MOST:
            return False
        try:
            with CAPTURING:
                samples = tuple(argument.clone() for argument in arguments)
                self._rooms[room] = self._capture(_Pass(self._model, room.longest, names), samples)
        except Exception as error:  # of CUDA or of a layer that cannot be captured; eager computation still works
            self.failed = True
            self._rooms.clear()  # whose gradients would keep the memory of the device
            reason = next(iter(str(error).splitlines()), "")
            _log.warning("CUDA graphs are off: a capture failed with %s: %s", type(error).__name__, reason)
        return not self.failed


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


def _captured_on_gpu(module: nn.Module, samples: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    device = samples[0].device
    # The passes that warm up draw dropout. Restoring the generator keeps later draws independent of captures.
    state = torch.cuda.get_rng_state(device)
    # A graph must not read casts of the weights that autocast keeps for a single step.
    with torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
        graphed = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True)
    torch.cuda.set_rng_state(state, device)
    return cast("Callable[..., Tensor]", graphed)


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
    if size % 8 or size > 256:
        return "the attention of this encoder has no kernel for sequences of different lengths"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return "the encoder is frozen"
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return "encoder.gradient_checkpointing computes states twice"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the GPU is older than Ampere"
    return None
