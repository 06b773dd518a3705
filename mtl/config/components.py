"""Finds the class behind a name in YAML.

A name without dots is the name of a file in `heads`, `mtl/samplers`, `mtl/readers` or `mtl/balancing`. A name with dots
is the import path of a user-defined class. Nothing needs to be registered.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter

from mtl.config.schema import mismatches
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import reason

Kind = Literal["head", "sampler", "reader", "balancing", "launcher", "initialiser"]

_PACKAGES: dict[Kind, tuple[str, str]] = {
    "head": ("heads", "Head"),
    "sampler": ("mtl.samplers", "Sampler"),
    "reader": ("mtl.readers", "Reader"),
    "balancing": ("mtl.balancing", "Balancing"),
    "launcher": ("mtl.study.running.launchers", "Launcher"),
    "initialiser": ("mtl.vocabulary.initialisers", "Initialiser"),
}


def choices(kind: Kind) -> list[str]:
    """The built-in components of a kind, by the names of their files.

    >>> "jsonl" in choices("reader")
    True
    """
    package = importlib.import_module(_PACKAGES[kind][0])
    return [name for name in sorted(m.name for m in pkgutil.iter_modules(package.__path__)) if _holds(kind, name)]


def find(kind: Kind, name: str, key: str) -> type[Any]:
    """The class behind a name.

    Args:
        kind: Kind of component.
        name: Name of a built-in component, or an import path ``package.module.Class``.
        key: Key of the name in the mixture, for the error.

    Raises:
        InputError: The component does not exist.
    """
    package, base_name = _PACKAGES[kind]
    base = getattr(importlib.import_module(package), base_name)
    if "." in name:
        return _import_path(name, base, key)
    found = _component_in(package, name, base)
    if found is None:
        what = "balancing method" if kind == "balancing" else kind
        known = choices(kind)
        meant = _usual_name(package, base, known, name)
        advice = f"Did you mean '{meant}'? Choices: {', '.join(known)}." if meant else did_you_mean(name, known)
        raise InputError(Problem(key, f"There is no {what} '{name}'.", advice))
    return found


def _usual_name(package: str, base: type[Any], names: Sequence[str], written: str) -> str | None:
    """The component that has a name as one of its other names, ignoring case, blanks and hyphens."""
    name = re.sub(r"[\s-]+", "_", written.strip()).lower()
    return next((one for one in names if name in getattr(_component_in(package, one, base), "other_names", ())), None)


def classes_not_imported(fields: Mapping[str, Any]) -> list[str]:
    """The import paths in the fields of a mixture whose modules are not imported, so that nobody has named them yet.

    >>> classes_not_imported({"sampler": {"name": "lab.samplers.Mine"}, "tasks": {"a": {"head": "regression"}}})
    ['lab.samplers.Mine']
    """
    named = fields.get("tasks")
    tasks = [task for task in named.values() if isinstance(task, Mapping)] if isinstance(named, Mapping) else []
    places = [(fields.get("sampler"), "name"), (fields.get("balancing"), "name")]
    places += [(task, "head") for task in tasks] + [(task.get("data"), "reader") for task in tasks]
    names = [str(place.get(key, "")) for place, key in places if isinstance(place, Mapping)]
    return sorted({name for name in names if "." in name and name.rpartition(".")[0] not in sys.modules})


def check_options(cls: type[Any], options: Mapping[str, Any], key: str, passed: frozenset[str]) -> list[Problem]:
    """Every problem found by comparing options with the signature of a class, without building an instance.

    Args:
        cls: The class.
        options: Names and values of the options as written by the user.
        key: Key that holds the options, for errors.
        passed: Names of the arguments that the framework passes itself; they cannot be set as options.
    """
    hints = _hints(cls)  # type: ignore[arg-type]  # mypy: every class is hashable
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in passed and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    problems = [
        Problem(f"{key}.{name}", f"{cls.__name__} has no option '{name}'.", did_you_mean(name, parameters))
        for name in options
        if name not in parameters
    ]
    problems += [
        Problem(f"{key}.{name}", f"{cls.__name__} requires the option '{name}'.", "Add it.")
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in options
    ]
    for name, value in options.items():
        if name in parameters and name in hints:
            problems += _type_problems(hints[name], value, f"{key}.{name}")
    return problems


def build(cls: type[Any], *arguments: Any, **options: Any) -> Any:
    """An instance, with options from YAML converted to the types in the signature (such as a list to a tuple)."""
    hints = _hints(cls)  # type: ignore[arg-type]  # mypy: every class is hashable
    typed = {
        name: TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        for name, value in options.items()
    }
    return cls(*arguments, **typed)


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls.__init__)


def _type_problems(hint: Any, value: Any, key: str) -> list[Problem]:
    # Not strict, because YAML has no tuples and may write a float as an integer; but `true` must not pass as 1.
    found = mismatches(TypeAdapter(hint), value, strict=isinstance(value, bool))
    return [Problem(".".join([key, *map(str, one.place)]), one.message, one.advice) for one in found]


def _import_path(path: str, base: type[Any], key: str) -> type[Any]:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            Problem(key, f"'{path}' cannot be imported: {reason(error).rstrip('.')}.", "Write package.module.Class.")
        ) from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InputError(Problem(key, f"'{path}' is not a subclass of {base.__module__}.{base.__name__}."))
    return found


def _holds(kind: Kind, name: str) -> bool:
    package, base_name = _PACKAGES[kind]
    base = getattr(importlib.import_module(package), base_name)
    return _component_in(package, name, base) is not None


def _component_in(package: str, name: str, base: type[Any]) -> type[Any] | None:
    """The public subclass of `base` that the file defines; None if it defines none."""
    if not name.isidentifier() or importlib.util.find_spec(f"{package}.{name}") is None:
        return None
    module = importlib.import_module(f"{package}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and not value.__name__.startswith("_")
    ]
    assert len(found) < 2, f"{package}/{name}.py must define one public {base.__name__}, got {len(found)}"
    return found[0] if found else None
