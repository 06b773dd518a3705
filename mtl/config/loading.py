"""From a mixture file to a checked `Mixture`.

Includes, overrides and interpolation are resolved into one mapping, which is validated as a whole: every problem is
reported at once. Rows are read later, in `mtl.data.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.config.mixture import Mixture
from mtl.config.validation import mixture_problems
from mtl.config.yaml_files import read_mixture_fields
from mtl.problems import InputError


def load_mixture(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path | None = None
) -> Mixture:
    """Reads a mixture and everything it includes.

    Args:
        source: A YAML file, or its content as a mapping. A key `only` with names of tasks leaves the others out.
        overrides: ``key=value`` with dotted keys, such as ``tasks.gad.rate=3``; values are read as YAML.
        folder: Where paths in a mapping are looked for first; None takes the working folder.

    Raises:
        InputError: With every problem of the files at once.
    """
    return parse_mixture(read_mixture_fields(source, overrides, folder=folder))


def parse_mixture(fields: Mapping[str, Any]) -> Mixture:
    """A mixture from resolved fields; a key `only` with names of tasks leaves the others out.

    Raises:
        InputError: With every problem of the fields at once.
    """
    problems = mixture_problems(fields)
    if problems:
        raise InputError(problems)
    mixture = Mixture(**{key: value for key, value in fields.items() if key != "only"})
    if fields.get("only") is None:
        return mixture
    mixture = mixture.only(fields["only"])
    problems = mixture_problems(mixture.to_dict())  # a sampler or a selection may name a task that was left out
    if problems:
        raise InputError(problems)
    return mixture
