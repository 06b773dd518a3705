"""The arguments in a docstring are those of the signature.

The linter compares them for functions. This test also covers classes, whose docstrings hold the arguments of `__init__`
or, for dataclasses, the fields.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import docstring_parser
import pytest
from docstring_parser import DocstringStyle

import heads
import mtl


def documented_objects() -> Iterator[tuple[str, Any]]:
    """The classes, functions and methods of the packages."""
    for package in (mtl, heads):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield from members(importlib.import_module(found.name))


def members(module: Any) -> Iterator[tuple[str, Any]]:
    for name, member in vars(module).items():
        if getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member) or inspect.isfunction(member):
            yield f"{module.__name__}.{name}", member
        if inspect.isclass(member):
            methods = ((key, getattr(value, "__func__", value)) for key, value in vars(member).items())
            yield from ((f"{module.__name__}.{name}.{key}", m) for key, m in methods if inspect.isfunction(m))


def documented(member: Any) -> list[str]:
    """The names in the section Args of an object's own docstring."""
    text = vars(member).get("__doc__") if inspect.isclass(member) else member.__doc__
    parsed = docstring_parser.parse(text or "", style=DocstringStyle.GOOGLE)
    return [parameter.arg_name.lstrip("*") for parameter in parsed.params if parameter.args[0] == "param"]


def parameters(member: Callable[..., Any]) -> list[str]:
    # pydantic shows a `**` parameter for models that accept further keys; it is no field.
    found = inspect.signature(member).parameters.values()
    is_model = inspect.isclass(member) and hasattr(member, "model_fields")
    receivers = ("self", "cls") if not inspect.isclass(member) and "." in member.__qualname__ else ()
    return [p.name for p in found if p.name not in receivers and not (is_model and p.kind is p.VAR_KEYWORD)]


def differences(member: Callable[..., Any]) -> set[str]:
    """Names that are only in the section Args or only in the signature; none if there is no such section."""
    names = documented(member)
    return set(names) ^ set(parameters(member)) if names else set()


def test_arguments_in_docstrings_are_those_of_the_signature() -> None:
    found = dict(documented_objects())
    assert sum(bool(documented(member)) for member in found.values()) > 200
    assert {name: sorted(names) for name, member in found.items() if (names := differences(member))} == {}


class Documented:
    """A class.

    Args:
        size: A number.
        {name}: Another one.
    """

    def __init__(self, size: int, other: int) -> None: ...


@pytest.mark.parametrize(("name", "expected"), [("other", set()), ("others", {"other", "others"})])
def test_a_wrong_name_in_the_docstring_of_a_class_is_found(
    name: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Documented, "__doc__", (Documented.__doc__ or "").format(name=name))
    assert differences(Documented) == expected
