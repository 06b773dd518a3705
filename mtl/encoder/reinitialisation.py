"""Fresh random weights for the top layers of a pretrained encoder.

The top layers are specialised on the pretraining task. With few examples, training them from random weights is more
stable and often better (Zhang et al. 2021, https://arxiv.org/abs/2006.05987, section 5).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from mtl.encoder.layers import transformer_layers
from mtl.seeding import derive


@torch.no_grad()
def reinitialise(model: nn.Module, num_layers: int, seed: int) -> None:
    """Re-initialises the top layers: normal weights with the standard deviation of the model, norms 1, biases 0.

    Each weight has its own random stream, keyed by its layer and its name, so that re-initialising more layers does not
    change the draws of these.

    Args:
        model: The transformer.
        num_layers: Number of layers, counted from the top.
        seed: Seed of the run.
    """
    sd = float(getattr(cast(Any, model.config), "initializer_range", 0.02))
    layers = list(enumerate(transformer_layers(model)))
    for number, layer in layers[len(layers) - num_layers :]:
        for path, module in layer.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if name == "bias":
                    parameter.zero_()
                elif "Norm" in type(module).__name__:
                    parameter.fill_(1.0)
                else:
                    generator = torch.Generator().manual_seed(derive(seed, "reinitialise", number, path, name))
                    parameter.copy_(sd * torch.randn(parameter.shape, generator=generator))
