"""The tables of a model with new rows: token embeddings, output layer and its bias.

Shapes: N new tokens, W new rows, E size of the token embeddings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoder.pretrained import longest_input
from mtl.encoder.whole_model import WholeModel
from mtl.problems import InputError, Problem
from mtl.vocabulary.exchange import Exchange
from mtl.vocabulary.initialisers import NewRows

_SPECIAL = ("pad", "bos", "eos", "cls", "sep", "mask", "unk", "decoder_start")


def new_tables(
    module: nn.Module, model: WholeModel, exchange: Exchange, inputs: Tensor, outputs: Tensor | None
) -> dict[str, Tensor]:
    """The tables with their new rows, by the names of their parameters in a module.

    The output layer's bias of a new token is the mean of the old ones, whatever the method of the rows is.

    Args:
        module: The model, or its encoder, whose tables are wanted.
        model: The model with the old tables.
        exchange: The old rows that stay.
        inputs: New rows of the token embeddings [N, E].
        outputs: New rows of an output layer with a table of its own [N, E].
    """
    found = {_name(module, model.inputs): exchange.table(model.inputs, inputs)}
    if module is not model.model or model.decoder is None:
        return found
    if model.outputs is not None and outputs is not None:
        found[_name(module, model.outputs)] = exchange.table(model.outputs, outputs)
    bias = model.decoder.bias
    if bias is not None:
        found[_name(module, bias)] = exchange.table(bias, bias.detach().mean().repeat(len(exchange.tokens)))
    return found


def replace_tables(model: WholeModel, exchange: Exchange, rows: NewRows, old: Any, new: Any) -> None:
    """Gives a model its new tables, and its configuration the size and the special tokens of the new vocabulary.

    Args:
        model: The model, which is changed.
        exchange: The old rows that stay.
        rows: The new rows.
        old: The old tokenizer.
        new: The new tokenizer.

    Raises:
        InputError: The model counts positions from the id of the padding token, and that id differs.
    """
    config = model.model.config
    ids = _special_ids(config, old, new)
    pad_id = ids.get("pad_token_id")
    if pad_id != config.pad_token_id and longest_input(config) < getattr(config, "max_position_embeddings", 512):
        message = f"The family {config.model_type} needs the padding token at id {config.pad_token_id}, got {pad_id}."
        raise InputError(Problem("encoder.name", message, "Use `mtl vocabulary extend`, or another encoder."))
    tables = new_tables(model.model, model, exchange, rows.inputs, rows.outputs)
    model.model.resize_token_embeddings(exchange.size, mean_resizing=False)
    for name, value in ids.items():
        setattr(config, name, value)
    with torch.no_grad():
        parameters = dict(model.model.named_parameters(remove_duplicate=False))
        for name, table in tables.items():
            parameters[name].copy_(table)


def _special_ids(config: Any, old: Any, new: Any) -> dict[str, int]:
    """The ids of the configuration's special tokens in the new vocabulary."""
    found: dict[str, int] = {}
    for name in (f"{kind}_token_id" for kind in _SPECIAL):
        value = getattr(config, name, None)
        if isinstance(value, int) and value < len(old):
            found[name] = new.convert_tokens_to_ids(old.convert_ids_to_tokens(value))
    return found


def _name(module: nn.Module, parameter: Tensor) -> str:
    """The first name of a parameter in a module."""
    return next(name for name, one in module.named_parameters() if one is parameter)
