"""An encoder as heads read it, without its weights: what `mtl check` can say before a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mtl.encoder.pretrained import causal_lm_weights, load_config, masked_lm_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from mtl.config.mixture import EncoderSpec

DECIDES_RESULTS = False


class EncoderOutline:
    """What `heads.LoadedEncoder` asks for. Nothing is downloaded, and only the head for language modelling is
    loaded, if a head asks for it.

    Args:
        spec: The encoder.
    """

    shipped: Mapping[str, Tensor] | None = None
    model: Any = None
    """There is none, because nothing is computed."""

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec
        self.config: PretrainedConfig = load_config(spec)

    @property
    def token_embeddings(self) -> nn.Embedding:
        """A table of the right size, without values."""
        from transformers import AutoModel

        make: Any = AutoModel.from_config
        with torch.device("meta"):
            return cast("nn.Embedding", make(self.config).get_input_embeddings())

    def causal_lm_weights(self) -> Mapping[str, Tensor]:
        """The weights of the checkpoint's head for causal language modelling.

        Raises:
            InputError: They are not on this machine.
        """
        return causal_lm_weights(self._spec, downloads=False)

    def masked_lm_weights(self) -> Mapping[str, Tensor]:
        """The weights of the checkpoint's head for masked language modelling.

        Raises:
            InputError: They are not on this machine.
        """
        return masked_lm_weights(self._spec, downloads=False)
