"""The values of new rows in the table of token embeddings, one file per method.

A new method is a new file here with one subclass of `Initialiser`; its file name is its name in YAML.

Shapes: N new tokens, V old rows, E size of the token embeddings, H hidden size, B texts, T tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mtl.encoder.whole_model import WholeModel
from mtl.problems import InputError, Problem
from mtl.vocabulary.exchange import Exchange, NewToken
from mtl.vocabulary.occurrences import Occurrences


class Setting(NamedTuple):
    """What a method may use.

    Args:
        model: The model with its old vocabulary.
        old: Its tokenizer.
        new: The tokenizer with the new tokens.
        exchange: The new tokens, and the old rows that stay.
        occurrences: Occurrences of the new tokens in the corpus.
        max_length: Maximum length of a text in tokens.
        seed: Seed of all random draws.
    """

    model: WholeModel
    old: Any
    new: Any
    exchange: Exchange
    occurrences: Occurrences
    max_length: int
    seed: int


class NewRows(NamedTuple):
    """The values of the new rows.

    Args:
        inputs: Rows of the token embeddings [N, E].
        outputs: Rows of an output layer with a table of its own [N, E]; None if there is none.
        report: Numbers for the report, such as a loss.
    """

    inputs: Tensor
    outputs: Tensor | None
    report: Mapping[str, float | int] = {}  # never changed


class Initialiser(ABC):
    """Computes the new rows. The options of a method are the keyword-only arguments of its `__init__`.

    An option with an invalid value is an `InputError` under the key ``init.<option>``.
    """

    num_snippets: int = 1
    """Largest number of occurrences of a token that the method reads; 1 tells whether it occurs at all."""

    snippet_length: int = 1
    """Number of tokens of the text around an occurrence."""

    other_names: ClassVar[tuple[str, ...]] = ()
    """Other names of the method, for the advice on an unknown one."""

    @abstractmethod
    def table_rows(self, table: Tensor, tokens: Sequence[NewToken], seed: int) -> Tensor:
        """New rows from the old rows alone [N, E]; also those of an output layer with a table of its own.

        Args:
            table: The old table [V, E].
            tokens: The new tokens.
            seed: Seed of all random draws.
        """

    def rows(self, setting: Setting) -> NewRows:
        """The new rows; by default, those of `table_rows`.

        Raises:
            InputError: The model does not fit the method.
        """
        return self._from_tables(setting)

    def _from_tables(self, setting: Setting) -> NewRows:
        tokens, model = setting.exchange.tokens, setting.model
        with torch.no_grad():
            inputs = self.table_rows(model.inputs, tokens, setting.seed)
            outputs = None if model.outputs is None else self.table_rows(model.outputs, tokens, setting.seed)
        return NewRows(inputs, outputs)


def require_at_least(values: Mapping[str, tuple[float, float]]) -> None:
    """Checks options against their smallest values.

    Args:
        values: Value and smallest value of each option.

    Raises:
        InputError: Some are smaller; each is listed with its key.
    """
    problems = [
        Problem(f"init.{name}", f"must be at least {least}, got {value}.")
        for name, (value, least) in values.items()
        if not value >= least
    ]
    if problems:
        raise InputError(problems)


def require_layer(layer: int, model: WholeModel) -> None:
    """Checks the number of a layer, of which 0 are the embeddings and -1 is the last one.

    Raises:
        InputError: The model has no such layer.
    """
    depth = model.encoder.config.num_hidden_layers
    if not -depth - 1 <= layer <= depth:
        raise InputError(Problem("init.layer", f"must be from {-depth - 1} to {depth}, got {layer}."))
