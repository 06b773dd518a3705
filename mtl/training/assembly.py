"""From a mixture to the objects that Lightning trains: configuration ends here and plain arguments begin.

Lightning is imported by the functions that build its objects, because that takes seconds and `mtl check` needs only
the heads.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads import Head
from mtl.balancing import Balancing
from mtl.batching.phase_heads import PhaseHeads
from mtl.config import components
from mtl.config.curriculum import phases
from mtl.config.mixture import Mixture, build_head
from mtl.config.schema import checked
from mtl.encoder.pretrained import load_config, load_encoder, load_tokenizer, longest_input
from mtl.encoder.trained_run import trained_encoder
from mtl.problems import InputError, Problem
from mtl.seeding import derive, separate_draws
from mtl.training.guard import Guard
from mtl.training.hyperparameters import Optimisation
from mtl.training.selection import Selection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.batching.gated_data import GatedData
    from mtl.encoder.model import Encoder
    from mtl.training.module import MultiTaskModule

_log = logging.getLogger(__name__)


def build_heads(mixture: Mixture, known_tokens: Sequence[str] = ()) -> tuple[dict[str, Head], PreTrainedTokenizerBase]:
    """The head of each task, and the encoder's tokenizer with the tokens that the heads need.

    The initial weights of a head come from a random stream keyed by its task, so that a partner does not change them.

    Args:
        mixture: The tasks and the encoder.
        known_tokens: Tokens that an earlier run added to the encoder, in its order, if this run starts from it.

    Raises:
        InputError: The encoder is not available, a task's `max_length` is above what it can read, or a head cannot work
            with it.
    """
    if mixture.init is not None:
        trained_encoder(Path(mixture.init.run))  # whatever the path is, its problems are those of a run
    config = load_config(mixture.encoder)
    longest = longest_input(config)
    problems = [
        Problem(f"tasks.{name}.max_length", f"must be at most {longest} for this encoder, got {spec.max_length}.")
        for name, spec in mixture.tasks.items()
        if (spec.max_length or 0) > longest
    ]
    if problems:
        raise InputError(problems)
    heads: dict[str, Head] = {}
    for name, spec in mixture.tasks.items():
        with separate_draws(derive(mixture.seed, "head", name)):
            heads[name] = build_head(spec, int(config.hidden_size))
    unsuitable = {name: head.encoder_problem(config) for name, head in heads.items()}
    problems = [Problem(f"tasks.{name}.options", f"{why}.") for name, why in unsuitable.items() if why is not None]
    if problems:
        raise InputError(problems)
    tokens = [token for head in heads.values() for token in head.special_tokens()]
    needs_offsets = any(head.needs_offsets for head in heads.values())
    tokenizer = load_tokenizer(mixture.encoder, [*known_tokens, *tokens], needs_offsets=needs_offsets)
    unsuitable = {name: head.read_tokenizer(tokenizer) for name, head in heads.items()}
    advice = "Choose another encoder or another head."
    problems = [Problem(f"tasks.{name}.head", f"{why}.", advice) for name, why in unsuitable.items() if why is not None]
    if problems:
        raise InputError(problems)
    return heads, tokenizer


def build_module(
    mixture: Mixture,
    *,
    weights: bool = True,
    compile: bool = False,
    cuda_graphs: bool = False,
    guard: Guard | None = None,
    built: tuple[Mapping[str, Head], PreTrainedTokenizerBase] | None = None,
    **optimisation: Any,
) -> MultiTaskModule:
    """The module that trains a mixture.

    Args:
        mixture: The tasks and the encoder.
        weights: Whether to load the encoder's pretrained weights; False leaves them random, to be loaded from a
            checkpoint.
        compile: Whether to compile the encoder with `torch.compile`, which takes about a minute.
        cuda_graphs: Whether to train with CUDA graphs where that is possible. Not yet verified on a GPU.
        guard: What happens to updates that would harm the training; None takes the defaults.
        built: Result of `build_heads` for this mixture; None calls it.
        optimisation: Fields of `Optimisation`, such as ``learning_rate=2e-4``.

    Raises:
        InputError: The encoder is not available, or a field of the optimisation is invalid.
    """
    from mtl.training.matching_heads import load_matching, matching_tasks
    from mtl.training.module import MultiTaskModule

    heads, tokenizer = built or build_heads(mixture)
    encoder = load_encoder(mixture.encoder, tokenizer, mixture.seed, weights=weights)
    matching = matching_tasks(mixture) if weights else []
    _attach(heads, encoder, mixture.seed, known=matching)
    if matching:
        load_matching(heads, mixture, matching)
    phase_heads = PhaseHeads.of(mixture, heads, tokenizer, hidden_size=encoder.hidden_size)
    phase_heads.attach(encoder)
    return MultiTaskModule(
        encoder,
        heads,
        build_balancing(mixture),
        build_selection(mixture, heads),
        seed=mixture.seed,
        optimisation=checked(Optimisation, optimisation, "model"),
        learning_rate_factors={name: spec.learning_rate_factor for name, spec in mixture.tasks.items()},
        guard=guard,
        compile=compile,
        cuda_graphs=cuda_graphs,
        loss_weights=_loss_weights(mixture),
        phase_heads=phase_heads,
        config=mixture.to_dict(),
    )


def _loss_weights(mixture: Mixture) -> list[tuple[int, dict[str, float]]]:
    """The loss weight of every task from each phase of the curriculum on; empty if they do not change."""
    found = [
        (from_step, {name: spec.loss_weight for name, spec in changed.tasks.items()})
        for from_step, changed in phases(mixture)
    ]
    return found if mixture.curriculum else []


def _attach(heads: Mapping[str, Head], encoder: Encoder, seed: int, *, known: Collection[str]) -> None:
    """Attaches the heads to the encoder, each with a random stream of its task, and logs what they say about it.

    Args:
        heads: The head of each task.
        encoder: The encoder.
        seed: Seed of the run.
        known: Tasks whose heads do not keep these first weights, so that there is nothing to log.
    """
    tasks_of: dict[str, list[str]] = {}
    for name, head in heads.items():
        with separate_draws(derive(seed, "attach", name)):
            note = head.attach(encoder)
        if note is not None and name not in known:
            tasks_of.setdefault(note, []).append(name)
    for note, tasks in tasks_of.items():
        _log.warning("%s: %s.", ", ".join(tasks), note)


def build_balancing(mixture: Mixture) -> Balancing:
    """The method that balances the losses of a mixture's tasks."""
    cls = components.find("balancing", mixture.balancing.name, "balancing.name")
    weights = {name: mixture.tasks[name].loss_weight for name in mixture.trained()}
    balancing: Balancing = components.build(cls, weights, **mixture.balancing.options)
    return balancing


def build_selection(mixture: Mixture, heads: Mapping[str, Head]) -> Selection:
    """The rule that selects the best evaluation of a mixture on dev."""
    return Selection(
        {name: heads[name].primary_metric for name in mixture.trained()},
        rule=mixture.evaluation.select,
        weights=mixture.evaluation.weights,
        lower_is_better={name: head.lower_is_better for name, head in heads.items()},
    )


def build_data(mixture: Mixture, *, refuses_leakage: bool = True) -> GatedData:
    """The data module of a mixture.

    Args:
        mixture: The tasks and the encoder.
        refuses_leakage: Whether overlaps of train with dev or test are errors if `leakage` of the mixture says so.
    """
    from mtl.batching.gated_data import GatedData

    heads, tokenizer = build_heads(mixture)
    return GatedData(mixture, heads, tokenizer, refuses=refuses_leakage)
