"""The arguments that a docstring describes are those of the signature."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import docstring_parser
import pytest
from docstring_parser import DocstringStyle
from pydantic import BaseModel

import heads
import mtl


def modules() -> Iterator[str]:
    for package in (mtl, heads):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                yield module.name


def documented(module: str) -> Iterator[tuple[str, Any]]:
    """The functions, classes and methods of a module whose docstrings describe arguments."""
    content = vars(importlib.import_module(module))
    own = {name: thing for name, thing in content.items() if getattr(thing, "__module__", None) == module}
    things = {name: thing for name, thing in own.items() if inspect.isclass(thing) or inspect.isfunction(thing)}
    for name, thing in list(things.items()):
        if inspect.isclass(thing):
            members = {key: getattr(member, "__func__", member) for key, member in vars(thing).items()}
            things |= {f"{name}.{key}": member for key, member in members.items() if inspect.isfunction(member)}
    yield from ((f"{module}.{name}", thing) for name, thing in things.items() if described(thing))


def described(thing: Any) -> list[str]:
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    parsed = docstring_parser.parse(text or "", style=DocstringStyle.GOOGLE)
    return [found.arg_name.lstrip("*") for found in parsed.params if found.args[0] == "param"]


def accepted(thing: Any) -> list[str]:
    if inspect.isclass(thing) and issubclass(thing, BaseModel):
        return list(thing.model_fields)
    found = list(inspect.signature(thing).parameters)
    return found[1:] if found[:1] == ["self"] or ("." in thing.__qualname__ and found[:1] == ["cls"]) else found


DOCUMENTED = {name: thing for module in modules() for name, thing in documented(module)}


def test_many_docstrings_describe_arguments() -> None:
    assert len(DOCUMENTED) > 200


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_docstring_describes_all_arguments_and_no_others(name: str) -> None:
    thing = DOCUMENTED[name]
    assert sorted(described(thing)) == sorted(accepted(thing))
