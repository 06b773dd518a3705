"""The shared encoder: a Hugging Face model that returns its last hidden states.

Shapes: B examples, T tokens, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mtl.encoder import cpu_attention
from mtl.encoder.cpu_dropout import replace_dropout

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Encoder(nn.Module):
    """A Hugging Face encoder that returns its last hidden states.

    Args:
        model: The transformer.
        freeze_layers: Number of the lowest layers to freeze, together with the embeddings; 0 trains everything.
        chooses_attention: Whether `settle` may select the implementation of the attention.
    """

    def __init__(self, model: nn.Module, *, freeze_layers: int = 0, chooses_attention: bool = False) -> None:
        super().__init__()
        self._chooses_attention = chooses_attention
        self.model = model.train()  # transformers loads models in evaluation mode
        replace_dropout(self.model)
        # No head uses the pooler, and DDP fails on parameters without gradients.
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", None)
        if freeze_layers:
            _freeze(model, freeze_layers)

    @property
    def config(self) -> PretrainedConfig:
        return self.model.config  # type: ignore[return-value]  # nn.Module types attributes as Tensor | Module

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    def settle(self, device: str, precision: str) -> None:
        """Selects the fastest attention implementation for the device.

        Args:
            device: Type of the device, such as cpu or cuda.
            precision: Lightning's name of the precision.
        """
        if self._chooses_attention:
            model: Any = self.model
            model.set_attn_implementation(_quickest_attention(type(model), device, precision))

    def forward(self, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None = None) -> Tensor:
        """States [B, T, H] from input ids [B, T], attention mask [B, T] and, if the encoder uses them, token types."""
        inputs = {"input_ids": input_ids, "attention_mask": mask.long()}
        if type_ids is not None and getattr(self.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = type_ids
        states: Tensor = self.model(**inputs).last_hidden_state
        return states


def _quickest_attention(family: Any, device: str, precision: str) -> str:
    """Our own attention on a CPU; on a GPU FlashAttention 2 if it can run, otherwise PyTorch's."""
    if device == "cpu":
        return cpu_attention.register()
    if device == "cuda" and precision.startswith(("bf16", "16")) and family._supports_flash_attn and _has_flash():
        return "flash_attention_2"
    return "sdpa" if family._supports_sdpa else "eager"


def _has_flash() -> bool:
    """Whether the package FlashAttention 2 is installed and supports the GPU (Ampere or later)."""
    from transformers import utils

    probe: Any = vars(utils)["is_flash_attn_2_available"]  # untyped
    return bool(probe()) and torch.cuda.get_device_capability() >= (8, 0)


def _freeze(model: nn.Module, num_layers: int) -> None:
    layers = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len)
    # ELECTRA has a projection between the embeddings and the layers.
    below = [getattr(model, name, None) for name in ("embeddings", "embeddings_project")]
    # nn.Module types attributes as Tensor | Module, and so the method of transformers.
    for module in [model.get_input_embeddings(), *below, *layers[:num_layers]]:  # type: ignore[operator]  # a method of transformers
        if module is not None:
            module.requires_grad_(requires_grad=False)
