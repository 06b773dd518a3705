"""Token Distillation: new rows with which the model has the states that it has with the old tokens.

Shapes: N new tokens, E size of the token embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtl.problems import InputError, Problem
from mtl.seeding import stream
from mtl.vocabulary.alignment import aligned, padded
from mtl.vocabulary.initialisers import NewRows, Setting, require_at_least, require_layer
from mtl.vocabulary.initialisers.pieces_mean import PiecesMean
from mtl.vocabulary.tables import new_tables

_MASKED = 0.15
"""Share of the tokens that the cross-entropy predicts."""


class Distill(PiecesMean):
    """Trains the new rows so that texts with new tokens have the states of the same texts with old tokens.

    Source: Token Distillation (Dobler et al. 2025, arXiv 2505.20133), with the defaults of the authors' code. Rows
    start as the mean of their old tokens' rows. The loss is the mean squared error between the states with the new and
    with the old tokens, over all tokens that both texts have, and the last old token of each new one. Only the new rows
    are trained, by AdamW without weight decay and dropout; the learning rate rises for half an epoch and then falls
    linearly to 0. A token without occurrences keeps its first row.

    The authors' models predict the next token; for a masked language model, `cross_entropy` predicts masked tokens
    instead: 15% of the tokens of each text, with the new tokens. As in the paper, it is weighted so that it is as large
    as the squared error. It is what trains an output layer with a table of its own.

    Args:
        layer: The layer whose states are compared; -1 for the last one.
        learning_rate: Highest learning rate.
        batch_size: Texts per update.
        epochs: Passes over the texts.
        texts_per_token: Maximum number of texts per token, drawn at random.
        text_length: Number of tokens of each text.
        cross_entropy: Whether the loss of masked tokens is added.

    Raises:
        InputError: A number is too small.
    """

    other_names = ("token_distillation", "distillation", "tokdist", "awedist")

    def __init__(
        self,
        *,
        layer: int = -1,
        learning_rate: float = 1e-4,
        batch_size: int = 16,
        epochs: int = 1,
        texts_per_token: int = 100,
        text_length: int = 50,
        cross_entropy: bool = False,
    ) -> None:
        counts = {"batch_size": batch_size, "epochs": epochs, "texts_per_token": texts_per_token}
        require_at_least({name: (value, 1) for name, value in {**counts, "text_length": text_length}.items()})
        if not learning_rate > 0:
            raise InputError(Problem("init.learning_rate", f"must be above 0, got {learning_rate}."))
        self._layer, self._learning_rate, self._cross_entropy = layer, learning_rate, cross_entropy
        self._batch_size, self._epochs = batch_size, epochs
        self.num_snippets, self.snippet_length = texts_per_token, text_length

    def rows(self, setting: Setting) -> NewRows:
        require_layer(self._layer, setting.model)
        if self._cross_entropy and not setting.model.has_masked_lm:
            message = "needs an encoder with a head for masked language modelling, got one without."
            raise InputError(Problem("init.cross_entropy", message, "Set it to false."))
        texts = list(dict.fromkeys(one.text for found in setting.occurrences.values() for one in found))
        start = self._from_tables(setting)
        if not texts:
            return start
        student = _Student(setting, start)
        losses = self._trained(student, texts, setting)
        tenth = max(1, len(losses) // 10)
        report = {
            "texts": len(texts),
            "updates": len(losses),
            "first_loss": sum(losses[:tenth]) / tenth,
            "last_loss": sum(losses[-tenth:]) / tenth,
        }
        outputs = None if student.outputs is None else student.outputs.detach()
        return NewRows(student.inputs.detach(), outputs, report)

    def _trained(self, student: _Student, texts: Sequence[str], setting: Setting) -> list[float]:
        """Trains the rows; returns the squared error of each update."""
        per_epoch = -(-len(texts) // self._batch_size)
        total, warmup = per_epoch * self._epochs, per_epoch // 2
        optimiser = torch.optim.AdamW(student.trained(self._cross_entropy), lr=self._learning_rate, weight_decay=0.0)
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / (warmup + 1), (total - step) / max(1, total - warmup))
        )
        losses: list[float] = []
        for batch in self._batches(texts, setting.seed):
            error = student.error(batch, self._layer)
            loss = error
            if self._cross_entropy:
                masked = student.masked_loss(batch, stream(setting.seed, "distill masks", len(losses)))
                loss = error + masked * (error.detach() / masked.detach().clamp(min=1e-12))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
            losses.append(float(error.detach()))
        return losses

    def _batches(self, texts: Sequence[str], seed: int) -> Iterator[list[str]]:
        for epoch in range(self._epochs):
            order = stream(seed, "distill", epoch).permutation(len(texts)).tolist()
            for start in range(0, len(order), self._batch_size):
                yield [texts[index] for index in order[start : start + self._batch_size]]


class _Student:
    """The model with new tokens, whose old rows are constants.

    Args:
        setting: Model and tokenizers.
        start: First values of the new rows.
    """

    def __init__(self, setting: Setting, start: NewRows) -> None:
        self._setting = setting
        self.inputs = nn.Parameter(start.inputs.clone())
        self.outputs = None if start.outputs is None else nn.Parameter(start.outputs.clone())
        for parameter in setting.model.model.parameters():
            parameter.requires_grad_(requires_grad=False)

    def trained(self, cross_entropy: bool) -> list[nn.Parameter]:
        """The new rows that have a gradient."""
        return [self.inputs, self.outputs] if cross_entropy and self.outputs is not None else [self.inputs]

    def error(self, texts: Sequence[str], layer: int) -> Tensor:
        """The mean squared error between the states with new and with old tokens."""
        setting = self._setting
        pairs, old, new = aligned(texts, setting.old, setting.new, setting.max_length)
        with torch.no_grad():
            expected = self._states(old, layer, {})
        found = self._states(new, layer, self._tables(self._setting.model.encoder))
        pairs = pairs.to(found.device)
        return nn.functional.mse_loss(found[pairs[:, 0], pairs[:, 1]], expected[pairs[:, 0], pairs[:, 2]])

    def masked_loss(self, texts: Sequence[str], generator: Any) -> Tensor:
        """The mean loss of tokens that are masked at random, with the new tokens."""
        model, tokenizer = self._setting.model.model, self._setting.new
        encoded = padded(texts, tokenizer, self._setting.max_length).to(model.device)
        encoded.pop("offset_mapping")
        ids = encoded["input_ids"]
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=ids.device))
        drawn = torch.from_numpy(generator.random(tuple(ids.shape)) < _MASKED).to(ids.device) & ~special
        if not drawn.any():
            drawn |= (~special).cumsum(dim=1).eq(1) & ~special  # the first token of each text
        read = {**encoded, "input_ids": ids.masked_fill(drawn, tokenizer.mask_token_id)}
        logits = functional_call(model, self._tables(model), (), read).logits
        return nn.functional.cross_entropy(logits[drawn], ids[drawn])

    def _states(self, encoded: Any, layer: int, tables: dict[str, Tensor]) -> Tensor:
        encoder = self._setting.model.encoder
        inputs = {**encoded.to(encoder.device), "output_hidden_states": True}
        states: Tensor = functional_call(encoder, tables, (), inputs).hidden_states[layer]
        return states

    def _tables(self, module: nn.Module) -> dict[str, Tensor]:
        """The tables with new rows, by their names in a module."""
        return new_tables(module, self._setting.model, self._setting.exchange, self.inputs, self.outputs)
