"""The loss of masked language modelling on held-out text before any training, by the method of the new rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from heads import Example
from heads.masked_lm import MaskedLM
from mtl.config import components
from mtl.problems import InputError, Problem
from mtl.vocabulary.building import Renewal, initialiser_of
from mtl.vocabulary.initialisers import NewRows
from mtl.vocabulary.tables import new_tables
from mtl.vocabulary.vocabulary_file import InitialiserSpec

_BATCH = 8
"""Number of texts at once: the scores of the whole vocabulary at every token take much memory."""


class FirstLoss(NamedTuple):
    """The mean losses of masked tokens with one method.

    Args:
        method: The method.
        loss: Of all masked tokens.
        new_loss: Of those that are new in the vocabulary; None if none is masked.
        old_loss: Of the others; None if none is masked.
        num_masked: Number of masked tokens.
        num_new: Number of those that are new.
    """

    method: str
    loss: float
    new_loss: float | None
    old_loss: float | None
    num_masked: int
    num_new: int


def chosen_methods(wanted: Sequence[str], init: InitialiserSpec) -> list[InitialiserSpec]:
    """Methods to compare; the one of the vocabulary file with its options, the others with their defaults.

    Args:
        wanted: Names of methods, or only "all".
        init: The method of the vocabulary file.

    Raises:
        InputError: There is no such method.
    """
    names = components.choices("initialiser") if list(wanted) == ["all"] else list(dict.fromkeys(wanted))
    problems: list[Problem] = []
    for name in names:
        try:
            components.find("initialiser", name, "--compare")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return [init if name == init.method else InitialiserSpec(method=name) for name in names]


def first_losses(renewal: Renewal, methods: Sequence[InitialiserSpec]) -> list[FirstLoss]:
    """The losses with the new tokenizer, whose masks are the same for all methods: those of the head `masked_lm`.

    Args:
        renewal: The encoder and its tokenizers.
        methods: The methods.

    Raises:
        InputError: There is no held-out text, or the encoder has no head for masked language modelling.
    """
    problems = []
    if not renewal.model.has_masked_lm:
        message = "The encoder must have a head for masked language modelling, got none."
        problems.append(Problem("encoder.name", message, "Train it with the head masked_lm first."))
    if renewal.held_out is None:
        problems.append(Problem("data.split", "There must be a split dev, got none.", "Add `split`."))
    if problems:
        raise InputError(problems)
    examples = _examples(renewal)
    found = []
    for init in methods:
        method = initialiser_of(init)
        rows = method.rows(renewal.setting(method))
        found.append(_measured(init.method, renewal, rows, examples))
    return found


def _examples(renewal: Renewal) -> list[Example]:
    head = MaskedLM([], renewal.model.encoder.config.hidden_size)
    rows = [row for row in renewal.held_out or () if head.check(row) is None and head.is_labelled(row)]
    encoded = head.encode(rows, renewal.new, renewal.spec.encoder.max_length, training=False)
    found = [example for example in encoded if example["positions"]]
    if not found:
        raise InputError(Problem("data.split", "The split dev must have at least one text, got none."))
    return found


@torch.no_grad()
def _measured(method: str, renewal: Renewal, rows: NewRows, examples: Sequence[Example]) -> FirstLoss:
    model = renewal.model
    tables = new_tables(model.model, model, renewal.exchange, rows.inputs, rows.outputs)
    losses, gold = (torch.cat(parts) for parts in zip(*_losses(renewal, tables, examples), strict=True))
    is_new = torch.isin(gold, torch.tensor(renewal.exchange.ids))
    means = [float(part.mean()) if len(part) else None for part in (losses[is_new], losses[~is_new])]
    return FirstLoss(method, float(losses.mean()), means[0], means[1], len(losses), int(is_new.sum()))


def _losses(
    renewal: Renewal, tables: dict[str, Tensor], examples: Sequence[Example]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Losses and gold ids of the masked tokens, batch by batch."""
    model: Any = renewal.model.model
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        inputs = renewal.new.pad({"input_ids": [one["input_ids"] for one in batch]}, return_tensors="pt")
        logits = functional_call(model, tables, (), dict(inputs.to(model.device))).logits.cpu()
        texts = [index for index, one in enumerate(batch) for _ in one["positions"]]
        places = [place for one in batch for place in one["positions"]]
        gold = torch.tensor([token for one in batch for token in one["gold"]])
        yield nn.functional.cross_entropy(logits[texts, places], gold, reduction="none"), gold
