"""A hash of what code means, for the keys of caches and of a study's runs.

The identity of a function or class covers all code that it uses, definition by definition: its own syntax tree and the
identity of every name in it. A comment, a docstring, an annotation, the wording of an error, an unrelated definition or
a moved module changes nothing; a change in a helper does. Our code and the user's count by their syntax, a library by
the version of its distribution, the standard library by Python's version.

A module that decides no result (error messages, logging, tracking) declares this, or its package does for all its
modules:

    DECIDES_RESULTS = False

References to such a module do not count, and neither do string constants in a call to it. A module that contains
a root always counts: the code that reads rows decides no result of a run whose key includes a hash of the rows, but it
decides these rows.

Only names are followed. Classes that are looked up by their import path at run time, or passed in as instances, must be
given as further roots. Types of arguments do not count, so neither does a conversion of an option to another type.
What reads annotations, docstrings or subclasses at run time is not followed either: `functools.singledispatch` by
annotation, defaults in `Annotated`, `__doc__`, `__subclasses__`. Code that decides results must not rely on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mtl.code_identity.hashing import Part, closure, digest, hashes
from mtl.code_identity.modules import Modules, Target, Use, library_versions

DECIDES_RESULTS = False

Root = type[Any] | Callable[..., Any] | str
"""A class or function, or its name as ``module:name``."""


def code_identity(*roots: Root, everything: bool = False) -> str:
    """A hash of the meaning of classes and functions, including all code that they use.

    Args:
        roots: Classes and functions, in any order. A root without source (typed at a prompt, say) counts by its
            qualified name, and one that is defined inside a function counts with its whole module.
        everything: Whether modules that decide no result count too.

    Raises:
        ValueError: A root is not ``module:name``, or there is no such definition.

    >>> code_identity("heads.regression:pearson") == code_identity("heads.regression:ranks")
    False
    """
    modules = Modules(None if everything else map(_module_of, roots))
    start = _start(roots, modules)
    found = hashes(closure(_targets(start), modules))
    return start.digest(found.__getitem__)


def definitions(*roots: Root) -> dict[str, str]:
    """A short hash of each definition that the identity of the roots covers, by qualified name.

    Each hash covers the definition itself and the names in it, but not the code behind these names, so a change shows
    where it was made. Methods have entries of their own, top-level statements with side effects are listed under the
    name of their module, and libraries as `library:torch` with their version.

    Args:
        roots: Classes and functions, in any order.

    Raises:
        ValueError: A root is not ``module:name``, or there is no such definition.

    >>> [name for name in definitions("heads.regression:pearson_of_many") if name.startswith("heads")]
    ['heads.regression._standardised', 'heads.regression.pearson_of_many']
    """
    modules = Modules(map(_module_of, roots))
    found: dict[str, str] = {}
    parts: dict[str, list[str]] = {}
    for target, node in closure(_targets(_start(roots, modules)), modules).items():
        if target.kind == "library":
            found |= {f"library:{name}": version for name, version in library_versions(target.module).items()}
        for part in node:
            if part.name:
                parts.setdefault(part.name, []).append(part.digest(_plain_name))
    found |= {name: digest(*digests)[:12] for name, digests in parts.items()}
    return dict(sorted(found.items()))


def changed_definitions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The differences between two results of `definitions`, for display.

    A definition that moved to another module unchanged is not listed.

    Args:
        before: Earlier result of `definitions`.
        now: Later result of `definitions`.

    >>> before = {"heads.a.f": "5e1", "heads.a.g": "0c7", "heads.a.h": "d41", "library:torch": "2.12.0"}
    >>> changed_definitions(before, {"heads.a.f": "93b", "heads.b.g": "0c7", "library:torch": "2.13.0"})
    ['heads.a.f', 'heads.a.h (removed)', 'torch 2.12.0 -> 2.13.0']
    """
    names = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
    removed = {_without_module(name, before[name]) for name in names if name not in now}
    added = {_without_module(name, now[name]) for name in names if name not in before}
    moved = {name for name in names if _without_module(name, before.get(name) or now[name]) in removed & added}
    return [_described(name, before.get(name), now.get(name)) for name in names if name not in moved]


def _without_module(name: str, value: str) -> tuple[str, str]:
    return name.rpartition(".")[-1], value


def _described(name: str, old: str | None, new: str | None) -> str:
    is_library = name.startswith("library:")
    label = name.removeprefix("library:") + (f" {old or new}" if is_library else "")
    if old is None or new is None:
        return f"{label} ({'new' if old is None else 'removed'})"
    return f"{label} -> {new}" if is_library else label


# --- roots ------------------------------------------------------------------------------------------------------------


def _module_of(root: Root) -> str:
    return root.partition(":")[0] if isinstance(root, str) else root.__module__


def _start(roots: tuple[Root, ...], modules: Modules) -> Part:
    """A part that uses the roots."""
    found = (_named(root, modules) if isinstance(root, str) else _defined(root, modules) for root in roots)
    uses = set().union(*found)
    return Part("", "roots", (frozenset((digest(*use.attributes), use.target) for use in uses),))


def _named(root: str, modules: Modules) -> set[Use]:
    module, _, name = root.partition(":")
    if not module or not name:
        raise ValueError(f"A root must be module:name, got {root!r}.")
    uses = modules.member(module, name.split("."))
    if any(use.target.kind == "unknown" or (use.target.kind == "module" and use.attributes) for use in uses):
        raise ValueError(f"There is no definition {root!r}; it must be a module and a name that it defines or imports.")
    return uses


def _defined(root: type[Any] | Callable[..., Any], modules: Modules) -> set[Use]:
    module, name = root.__module__, root.__qualname__
    if "<" in name and modules.get(module) is not None:  # `train.<locals>.Head` is not bound in its module
        return {Use(use.target, (name,)) for use in modules.member(module, ())}
    return modules.member(module, name.split("."))


def _targets(start: Part) -> list[Target]:
    return [target for _, target in start.uses[0]]


def _plain_name(target: Target) -> str:
    """The name of a target without its module, so that a move does not show in the code that uses it."""
    return target.name or target.kind
