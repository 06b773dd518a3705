"""Loads the shared encoder, a Hugging Face model, and its tokenizer, and adds the tokens of the heads.

Functions that load weights import `packed_attention`, which brings PyTorch's compiler: that takes seconds, and
`mtl check` loads no weights.

Shapes: B examples, T tokens, H hidden size.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from heads._causal import is_causal
from mtl.encoder.composing import compose_accents
from mtl.encoder.location import cached_only, encoder_folder, load_problems, tokenizer_spec, trained_of
from mtl.encoder.model import Encoder
from mtl.encoder.reinitialisation import reinitialise
from mtl.encoder.self_check import packing_problem, sees_backwards_only
from mtl.problems import InputError, Problem
from mtl.seeding import derive, separate_draws

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from mtl.config.mixture import EncoderSpec

_log = logging.getLogger(__name__)

_POSITIONS_FROM_TWO = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Model families that count positions from the padding id + 1, so that two rows of their table are never used."""

_AROUND_THE_BACKEND = ("truncation_side", "padding_side", "model_input_names", "split_special_tokens")
"""Attributes of a tokenizer that affect its output and are not part of its backend."""


def load_tokenizer(
    spec: EncoderSpec, special_tokens: Sequence[str] = (), *, needs_offsets: bool = True
) -> PreTrainedTokenizerBase:
    """The encoder's own tokenizer, with special tokens added; it reads composed and decomposed accents alike.

    Args:
        spec: The encoder.
        special_tokens: The tokens to add.
        needs_offsets: Whether it must be a fast tokenizer, which gives the offsets of tokens in a text.

    Raises:
        InputError: The encoder cannot be loaded, or has no fast tokenizer and needs one.
    """
    from transformers import AutoTokenizer

    key, source = "encoder.name" if spec.tokenizer is None else "encoder.tokenizer", tokenizer_spec(spec)
    try:
        tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, source)
    except InputError as error:
        raise InputError([Problem(key, one.message, one.suggestion) for one in error.problems]) from error
    if needs_offsets and not tokenizer.is_fast:
        message = (
            f"'{source.name}' has no fast tokenizer, which heads other than generation need for character offsets."
        )
        raise InputError(Problem(key, message, "Use another encoder for these tasks."))
    compose_accents(tokenizer)
    new = [token for token in dict.fromkeys(special_tokens) if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def load_config(spec: EncoderSpec) -> PretrainedConfig:
    """The encoder's configuration with the settings of the mixture; no weights are loaded.

    Raises:
        InputError: The encoder cannot be loaded, or does not support a setting of the mixture.
    """
    from transformers import AutoConfig

    config: PretrainedConfig = _from_pretrained(AutoConfig, spec)
    problems = list(_kind_problems(spec, config))
    depth = config.num_hidden_layers
    if spec.num_layers is not None and spec.num_layers > depth:
        problems.append(Problem("encoder.num_layers", f"must be at most {depth}, got {spec.num_layers}."))
    if spec.freeze_layers > depth:
        problems.append(Problem("encoder.freeze_layers", f"must be at most {depth}, got {spec.freeze_layers}."))
    problems += _layer_problems(spec, depth, shared=getattr(config, "num_hidden_groups", depth) < depth)  # ALBERT
    longest = longest_input(config)
    if spec.max_length > longest:
        problems.append(
            Problem("encoder.max_length", f"must be at most {longest} tokens for '{spec.name}', got {spec.max_length}.")
        )
    if problems:
        raise InputError(problems)
    if spec.num_layers is not None:
        config.num_hidden_layers = spec.num_layers
    if spec.dropout is not None:
        _set_dropout(config, spec.dropout)
    if spec.weights == "random":
        _take_vocabulary(config, load_tokenizer(spec, needs_offsets=False))
    return config


def _kind_problems(spec: EncoderSpec, config: PretrainedConfig) -> Iterator[Problem]:
    """Problems with the kind of the encoder."""
    if is_causal(config) and spec.kind is None:
        message = f"must be set: '{spec.name}' ({config.model_type}) is a causal language model."
        yield Problem("encoder.kind", message, "Add kind: causal.")
    elif spec.kind == "causal" and not is_causal(config):
        message = (
            f"must be left out for '{spec.name}' ({config.model_type}), in which tokens see later ones, got causal."
        )
        yield Problem("encoder.kind", message, "Leave the key out, or name a causal language model.")


def _layer_problems(spec: EncoderSpec, depth: int, *, shared: bool) -> list[Problem]:
    """Problems with the layers to freeze or to re-initialise."""
    problems = []
    used = {"freeze_layers": (spec.freeze_layers, "frozen"), "reinit_layers": (spec.reinit_layers, "re-initialised")}
    for name, (number, what) in used.items():
        if shared and number:
            message = f"The layers of this encoder share their weights, so only some of them cannot be {what}."
            problems.append(Problem(f"encoder.{name}", message, "Remove the key, or use another encoder."))
    if spec.num_layers is not None:
        depth = min(depth, spec.num_layers)
    if spec.reinit_layers is not None and spec.reinit_layers > depth:
        problems.append(Problem("encoder.reinit_layers", f"must be at most {depth}, got {spec.reinit_layers}."))
    elif spec.reinit_layers is not None and spec.freeze_layers <= depth < spec.freeze_layers + spec.reinit_layers:
        message = f"must be at most {depth - spec.freeze_layers}, got {spec.reinit_layers}: a layer that is"
        message += " re-initialised must be trained."
        problems.append(Problem("encoder.reinit_layers", message, "Lower it, or lower freeze_layers."))
    return problems


def longest_input(config: PretrainedConfig) -> int:
    """The maximum length of an input in tokens, from the number of positions of an encoder."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    return positions - 2 if config.model_type in _POSITIONS_FROM_TWO else positions


def load_encoder(spec: EncoderSpec, tokenizer: PreTrainedTokenizerBase, seed: int, *, weights: bool = True) -> Encoder:
    """The encoder with its weights, and embeddings for the tokens added by the heads.

    The embedding of a new token is the mean of the original embeddings plus noise with standard deviation 0.02. Each
    token has its own random stream, so the tokens of other tasks do not change it.

    Args:
        spec: The encoder to load.
        tokenizer: Its tokenizer, with all special tokens added.
        seed: Seed of the run.
        weights: Whether to load the weights; False builds the architecture only, for weights from a checkpoint.
    """
    from mtl.encoder import packed_attention

    config = load_config(spec)
    packs = spec.attention == "auto" and supports_packing(config)
    causal = spec.kind == "causal"
    implementation = packed_attention.register(causal=causal) if packs else _fixed_attention(spec.attention)
    chosen: dict[str, Any] = {} if implementation is None else {"attn_implementation": implementation}
    shipped: dict[str, torch.Tensor] | None = None
    if not weights:
        model = _from_config(config, chosen)
    elif spec.weights == "random":
        model, shipped = _random(config, chosen, seed), {}
    else:
        model, shipped = _pretrained(spec, config, chosen)
    if weights and spec.reinit_layers is not None:
        reinitialise(model, spec.reinit_layers, seed)
    _add_embeddings(model, tokenizer, len(load_tokenizer(spec, needs_offsets=False)), seed)
    first_position = config.pad_token_id + 1 if config.model_type in _POSITIONS_FROM_TWO else 0
    if spec.gradient_checkpointing:
        # transformers renamed it in 5.23.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        try:
            enable({"use_reentrant": False})
        except ValueError as error:
            message = f"'{spec.name}' ({config.model_type}) does not support it."
            problem = Problem("encoder.gradient_checkpointing", message, "Leave it out, or use another encoder.")
            raise InputError(problem) from error
    if causal and not sees_backwards_only(model):
        message = f"The states of '{spec.name}' ({config.model_type}) depend on later tokens, so it is not causal."
        raise InputError(Problem("encoder.kind", message, "Use another encoder."))
    if packs and (unequal := packing_problem(model, first_position)) is not None:
        packs = False
        model.set_attn_implementation("sdpa" if type(model)._supports_sdpa else "eager")
        message = "The encoder '%s' (%s) failed the self-check of packing, so its batches are padded: %s"
        _log.warning(message, spec.name, config.model_type, unequal)
    elif spec.attention == "auto" and not packs:
        _log.info("The encoder '%s' (%s) cannot be packed; its batches are padded.", spec.name, config.model_type)
    return Encoder(
        model,
        freeze_layers=spec.freeze_layers,
        freeze_embeddings=spec.freeze_embeddings,
        causal=causal,
        packs=packs,
        first_position=first_position,
        shipped=shipped,
        load_masked_lm=partial(masked_lm_weights, spec) if weights else None,
        load_causal_lm=partial(causal_lm_weights, spec) if weights else None,
    )


def masked_lm_weights(spec: EncoderSpec, *, downloads: bool = True) -> dict[str, torch.Tensor]:
    """The weights of the encoder's head for masked language modelling, by their names in the class for it.

    Empty if the family has no such class, if the weights are random, or if the encoder is that of a run, whose head
    belongs to a task. Weights that the checkpoint lacks are left out: transformers would draw them.

    Args:
        spec: The encoder.
        downloads: Whether the weights are downloaded if they are not on this machine.

    Raises:
        InputError: The encoder cannot be loaded.
    """
    from transformers import AutoModelForMaskedLM

    return _head_weights(AutoModelForMaskedLM, spec, downloads=downloads)


def causal_lm_weights(spec: EncoderSpec, *, downloads: bool = True) -> dict[str, torch.Tensor]:
    """As `masked_lm_weights`, of the head for causal language modelling."""
    from transformers import AutoModelForCausalLM

    return _head_weights(AutoModelForCausalLM, spec, downloads=downloads)


def _head_weights(auto: Any, spec: EncoderSpec, *, downloads: bool) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint that a class has in addition to the encoder, by their names in it."""
    config = load_config(spec)
    if spec.weights == "random" or trained_of(spec.name) is not None:
        return {}
    if type(config) not in auto._model_mapping:
        return {}
    with without_reports():  # it would list the weights that are left out here
        model, loading = _from_pretrained(
            auto, spec, downloads=downloads, config=config, dtype=torch.float32, output_loading_info=True
        )
    encoder, missing = f"{model.base_model_prefix}.", set(loading["missing_keys"])
    return {
        name: weight.detach()
        for name, weight in model.named_parameters(remove_duplicate=False)
        if not name.startswith(encoder) and name not in missing
    }


@contextmanager
def without_reports() -> Iterator[None]:
    """A context in which transformers does not report which weights a checkpoint lacks."""
    from transformers.utils import logging as transformers_logging

    verbosity: Any = transformers_logging
    before = verbosity.get_verbosity()
    verbosity.set_verbosity_error()
    try:
        yield
    finally:
        verbosity.set_verbosity(before)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of everything that determines how text is tokenized."""
    if not tokenizer.is_fast:
        return _slow_fingerprint(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()  # calls leave both settings behind, and every call sets them again
    tokenizer.backend_tokenizer.no_padding()
    around = {name: getattr(tokenizer, name) for name in _AROUND_THE_BACKEND}
    parts = [tokenizer.backend_tokenizer.to_str(), type(tokenizer).__qualname__, around]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _slow_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """The hash of a tokenizer in Python: its class and the content of the files that it saves."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).rglob("*"))}
    parts = [type(tokenizer).__qualname__, {name: getattr(tokenizer, name) for name in _AROUND_THE_BACKEND}, files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _from_pretrained(auto: Any, spec: EncoderSpec, *, downloads: bool = True, **arguments: Any) -> Any:
    folder, revision = encoder_folder(spec.name), spec.revision or "main"
    with load_problems(spec):
        only_local = not downloads or cached_only(folder, revision)
        return auto.from_pretrained(folder, revision=revision, local_files_only=only_local, **arguments)


def supports_packing(config: PretrainedConfig) -> bool:
    """Whether a model family takes an attention function from outside, which packing needs."""
    from transformers import AutoModel

    family: Any = AutoModel._model_mapping.get(type(config), None)
    return bool(getattr(family, "_supports_attention_backend", False))


def is_said_to_pack(config: PretrainedConfig) -> bool:
    """The answer of `supports_packing` from the source of a model family, without importing it, for a quick start."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None or name == type(config).__module__:
        return supports_packing(config)
    source = Path(found.origin).read_text(encoding="utf-8")
    return re.search(r"^    _supports_attention_backend = True$", source, re.MULTILINE) is not None


def _pooler_weights(model: Any, missing: Collection[str]) -> dict[str, torch.Tensor]:
    """The weights of the model's pooler, by their names in the class for sequence classification.

    It is empty if the checkpoint lacks any of them: transformers then draws them at random.

    Args:
        model: The loaded model.
        missing: Names of its weights that are not in the checkpoint.
    """
    pooler = getattr(model, "pooler", None)
    weights = {} if pooler is None else dict(pooler.named_parameters(prefix="pooler"))
    if weights.keys() & set(missing):
        return {}
    return {f"{model.base_model_prefix}.{name}": weight.detach() for name, weight in weights.items()}


def _fixed_attention(attention: str) -> str | None:
    """The requested attention. `auto` gives transformers' choice with a GPU, eager attention without one."""
    if attention != "auto":
        return attention
    return None if torch.cuda.is_available() else "eager"


def _pretrained(
    spec: EncoderSpec, config: PretrainedConfig, chosen: Mapping[str, Any]
) -> tuple[Any, dict[str, torch.Tensor]]:
    """The model with its weights, and the weights of its pooler, which a run does not train."""
    from transformers import AutoModel

    trained = trained_of(spec.name)
    if trained is None:
        model, loading = _from_pretrained(
            AutoModel, spec, config=config, dtype=torch.float32, output_loading_info=True, **chosen
        )
        return model, _pooler_weights(model, loading["missing_keys"])
    with separate_draws():
        model = _from_config(config, chosen)
    load_weights(model, trained.weights(), trained.checkpoint)
    return model, {}


def load_weights(model: Any, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Sets all weights of a model but those of its pooler; it may have fewer layers than the source.

    Args:
        model: The model.
        weights: Its weights by name. A weight that is tied to another one may be left out.
        source: Where they come from, for errors.

    Raises:
        InputError: Weights are missing.
    """
    missing, _ = model.load_state_dict(weights, strict=False)
    own = model.state_dict(keep_vars=True)
    tied = {id(own[name]) for name in weights if name in own}
    lacking = [name for name in missing if ".pooler." not in f".{name}" and id(own[name]) not in tied]
    if lacking:
        message = f"The checkpoint lacks {len(lacking)} weights of the encoder, such as {lacking[0]}."
        raise InputError(Problem(str(source), message, "Use another checkpoint."))


def _random(config: PretrainedConfig, chosen: Mapping[str, str], seed: int) -> Any:
    """The model with weights from the distributions that its family starts from, drawn from a stream of its own."""
    with separate_draws(derive(seed, "encoder")):
        return _from_config(config, chosen)


def _take_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Sets the size of the vocabulary and the ids of special tokens to those of a tokenizer."""
    config.vocab_size = len(tokenizer)
    for name in ("pad", "unk", "bos", "eos", "cls", "sep", "mask"):
        index = getattr(tokenizer, f"{name}_token_id", None)
        if index is not None and hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", index)


def _from_config(config: PretrainedConfig, chosen: Mapping[str, str]) -> Any:
    from transformers import AutoModel

    make: Any = AutoModel.from_config
    return make(config, dtype=torch.float32, **chosen)


def _add_embeddings(model: Any, tokenizer: PreTrainedTokenizerBase, num_known: int, seed: int) -> None:
    """Sets the embeddings of the added tokens.

    Some embedding tables have unused rows (DeBERTa-v3). A new token must not keep the values of such a row, because
    they depend on how many tokens were added before it.
    """
    added = {token: index for token, index in tokenizer.get_added_vocab().items() if index >= num_known}
    if not added:
        return
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        mean = table[:num_known].mean(dim=0)
        for token, index in added.items():
            generator = torch.Generator().manual_seed(derive(seed, "embedding", token))
            table[index] = mean + 0.02 * torch.randn(mean.shape, generator=generator)


def _set_dropout(config: PretrainedConfig, dropout: float) -> None:
    """Sets all dropout rates of a configuration; their names depend on the model family."""
    for name in vars(config):
        if name.endswith(("dropout", "dropout_prob", "pdrop")):  # the last is GPT-2's
            setattr(config, name, dropout)
