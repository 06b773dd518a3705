"""From a mixture to the objects that Lightning trains: here configuration ends and plain arguments begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from heads import Head
from mtl.balancing import Balancing
from mtl.batching.data_module import MixtureData
from mtl.config import components
from mtl.config.mixture import Mixture, build_head
from mtl.config.schema import checked
from mtl.encoder.pretrained import load_config, load_encoder, load_tokenizer, longest_input
from mtl.problems import InputError, Problem
from mtl.seeding import derive
from mtl.training.module import MultiTaskModule
from mtl.training.options import Optimisation
from mtl.training.selection import Selection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_heads(mixture: Mixture, known_tokens: Sequence[str] = ()) -> tuple[dict[str, Head], PreTrainedTokenizerBase]:
    """The head of each task, and the encoder's tokenizer with the tokens that the heads need.

    Each head draws its weights from a stream of its task's own, so that a partner does not change them.

    Args:
        mixture: The tasks and the encoder.
        known_tokens: Tokens that were added to the encoder in an earlier run that this one continues, in its order.

    Raises:
        InputError: The encoder is not available or cannot read texts that long.
    """
    config = load_config(mixture.encoder)
    longest = longest_input(config)
    problems = [
        Problem(f"tasks.{name}.max_length", f"The encoder reads at most {longest} tokens; found {spec.max_length}.")
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
    compile: bool = False,
    built: tuple[Mapping[str, Head], PreTrainedTokenizerBase] | None = None,
    **optimisation: Any,
) -> MultiTaskModule:
    """The module that trains a mixture.

    Args:
        mixture: The tasks and the encoder.
        weights: False leaves the encoder's weights random, for weights that a checkpoint holds.
        compile: Whether to compile the encoder with `torch.compile`, which takes about a minute.
        built: What `build_heads` gave for this mixture; None builds it here.
        optimisation: Fields of `Optimisation`, such as ``learning_rate=2e-4``.

    Raises:
        InputError: The encoder is not available, or a field of the optimisation is wrong.
    """
    heads, tokenizer = built or build_heads(mixture)
    return MultiTaskModule(
        load_encoder(mixture.encoder, tokenizer, mixture.seed, weights=weights),
        heads,
        build_balancing(mixture),
        build_selection(mixture, heads),
        seed=mixture.seed,
        optimisation=checked(Optimisation, optimisation, "model"),
        learning_rate_factors={name: spec.learning_rate_factor for name, spec in mixture.tasks.items()},
        compile=compile,
        config=mixture.to_dict(),
    )


def build_balancing(mixture: Mixture) -> Balancing:
    """The method that balances the losses of a mixture's tasks."""
    cls = components.find("balancing", mixture.balancing.name, "balancing.name")
    weights = {name: spec.loss_weight for name, spec in mixture.tasks.items()}
    balancing: Balancing = components.build(cls, weights, **mixture.balancing.options)
    return balancing


def build_selection(mixture: Mixture, heads: Mapping[str, Head]) -> Selection:
    """What decides which evaluation of a mixture on dev is the best."""
    return Selection(
        {name: head.primary_metric for name, head in heads.items()},
        rule=mixture.evaluation.select,
        weights=mixture.evaluation.weights,
        lower_is_better={name: head.lower_is_better for name, head in heads.items()},
    )


def build_data(mixture: Mixture) -> MixtureData:
    """The data module of a mixture."""
    heads, tokenizer = build_heads(mixture)
    return MixtureData(mixture, heads, tokenizer)
