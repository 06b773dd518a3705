"""The names that code binds: by assignments and arguments, by definitions, and by imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Import(NamedTuple):
    """What an import statement binds a name to.

    Args:
        module: As written, without leading dots.
        name: What is imported from the module; None binds the module itself.
        level: Number of leading dots.
    """

    module: str
    name: str | None
    level: int


Scope = dict[str, tuple[Import, ...] | None]
"""Bound names, each with the imports that bind it: none for an ordinary local name, None for a `global` one."""


def bindings(statements: Iterable[ast.AST]) -> Scope:
    """The names that statements bind in their own scope; a star import is under `*`.

    ``import a.b`` binds `a`; a second entry `a.b`, which no name can equal, records that this module is loaded too.

    >>> bindings(ast.parse("x = 1; from .a import b as c").body)
    {'x': (), 'c': (Import(module='a', name='b', level=1),)}
    """
    scope: Scope = {}
    outer: set[str] = set()
    waiting = list(statements)[::-1]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Name():
                if not isinstance(node.ctx, ast.Load):
                    scope.setdefault(node.id, ())
            case ast.Import() | ast.ImportFrom():
                for name, imported in _imported(node):
                    scope[name] = (*(scope.get(name) or ()), imported)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                scope.setdefault(node.name, ())
            case ast.Global():
                scope.update(dict.fromkeys(node.names))
            case ast.Nonlocal():
                outer |= set(node.names)
            case ast.Lambda():
                pass
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                waiting += [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
            case ast.If() if is_type_checking(node.test):
                waiting += node.orelse
            case _:
                for bound in (getattr(node, "name", None), getattr(node, "rest", None)):  # `except ... as`, `case`
                    if isinstance(bound, str):
                        scope.setdefault(bound, ())
                waiting += list(ast.iter_child_nodes(node))[::-1]
    return {name: imports for name, imports in scope.items() if name not in outer}


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, Import(node.module or "", alias.name, node.level)
        elif alias.asname:
            yield alias.asname, Import(alias.name, None, 0)
        else:
            for bound in dict.fromkeys((alias.name.partition(".")[0], alias.name)):
                yield bound, Import(bound, None, 0)


def argument_names(arguments: ast.arguments) -> list[str]:
    """The names of a function's arguments."""
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in [*found, arguments.vararg, arguments.kwarg] if argument is not None]


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`, so that its imports bind nothing at run time."""
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))
