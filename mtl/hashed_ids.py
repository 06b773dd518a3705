"""Ids of rows and documents as they are shown outside the folder of a run.

An id is shown as it is if it looks like an id. With `privacy.hash_ids: true` a keyed hash (HMAC-SHA-256) is shown, from
which only the holder of the key can find the id again, by hashing all ids of the data: `mtl ids RUN`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from mtl.files import sync_folder
from mtl.problems import InputError, Problem
from mtl.redaction import is_id

DECIDES_RESULTS = False

KEY_VARIABLE = "MTL_ID_KEY"
"""Variable with the file of the key."""

PREFIX = "id-"
"""Start of every hashed id."""

HASH_LENGTH, KEY_BYTES = 32, 32
"""Hexadecimal digits of a hashed id (128 bits, so collisions are unlikely), and bytes of the key."""

_SHARED = re.compile(rf"{PREFIX}[0-9a-f]{{{HASH_LENGTH}}}|an id of \d+ characters")


class _Process:
    """What this process shows.

    Once hashing is on it stays on, because a message must not show an id after a second mixture was loaded.
    """

    key: bytes | None = None


def hash_from_now_on() -> None:
    """Makes this process show hashed ids; the key is created on first use.

    Raises:
        InputError: The file of the key cannot be read or created.
    """
    if _Process.key is None:
        _Process.key = read_key(create=True)


def are_hashed() -> bool:
    """Whether this process shows hashed ids."""
    return _Process.key is not None


def shown_id(row_id: str) -> str:
    """An id for a message: hashed if ids are hashed, else as it is if it looks like an id, else its length.

    >>> shown_id("train-7"), shown_id("Fever was high.")
    ('train-7', 'an id of 15 characters')
    """
    if _Process.key is not None:
        return hashed(row_id, _Process.key)
    return row_id if is_id(row_id) else f"an id of {len(row_id)} characters"


def shared_id(row_id: str) -> str:
    """An id as it may leave the folder of a run: like `shown_id`, and one that has left it before stays as it is.

    >>> shared_id("Fever was high."), shared_id("an id of 15 characters")
    ('an id of 15 characters', 'an id of 15 characters')
    """
    return row_id if _SHARED.fullmatch(row_id) else shown_id(row_id)


def quoted_id(row_id: str) -> str:
    """An id for a message, in quotes unless only its length is shown.

    >>> quoted_id("train-7"), quoted_id("Fever was high.")
    ("'train-7'", 'an id of 15 characters')
    """
    shown = shown_id(row_id)
    return f"'{shown}'" if is_id(shown) else shown


def hashed(row_id: str, key: bytes) -> str:
    """The hash of an id under a key.

    >>> hashed("train-7", b"key") == hashed("train-7", b"key") != hashed("train-7", b"other")
    True
    """
    return PREFIX + hmac.new(key, row_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:HASH_LENGTH]


def key_path() -> Path:
    """The file of the key: the one that `MTL_ID_KEY` names, else `biomtl/id.key` in the user's configuration folder."""
    named = os.environ.get(KEY_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "biomtl" / "id.key"


def read_key(*, create: bool = False) -> bytes:
    """The key.

    Args:
        create: Whether to create a key if there is none.

    Raises:
        InputError: There is no key, others may read it, it lies in the folder of a run, or it is damaged.
    """
    path = key_path()
    if any((folder / "run.json").is_file() for folder in path.parents):
        message = f"must be outside the folders of runs, which may be shared, got {path}."
        raise InputError(Problem(KEY_VARIABLE, message, "Name another file."))
    try:
        if create and not path.exists():
            _create(path)
        mode = path.stat().st_mode & 0o777
        content = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        message = f"The key '{path}' does not exist."
        advice = f"Set {KEY_VARIABLE} to the file of the key that the run used."
        raise InputError(Problem(KEY_VARIABLE, message, advice)) from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not a text file"
        raise InputError(Problem(KEY_VARIABLE, f"The key '{path}' cannot be read: {why}.")) from None
    if os.name == "posix" and mode & 0o077:
        message = f"The key '{path}' must be readable by its owner only, got mode {mode:04o}."
        raise InputError(Problem(KEY_VARIABLE, message, f"Run chmod 600 '{path}'."))
    try:
        key = bytes.fromhex(content)
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        message = f"The key '{path}' must have {2 * KEY_BYTES} hexadecimal digits, got {len(content)} characters."
        advice = "Restore the file. A new key would give the same id another hash."
        raise InputError(Problem(KEY_VARIABLE, message, advice))
    return key


def without_ids(mixture: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a mixture whose excluded documents have the ids that may leave the folder of a run.

    >>> fields = {"tasks": {"a": {"data": {"exclude": ["train-7", "Fever was high."]}}}}
    >>> without_ids(fields)["tasks"]["a"]["data"]["exclude"]
    ['train-7', 'an id of 15 characters']
    """
    fields = dict(mixture)
    tasks: dict[str, Any] = {}
    for name, task in fields.get("tasks", {}).items():
        excluded = [shared_id(document) for document in task.get("data", {}).get("exclude") or ()]
        tasks[name] = {**task, "data": {**task["data"], "exclude": excluded}} if excluded else task
    return {**fields, "tasks": tasks} if tasks else fields


def without_texts(value: object, labels: Collection[str]) -> Any:
    """JSON in which strings that are no label and do not look like an id are replaced by their lengths.

    What stands under a key `text` is never shown, whatever it looks like. Ids of mentions often contain that of their
    document, so they are hashed where ids are.

    >>> without_texts({"type": "Type 2 diabetes", "head": "T1", "tail": "Fever was high."}, ["Type 2 diabetes"])
    {'type': 'Type 2 diabetes', 'head': 'T1', 'tail': 'a text of 15 characters'}
    >>> without_texts({"head": {"text": "aspirin"}}, [])
    {'head': {'text': 'a text of 7 characters'}}
    """
    if isinstance(value, str):
        if value in labels:
            return value
        return shared_id(value) if is_id(value) else f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return {name: _inner_without_texts(name, inner, labels) for name, inner in value.items()}
    return [without_texts(inner, labels) for inner in value] if isinstance(value, list | tuple) else value


def _inner_without_texts(name: str, inner: object, labels: Collection[str]) -> Any:
    is_text = name == "text" and isinstance(inner, str)
    return f"a text of {len(str(inner))} characters" if is_text else without_texts(inner, labels)


def _create(path: Path) -> None:
    """Creates the key; of several processes that start at once, one wins and the others use its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)  # fails if the file exists, unlike a rename
        except FileExistsError:
            pass
        except OSError:  # no hard links on this file system; FAT and some network file systems have none
            with FileLock(path.with_name(f".{path.name}.lock"), mode=0o600):
                if not path.exists():
                    part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
