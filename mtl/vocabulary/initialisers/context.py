"""Contextual distillation: the states of the old tokens of a word, averaged over texts with the word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from mtl.problems import InputError, Problem
from mtl.vocabulary.initialisers import NewRows, Setting, require_at_least, require_layer
from mtl.vocabulary.initialisers.pieces_mean import PiecesMean
from mtl.vocabulary.occurrences import Occurrence

_BATCH = 32
"""Number of texts that are encoded at once."""


class Context(PiecesMean):
    """Gives a new token the mean state of its old tokens in texts of the corpus.

    In each text with the word, the old model's states of the word's tokens become one vector (`pieces`), and the
    vectors of all texts become the row (`occurrences`), as BIOptimus does (arXiv 2308.08625). The paper's abstract
    leaves the layer and the number of texts open, so the defaults are ours. The states of a layer are longer or
    shorter than embeddings, so rows are rescaled. A token without occurrences gets the row of `pieces_mean`, as do all
    rows of an output layer with a table of its own.

    Args:
        layer: The layer whose states are read: 0 for the embeddings, -1 for the last layer.
        pieces: How the states of the tokens of one occurrence are combined.
        occurrences: How the vectors of all occurrences are combined.
        rescale: "mean_norm" gives each row the mean norm of the old rows; "none" keeps the norm of the states.
        texts_per_token: Maximum number of texts per token, drawn at random.
        text_length: Number of tokens of each text.

    Raises:
        InputError: A number is below 1.
    """

    other_names = ("contextual", "context_mean", "contextual_distillation", "bioptimus")

    def __init__(
        self,
        *,
        layer: int = -1,
        pieces: Literal["mean", "first", "last"] = "mean",
        occurrences: Literal["mean", "median"] = "mean",
        rescale: Literal["mean_norm", "none"] = "mean_norm",
        texts_per_token: int = 20,
        text_length: int = 64,
    ) -> None:
        require_at_least({"texts_per_token": (texts_per_token, 1), "text_length": (text_length, 1)})
        self._layer, self._pieces, self._occurrences, self._rescale = layer, pieces, occurrences, rescale
        self.num_snippets, self.snippet_length = texts_per_token, text_length

    @torch.no_grad()
    def rows(self, setting: Setting) -> NewRows:
        require_layer(self._layer, setting.model)
        table = setting.model.inputs
        width, hidden = table.shape[1], setting.model.encoder.config.hidden_size
        if width != hidden:
            message = f"'context' needs token embeddings of the hidden size {hidden}, got {width}."
            raise InputError(Problem("init.method", message, "Use pieces_mean or distill."))
        found = self._from_tables(setting)
        norm = table.norm(dim=1).mean()
        places = {token: place for place, token in enumerate(setting.exchange.ids)}
        num_read = 0
        for token, group in groupby(self._vectors(setting), key=lambda pair: pair[0]):
            vectors = torch.stack([vector for _, vector in group])
            row = vectors.mean(dim=0) if self._occurrences == "mean" else vectors.median(dim=0).values
            if self._rescale == "mean_norm":
                row = row * norm / row.norm().clamp(min=1e-12)
            found.inputs[places[token]] = row
            num_read += 1
        return found._replace(report={"tokens_from_context": num_read})

    def _vectors(self, setting: Setting) -> Iterator[tuple[int, Tensor]]:
        """The vector of each occurrence [H] with the id of its token, token by token."""
        pairs = [(token, one) for token, found in setting.occurrences.items() for one in found]
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            states, places = self._states([one for _, one in batch], setting)
            for (token, _), of_text, own in zip(batch, states, places, strict=True):
                if own:  # none if the text is cut before the word
                    yield token, self._combined(of_text[own])

    def _states(self, found: Sequence[Occurrence], setting: Setting) -> tuple[Tensor, list[list[int]]]:
        """The states of the texts [B, T, H], and the places of the word's old tokens in each."""
        encoded = setting.old(
            [one.text for one in found],
            padding=True,
            truncation=True,
            max_length=setting.max_length,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping").tolist()
        places = [
            [place for place, (start, end) in enumerate(spans) if max(start, one.start) < min(end, one.end)]
            for one, spans in zip(found, offsets, strict=True)
        ]
        encoder = setting.model.encoder
        output = encoder(**encoded.to(encoder.device), output_hidden_states=True)
        return output.hidden_states[self._layer], places

    def _combined(self, states: Tensor) -> Tensor:
        """One vector [H] from the states of the tokens of an occurrence."""
        return {"mean": states.mean(dim=0), "first": states[0], "last": states[-1]}[self._pieces]
