from __future__ import annotations

import ast

import pytest

from mtl.code_identity.scopes import Import, Scope, argument_names, bindings


@pytest.mark.parametrize(
    ("source", "scope"),
    [
        ("x = y.z = a; b += c; del d", {"x": (), "b": (), "d": ()}),
        ("def f(x): y = 1", {"f": ()}),
        ("class C:\n  x = 1", {"C": ()}),
        ("for x, [*y] in z: pass", {"x": (), "y": ()}),
        ("[x for x in y if (z := x)]; lambda a: a", {"z": ()}),
        ("try: x\nexcept E as e: y = 1", {"e": (), "y": ()}),
        ("match x:\n  case {'a': b, **c} | [d, *e] as f: pass", {"b": (), "c": (), "d": (), "e": (), "f": ()}),
        ("global x; x = 1; y = 1; nonlocal y", {"x": None}),
        ("import a.b", {"a": (Import("a", None, 0),), "a.b": (Import("a.b", None, 0),)}),
        ("import a.b as c", {"c": (Import("a.b", None, 0),)}),
        ("from ..a import b as c, d", {"c": (Import("a", "b", 2),), "d": (Import("a", "d", 2),)}),
        ("from . import a", {"a": (Import("", "a", 1),)}),
        ("from a import *", {"*": (Import("a", "*", 0),)}),
        (
            "try: from a import x\nexcept E: from b import x\nelse: x = 1",
            {"x": (Import("a", "x", 0), Import("b", "x", 0))},
        ),
        ("if TYPE_CHECKING: import a\nelse: b = 1", {"b": ()}),
    ],
)
def test_statements_bind_names(source: str, scope: Scope) -> None:
    assert bindings(ast.parse(source).body) == scope


def test_arguments_of_every_kind_have_names() -> None:
    (function,) = ast.parse("def f(a, /, b, *c, d=1, **e): pass").body
    assert isinstance(function, ast.FunctionDef)
    assert sorted(argument_names(function.args)) == ["a", "b", "c", "d", "e"]
