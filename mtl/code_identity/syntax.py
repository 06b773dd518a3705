"""What the source of a module defines, imports, and runs on import."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from mtl.code_identity.normalising import Piece, meaningful, pieces
from mtl.code_identity.scopes import Import, bindings


class ModuleSyntax(NamedTuple):
    """The parts of a module that can affect a result.

    Args:
        definitions: The functions, classes and assignments at the top level, by name.
        imports: The imports at the top level, by the name that they bind, as `bindings` gives them.
        statements: Top-level statements with side effects.
        statement_names: The names that these bind.
        decides_results: The constant `DECIDES_RESULTS`; None if the module does not define it.
    """

    definitions: Mapping[str, tuple[Piece, ...]]
    imports: Mapping[str, tuple[Import, ...]]
    statements: tuple[Piece, ...]
    statement_names: frozenset[str]
    decides_results: bool | None


@cache
def read(source: bytes, path: str) -> ModuleSyntax:
    """The syntax of a module.

    Args:
        source: Content of the file. Results are cached by content, so a file that changes is parsed again.
        path: Path of the file, for the message of a SyntaxError.
    """
    body = list(meaningful(ast.parse(source, path).body))
    imports = {name: found for name, found in bindings(body).items() if found}
    definitions: dict[str, tuple[Piece, ...]] = {}
    side_effects: list[ast.stmt] = []
    decides_results = None
    for statement in body:
        names = _defined(statement)
        if names == ["DECIDES_RESULTS"]:
            decides_results = _is_true(statement)
        elif names:
            for name in names:
                definitions[name] = (*definitions.get(name, ()), *pieces(name, statement, imports))
        elif not _only_imports(statement):
            side_effects.append(statement)
    statements = tuple(piece for statement in side_effects for piece in pieces("", statement, imports))
    return ModuleSyntax(definitions, imports, statements, frozenset(bindings(side_effects)), decides_results)


# --- statements -------------------------------------------------------------------------------------------------------


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines; none if it has side effects instead."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if not _is_registered(statement):
            return [statement.name]
        case ast.Assign():
            names = [name for target in statement.targets for name in _assigned(target)]
            return [] if None in names else [name for name in names if name is not None]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _assigned(target: ast.expr) -> Iterator[str | None]:
    """The names in the target of an assignment, and None for an item or attribute of another object."""
    match target:
        case ast.Name():
            yield target.id
        case ast.Tuple() | ast.List():
            for part in target.elts:
                yield from _assigned(part)
        case ast.Starred():
            yield from _assigned(target.value)
        case _:
            yield None


def _is_registered(statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a decorator such as ``@area.register`` makes the definition part of `area`, which is used instead."""
    called = (node.func if isinstance(node, ast.Call) else node for node in statement.decorator_list)
    return any("register" in (getattr(node, "id", None), getattr(node, "attr", None)) for node in called)


def _only_imports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.If() | ast.Try():
            handlers = [inner for handler in getattr(statement, "handlers", []) for inner in handler.body]
            inside = [*statement.body, *statement.orelse, *handlers, *getattr(statement, "finalbody", [])]
            return all(_only_imports(inner) for inner in meaningful(inside))
    return False


def _is_true(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return not (isinstance(value, ast.Constant) and value.value is False)
