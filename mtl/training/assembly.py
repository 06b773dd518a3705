"""From a mixture to the objects that Lightning trains: here configuration ends and plain arguments begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from heads import Head
from mtl.batching.data_module import MixtureData
from mtl.config.mixture import Mixture, build_head
from mtl.encoder.loading import load_config, load_encoder, load_tokenizer, longest_input
from mtl.problems import InputError, Problem
from mtl.samplers import require_positive
from mtl.seeding import derive
from mtl.training.module import MultiTaskModule
from mtl.training.optimisation import Schedule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_heads(mixture: Mixture, known_tokens: Sequence[str] = ()) -> tuple[dict[str, Head], PreTrainedTokenizerBase]:
    """The head of each task, and the encoder's tokenizer with the tokens that the heads need.

    A head's weights come from a stream of the task's own, so that a partner doesn't change them.

    Args:
        mixture: The tasks and the encoder.
        known_tokens: Tokens that an encoder which goes on from another run has already, in its order.

    Raises:
        InputError: The encoder isn't there or can't read texts that long.
    """
    config = load_config(mixture.encoder)
    longest = longest_input(config)
    problems = [
        Problem(
            f"tasks.{name}.max_length", f"The encoder reads at most {longest} word pieces; found {spec.max_length}."
        )
        for name, spec in mixture.tasks.items()
        if (spec.max_length or 0) > longest
    ]
    if problems:
        raise InputError(problems)
    heads: dict[str, Head] = {}
    for name, spec in mixture.tasks.items():
        with torch.random.fork_rng():
            torch.manual_seed(derive(mixture.seed, "head", name))
            heads[name] = build_head(spec, int(config.hidden_size))
    tokens = [token for head in heads.values() for token in head.special_tokens()]
    return heads, load_tokenizer(mixture.encoder, [*known_tokens, *tokens])


def build_module(
    mixture: Mixture,
    *,
    weights: bool = True,
    learning_rate: float = 5e-5,
    head_learning_rate: float | None = None,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    schedule: Schedule = "linear",
    compile: bool = False,
    built: tuple[Mapping[str, Head], PreTrainedTokenizerBase] | None = None,
) -> MultiTaskModule:
    """The module that trains a mixture.

    Args:
        mixture: The tasks and the encoder.
        weights: False leaves the encoder's weights random, for weights that a checkpoint holds.
        learning_rate: Peak learning rate of the encoder.
        head_learning_rate: Peak learning rate of the heads; None takes that of the encoder.
        weight_decay: Of everything but biases and norms.
        warmup: Share of all updates in which the learning rate rises.
        schedule: Of the learning rate after the warm-up: linear or cosine down to 0, or constant.
        compile: Whether to compile the encoder with `torch.compile`, which takes about a minute.
        built: What `build_heads` gave for this mixture; None builds it here.

    Raises:
        InputError: The encoder isn't there, or a number is out of its range.
    """
    require_positive({"model.learning_rate": learning_rate, "model.head_learning_rate": head_learning_rate})
    if not 0 <= warmup <= 1:
        raise InputError(Problem("model.warmup", f"It must be a share of all updates, from 0 to 1; found {warmup!r}."))
    if weight_decay < 0:
        raise InputError(Problem("model.weight_decay", f"It must be 0 or more; found {weight_decay!r}."))
    heads, tokenizer = built or build_heads(mixture)
    encoder = load_encoder(mixture.encoder, tokenizer, mixture.seed, weights=weights)
    return MultiTaskModule(
        encoder,
        heads,
        mixture.evaluation,
        config=mixture.to_dict(),
        seed=mixture.seed,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        learning_rate_factors={name: spec.learning_rate_factor for name, spec in mixture.tasks.items()},
        weight_decay=weight_decay,
        warmup=warmup,
        schedule=schedule,
        compile=compile,
    )


def build_data(mixture: Mixture) -> MixtureData:
    """The data module of a mixture."""
    heads, tokenizer = build_heads(mixture)
    return MixtureData(mixture, heads, tokenizer)
