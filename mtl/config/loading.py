"""From a mixture file to a validated `Mixture`.

Includes, overrides and interpolations are resolved into one mapping, which is validated as a whole, so that all
problems are reported together. Rows are read later, in `mtl.data.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.config.mixture import Mixture
from mtl.config.validation import mixture_problems
from mtl.config.yaml_files import read_mixture_fields
from mtl.hashed_ids import hash_from_now_on
from mtl.problems import InputError
from mtl.redaction import strings


def load_mixture(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path | None = None
) -> Mixture:
    """Reads a mixture and everything it includes.

    Args:
        source: A YAML file, or its content as a mapping. The key `only` lists the tasks to keep.
        overrides: ``key=value`` with dotted keys, such as ``tasks.gad.rate=3``; values are parsed as YAML.
        folder: Folder that is searched first for relative paths in a mapping; None means the working folder.

    Raises:
        InputError: The mixture is invalid; the error lists all problems of its files.
    """
    return parse_mixture(read_mixture_fields(source, overrides, folder=folder))


def parse_mixture(fields: Mapping[str, Any]) -> Mixture:
    """A mixture from resolved fields; the key `only` lists the tasks to keep.

    Raises:
        InputError: The mixture is invalid; the error lists all problems.
    """
    privacy = fields.get("privacy")
    if isinstance(privacy, Mapping) and privacy.get("hash_ids") is True:
        hash_from_now_on()
    problems = mixture_problems(fields)
    if problems:  # a wrong include may have brought a note into the fields
        texts = strings(dict(fields))
        raise InputError([problem.without(texts) for problem in problems])
    mixture = Mixture(**{key: value for key, value in fields.items() if key != "only"})
    if fields.get("only") is None:
        return mixture
    mixture = mixture.only(fields["only"])
    problems = mixture_problems(mixture.to_dict())  # the sampler or `evaluation` may name a dropped task
    if problems:
        raise InputError(problems)
    return mixture
