"""The catalogue of encoders: one file of `experiments/encoders` for each.

A mixture may name an entry instead of a model on the hub. A folder of that name, and a hub name, which has a slash,
are never looked up.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mtl.config.encoder_entry import EncoderEntry
from mtl.config.encoder_terms import UNKNOWN
from mtl.config.schema import checked
from mtl.config.yaml_text import load_yaml
from mtl.problems import InputError, Problem
from mtl.shipped import shipped

if TYPE_CHECKING:
    from mtl.config.mixture import EncoderSpec


@functools.cache
def catalogue() -> Mapping[str, EncoderEntry]:
    """All entries by name."""
    files = {file.stem: file for file in shipped("encoders").glob("*.yaml")}
    return {name: _entry(files[name]) for name in sorted(files)}


def read_entry(file: Path) -> EncoderEntry:
    """An entry from its file.

    Raises:
        InputError: The file is invalid; the error lists all problems.
    """
    key = f"encoders/{file.name}"
    try:
        fields = load_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(Problem(key, "The file is not valid YAML.", "Check its syntax.")) from error
    if not isinstance(fields, dict):
        raise InputError(Problem(key, "The file must contain a mapping."))
    entry = checked(EncoderEntry, fields, key)
    if entry.name != file.stem:
        raise InputError(Problem(f"{key}.name", f"must be '{file.stem}' like the file, got '{entry.name}'."))
    return entry


_entry = functools.cache(read_entry)


def entry_of(name: str) -> EncoderEntry | None:
    """The entry that `encoder.name` means, ignoring case, hyphens, underscores and blanks; None for any other name.

    >>> entry_of("PubMed BERT").name, entry_of("microsoft/biogpt")
    ('pubmedbert', None)
    """
    if "/" in name or name.startswith((".", "~")) or _is_folder(name):
        return None
    file = shipped("encoders") / f"{name}.yaml"
    if _is_file(file):  # reads one file, not all of them
        return _entry(file)
    return _by_spelling().get(spelling(name))


def near_names(name: str) -> list[str]:
    """The names of at most three entries that may have been meant, nearest first."""
    found = difflib.get_close_matches(spelling(name), _by_spelling(), n=6, cutoff=0.6)
    return list(dict.fromkeys(_by_spelling()[one].name for one in found))[:3]


def suggestion(name: str) -> str:
    """A question whether the nearest names were meant; empty if none is near.

    >>> suggestion("pubmedbrt")
    "Did you mean 'pubmedbert', 'pubmedbert-large' or 'pubmedbert-abstract'?"
    """
    *names, last = [f"'{one}'" for one in near_names(name)] or [""]
    return f"Did you mean {' or '.join([', '.join(names), last] if names else [last])}?" if last else ""


def with_entry(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an encoder, with the name, the kind, the revision and the maximum length of the entry that it names.

    Keys that the user has written are kept.

    >>> with_entry({"name": "PubMedBERT"})["revision"][:8]
    'e1354b7a'
    """
    fields = dict(encoder)
    entry = entry_of(fields["name"]) if isinstance(fields.get("name"), str) else None
    if entry is None:
        return fields
    fields["name"] = entry.name
    if entry.architecture == "decoder":
        fields.setdefault("kind", "causal")
    if entry.package is None and entry.revision != UNKNOWN and fields.get("revision") is None:
        fields["revision"] = entry.revision
    if entry.defaults is not None and entry.defaults.max_length is not None:
        fields.setdefault("max_length", entry.defaults.max_length)
    return fields


def entry_reasons(encoder: EncoderSpec) -> dict[str, str]:
    """What a mixture takes from the entry that it names, by key and for people; empty if it names none.

    An entry that comes in a package needs no explanation.

    >>> from mtl.config.mixture import EncoderSpec
    >>> entry_reasons(EncoderSpec(name="clinical-longformer", max_length=256))["encoder.max_length"]
    "256 (set, the default of 'clinical-longformer' is 512)"
    """
    entry = entry_of(encoder.name)
    if entry is None or entry.package is not None:
        return {}
    reasons = {"encoder.name": f"{entry.name}: {entry.hub}, {_revision_reason(entry, encoder.revision)}"}
    length = None if entry.defaults is None else entry.defaults.max_length
    if entry.defaults is not None and length is not None:
        is_default = encoder.max_length == length
        why = f"default of '{entry.name}': {entry.defaults.reason}" if is_default else ""
        why = why or f"set, the default of '{entry.name}' is {length}"
        reasons["encoder.max_length"] = f"{encoder.max_length} ({why})"
    return reasons


def _revision_reason(entry: EncoderEntry, revision: str | None) -> str:
    if revision is None:
        return "revision main (the catalogue has none; set encoder.revision so that it cannot change)"
    if revision == entry.revision:
        return f"revision {revision[:12]} (catalogue)"
    known = "none" if entry.revision == UNKNOWN else entry.revision[:12]
    return f"revision {revision} (set, the catalogue has {known})"


def spelling(name: str) -> str:
    """A name without what users write in different ways.

    >>> spelling("Bio_Clinical BERT") == spelling("bio-clinicalbert")
    True
    """
    return re.sub(r"[\s_-]+", "", name).casefold()


@functools.cache
def _by_spelling() -> Mapping[str, EncoderEntry]:
    return {spelling(name): entry for entry in catalogue().values() for name in (entry.name, *entry.aliases)}


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
