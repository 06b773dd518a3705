"""The shared encoder: a Hugging Face model that returns its last hidden states.

Shapes: B sequences, N tokens of all sequences together, T tokens of the longest sequence, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mtl.encoder.cpu_dropout import replace_dropout
from mtl.encoder.graphs import Capture, EncoderGraphs
from mtl.encoder.layers import depths
from mtl.encoder.packing import Group, Layout

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Encoder(nn.Module):
    """A Hugging Face encoder that returns its last hidden states.

    Args:
        model: The transformer.
        freeze_layers: Number of the lowest layers to freeze.
        freeze_embeddings: Whether to freeze the embeddings; None does so if `freeze_layers` is above 0.
        causal: Whether the model is a causal language model.
        packs: Whether the model computes all sequences in one row, with `packed_attention`. Otherwise it gets padded
            sequences, in a few passes of similar lengths.
        first_position: Position of a sequence's first token, as the model counts them.
        shipped: Weights of the checkpoint that the encoder does not use but heads may, such as those of a pooler, by
            their names in the class for sequence classification; None if no checkpoint was loaded.
        load_masked_lm: Loads the weights of the checkpoint's head for masked language modelling, see
            `masked_lm_weights`; None if no checkpoint was loaded.
        load_causal_lm: The same for causal language modelling.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        freeze_layers: int = 0,
        freeze_embeddings: bool | None = None,
        causal: bool = False,
        packs: bool = False,
        first_position: int = 0,
        shipped: Mapping[str, Tensor] | None = None,
        load_masked_lm: Callable[[], Mapping[str, Tensor]] | None = None,
        load_causal_lm: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        # cuDNN's attention makes a plan for every new shape, 10 ms per layer on an H100. It is off for the process,
        # since layers that are computed again in the backward pass must take the same kernel there.
        torch.backends.cuda.enable_cudnn_sdp(enabled=False)
        self.packs, self._first_position, self.shipped = packs, first_position, shipped
        self.is_causal = causal
        # Without it, a causal model would keep the keys and values of every layer for tokens that never follow.
        self._settings: dict[str, Any] = {"use_cache": False} if causal else {}
        self._load_masked_lm, self._load_causal_lm = load_masked_lm, load_causal_lm
        self._graphs: EncoderGraphs | None = None
        self.model = model.train()  # transformers loads models in evaluation mode
        replace_dropout(self.model)
        # Heads have poolers of their own, and DDP fails on parameters without gradients.
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", None)
        if freeze_embeddings is None:
            freeze_embeddings = freeze_layers > 0
        _freeze(model, freeze_layers, embeddings=freeze_embeddings)

    @property
    def config(self) -> PretrainedConfig:
        return self.model.config  # type: ignore[return-value]  # nn.Module types attributes as Tensor | Module

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The table of token embeddings."""
        return cast("nn.Embedding", cast(Any, self.model).get_input_embeddings())

    def masked_lm_weights(self) -> Mapping[str, Tensor] | None:
        """The weights of the checkpoint's head for masked language modelling, by their names in the class for it.

        They are loaded when a head asks for them. Weights that the checkpoint lacks are left out. None if the encoder
        was built without weights.
        """
        return None if self._load_masked_lm is None else self._load_masked_lm()

    def causal_lm_weights(self) -> Mapping[str, Tensor] | None:
        """As `masked_lm_weights`, of the head for causal language modelling."""
        return None if self._load_causal_lm is None else self._load_causal_lm()

    def use_graphs(self, capture: Capture | None = None) -> None:
        """Trains with CUDA graphs from now on.

        Args:
            capture: As in `EncoderGraphs`.
        """
        self._graphs = EncoderGraphs(self.model, self._first_position, capture)

    def free_graphs(self) -> None:
        """Gives the memory of CUDA graphs back; further training captures them again."""
        if self._graphs is not None:
            self._graphs.free()

    @property
    def has_graphs(self) -> bool:
        """Whether it trains with CUDA graphs where it can."""
        return self._graphs is not None

    def forward(self, input_ids: Tensor, layout: Layout, type_ids: Tensor | None = None) -> Tensor:
        """States [B, T, H] of a batch, with zeros for padding.

        Args:
            input_ids: Ids of all tokens [N], in the order of the layout.
            layout: Where the sequences are.
            type_ids: Token types [N], if the encoder uses them.
        """
        inputs = {"input_ids": input_ids}
        if type_ids is not None and getattr(self.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = type_ids
        if self._graphs is not None:
            states = self._graphs(inputs, layout)
            if states is not None:
                return layout.states(states)
        if self.packs:
            row = {name: values[None] for name, values in inputs.items()}
            row["position_ids"] = (layout.positions + self._first_position)[None]
            if self.is_causal:
                # Without a mask, transformers would look for sequences in the positions, and wait for a GPU to do so.
                row["attention_mask"] = torch.ones_like(row["input_ids"])
            return layout.states(self.model(**row, layout=layout, **self._settings).last_hidden_state[0])
        return layout.states(torch.cat([self._padded(inputs, group) for group in layout.passes]))

    def _padded(self, inputs: dict[str, Tensor], group: Group) -> Tensor:
        """States of the tokens of a group [tokens, H], from a pass over its padded sequences."""
        padded: dict[str, Any] = {
            name: group.padded(values[group.start : group.stop]) for name, values in inputs.items()
        }
        pad_id = getattr(self.config, "pad_token_id", None)  # some families count positions by it
        padded["input_ids"] = padded["input_ids"].where(group.mask, 0 if pad_id is None else pad_id)
        mask = group.mask.long()
        return group.packed(self.model(**padded, attention_mask=mask, **self._settings).last_hidden_state)


def _freeze(model: nn.Module, num_layers: int, *, embeddings: bool) -> None:
    """Freezes the lowest layers, and embeddings with tables of relative positions; with all layers, the whole model."""
    depth_of, depth = depths(model)
    for parameter in model.parameters():
        own = depth_of[id(parameter)]
        is_frozen = embeddings if own == 0 else own <= num_layers or num_layers >= depth
        if is_frozen:
            parameter.requires_grad = False
