"""The parts of an encoder by depth: its embeddings, its layers, and what lies above them."""

from __future__ import annotations

from torch import nn

from mtl.problems import InputError, Problem


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """The layers of an encoder, from the lowest to the highest.

    A model whose layers share their weights (ALBERT) has one entry for each group of shared weights.

    Raises:
        InputError: The model has no list of layers.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        message = f"The layers of this encoder were not found: {type(model).__name__} has no list of layers."
        raise InputError(Problem("encoder.name", message, "Use another encoder, or remove the keys that name layers."))
    return max(lists, key=len)


def depths(model: nn.Module) -> tuple[dict[int, int], int]:
    """The depth of each parameter, by the id of the parameter, and the number of layers L.

    The depth is 0 for embeddings, i for the layer i from 1 (lowest) to L, and L + 1 for anything above the layers,
    such as a final norm.

    Args:
        model: The transformer.
    """
    layers = transformer_layers(model)
    found = {id(parameter): number for number, layer in enumerate(layers, 1) for parameter in layer.parameters()}
    for path, module in model.named_modules():
        is_embedding = isinstance(module, nn.Embedding)
        for name, parameter in module.named_parameters(prefix=path, recurse=False):
            # Relative positions and projections of embeddings are called embeddings, too, wherever they are.
            found.setdefault(id(parameter), 0 if is_embedding or "emb" in name else len(layers) + 1)
    return found, len(layers)
