"""From a name in YAML to a class.

A bare name is the name of a file in `heads`, `mtl/samplers` or `mtl/readers`; a name with dots is the import path
of a class of the user's. There is no list to extend and nothing to register.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mtl.faults import Fault, InputError, did_you_mean

Kind = Literal["head", "sampler", "reader"]

_PACKAGES: dict[Kind, tuple[str, str]] = {
    "head": ("heads", "Head"),
    "sampler": ("mtl.samplers", "Sampler"),
    "reader": ("mtl.readers", "Reader"),
}


def choices(kind: Kind) -> list[str]:
    """The bare names of a kind: the files in its package that hold a component.

    >>> "jsonl" in choices("reader")
    True
    """
    package = importlib.import_module(_PACKAGES[kind][0])
    return [name for name in sorted(m.name for m in pkgutil.iter_modules(package.__path__)) if _holds(kind, name)]


def find(kind: Kind, name: str, key: str) -> type[Any]:
    """The class behind a name.

    Args:
        kind: What is looked for.
        name: A bare name or an import path ``package.module.Class``.
        key: The key in the mixture where the name stands, for the error.

    Raises:
        InputError: There is no such component.
    """
    package, base_name = _PACKAGES[kind]
    base = getattr(importlib.import_module(package), base_name)
    if "." in name:
        return _import_path(name, base, key)
    found = _component_in(package, name, base)
    if found is None:
        raise InputError(Fault(key, f"There is no {kind} '{name}'.", did_you_mean(name, choices(kind))))
    return found


def check_options(cls: type[Any], options: Mapping[str, Any], key: str, given: frozenset[str]) -> list[Fault]:
    """Every fault of some options, held against the signature of a class without building it.

    Args:
        cls: The class.
        options: Option names and values as written by the user.
        key: The key under which the options stand.
        given: Names of arguments that the framework passes itself, and so are no options.
    """
    hints = get_type_hints(cls.__init__)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in given and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    faults = [
        Fault(f"{key}.{name}", f"{cls.__name__} has no option '{name}'.", did_you_mean(name, parameters))
        for name in options
        if name not in parameters
    ]
    faults += [
        Fault(f"{key}.{name}", f"{cls.__name__} needs the option '{name}'.", "Add it.")
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in options
    ]
    for name, value in options.items():
        if name in parameters and name in hints:
            faults += _type_faults(hints[name], value, f"{key}.{name}")
    return faults


def build(cls: type[Any], *arguments: Any, **options: Any) -> Any:
    """An instance, with options from YAML turned into the types that the signature states (a list into a tuple)."""
    hints = get_type_hints(cls.__init__)
    typed = {
        name: TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        for name, value in options.items()
    }
    return cls(*arguments, **typed)


def source_hash(cls: type[Any]) -> str:
    """A hash of a component: its name, its own file, and the package of its kind with what the files there share."""
    bases = tuple(getattr(importlib.import_module(package), name) for package, name in _PACKAGES.values())
    files = {Path(inspect.getfile(parent)) for parent in cls.__mro__ if issubclass(parent, bases)}
    folders = {Path(importlib.import_module(package).__path__[0]) for package, _ in _PACKAGES.values()}
    files |= {file for folder in folders & {file.parent for file in files} for file in folder.glob("*.py")}
    # The components of a package share its files, so only the name tells them apart.
    parts = [cls.__qualname__.encode(), *(file.read_bytes() for file in sorted(files))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def code_hash(*modules: str) -> str:
    """A hash of the code of some modules, given by their import paths."""
    files = [Path(inspect.getfile(importlib.import_module(name))) for name in modules]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class Flaw(NamedTuple):
    """What pydantic has against the value at one place: several errors where none of several types fits."""

    place: tuple[str | int, ...]
    errors: list[Mapping[str, Any]]

    @property
    def message(self) -> str:
        """The rule and what was found, in words that need no Python.

        >>> flaws(TypeAdapter(int), "many")[0].message
        "It must be a whole number; found 'many'."
        """
        rules = list(dict.fromkeys(_rule(error) for error in self.errors))
        alternatives = [rule.removeprefix("It must be ") for rule in rules[1:]]
        return f"{' or '.join([rules[0], *alternatives])}; found {_kind_of(self.errors[0]['input'])}."


def flaws(adapter: TypeAdapter[Any], value: Any, *, strict: bool = False) -> list[Flaw]:
    """What keeps a value from being of a type, place by place; empty where nothing does."""
    try:
        adapter.validate_python(value, strict=strict or None)  # False would overrule what the type says
    except ValidationError as error:
        return _by_place(error.errors(), value)
    return []


def _by_place(errors: Sequence[Mapping[str, Any]], value: Any) -> list[Flaw]:
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        found.setdefault(_place(error, value), []).append(error)
    # Of several types the one meant is the one that got further into the value.
    return [
        Flaw(place, errors)
        for place, errors in found.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in found)
    ]


def _place(error: Mapping[str, Any], value: Any) -> tuple[str | int, ...]:
    """The location of an error without pydantic's names for types, which are no keys of the user's."""
    place: list[str | int] = []
    for part in error["loc"]:
        inside = (
            part in value if isinstance(value, Mapping) else isinstance(value, list | tuple) and isinstance(part, int)
        )
        if inside:
            value = value[part]
            place.append(part)
    if error["type"] == "missing":
        place.append(error["loc"][-1])
    return tuple(place)


def _rule(error: Mapping[str, Any]) -> str:
    rule = _RULES.get(error["type"], "").format(**error.get("ctx", {}))
    rule = rule or str(error["msg"]).removeprefix("Value error, ")
    return rule.replace("Input should be", "It must be").replace("Input should have", "It must have").rstrip(".")


_RULES = {
    **dict.fromkeys(("string_type", "string_sub_type"), "It must be a text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "It must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "It must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "It must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "It must be a list"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"), "It must be keys with values"
    ),
    "greater_than": "It must be above {gt:g}",
    "greater_than_equal": "It must be at least {ge:g}",
    "less_than": "It must be below {lt:g}",
    "less_than_equal": "It must be at most {le:g}",
}


def _kind_of(value: Any) -> str:
    """What was found, as YAML writes it; what is long is told by its kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"keys with values ({', '.join(map(str, value))})" if value else "nothing"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    written = repr(value)
    return written if len(written) <= 80 else f"a text of {len(str(value))} characters"


def _type_faults(hint: Any, value: Any, key: str) -> list[Fault]:
    # Leniently, so that YAML's lists pass as tuples and its integers as floats; but true is not the number 1.
    found = flaws(TypeAdapter(hint), value, strict=isinstance(value, bool))
    return [Fault(".".join([key, *map(str, flaw.place)]), flaw.message) for flaw in found]


def _import_path(path: str, base: type[Any], key: str) -> type[Any]:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            Fault(key, f"'{path}' can't be imported: {error}.", "It must be package.module.Class.")
        ) from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InputError(Fault(key, f"'{path}' is no subclass of {base.__module__}.{base.__name__}."))
    return found


def _holds(kind: Kind, name: str) -> bool:
    package, base_name = _PACKAGES[kind]
    base = getattr(importlib.import_module(package), base_name)
    return _component_in(package, name, base) is not None


def _component_in(package: str, name: str, base: type[Any]) -> type[Any] | None:
    """The one public subclass of `base` that the file defines."""
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
    assert len(found) < 2, f"{package}/{name}.py must define one public {base.__name__}, not {len(found)}"
    return found[0] if found else None
