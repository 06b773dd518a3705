"""A normal form of statements, the same for statements of the same meaning, and the names that they refer to.

Docstrings, comments, annotations, imports, formatting and the wording of errors are left out. Names that the code does
not bind itself are replaced by placeholders and listed as references, which `mtl.code_identity.modules` resolves.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from mtl.code_identity.scopes import Import, Scope, argument_names, bindings, is_type_checking


class Reference(NamedTuple):
    """A use of a name that the code does not bind itself.

    Args:
        names: The name and the attributes read off it: ``("components", "find")`` for ``components.find``.
        imports: The imports inside the function that bind the name; empty if the module binds it.
        texts: If it is called, the string constants among the arguments.
    """

    names: tuple[str, ...]
    imports: tuple[Import, ...] = ()
    texts: tuple[str, ...] = ()


class Piece(NamedTuple):
    """A statement at the top level of a module, or a method of a class there.

    Args:
        name: ``pearson``, ``Regression`` (the class without its methods) or ``Regression.loss``.
        syntax: A hash of the normalised syntax, with a placeholder for each reference.
        references: In the order of the placeholders.
        field_types: The names in the annotations of a class's fields. Pydantic builds instances of these types, so
            those defined in our code count, although the annotation itself does not.
    """

    name: str
    syntax: str
    references: tuple[Reference, ...]
    field_types: tuple[Reference, ...]


def pieces(name: str, statement: ast.stmt, imports: Mapping[str, tuple[Import, ...]]) -> Iterator[Piece]:
    """The normal form of a top-level statement; each method of a class is a piece of its own.

    Args:
        name: What the statement defines; empty if it defines nothing.
        statement: Any statement but an import.
        imports: The imports of the module, by the name that they bind.
    """
    scopes: list[Scope] = []
    methods: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    if isinstance(statement, ast.ClassDef):
        body = list(meaningful(statement.body, in_class=True))
        scopes = [{bound: found for bound, found in bindings(body).items() if found}]
        methods = [inner for inner in body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)]
    yield _Writer(imports, scopes, separate=methods).piece(name, statement)
    for method in methods:
        yield _Writer(imports, scopes).piece(f"{name}.{method.name}", method)


def meaningful(statements: Iterable[ast.stmt], *, in_class: bool = False) -> Iterator[ast.stmt]:
    """Statements without docstrings, `pass`, bare annotations, and `TYPE_CHECKING` and `__main__` blocks.

    Imports are kept, since they bind names.
    """
    for statement in statements:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
            case ast.AnnAssign(value=None) if not in_class:
                continue
            case ast.If() if is_type_checking(statement.test) or _is_main(statement.test):
                yield from meaningful(statement.orelse, in_class=in_class)
            case _:
                yield statement


def _is_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
    return False


_LEFT_OUT = frozenset({"ctx", "annotation", "returns", "type_comment", "type_params"})


class _Writer:
    """Writes the normal form of a statement.

    Args:
        imports: The imports of the module, by the name that they bind.
        scopes: The scopes around the statement, outermost first.
        separate: Methods of the statement that are written as pieces of their own.
    """

    def __init__(
        self, imports: Mapping[str, tuple[Import, ...]], scopes: Sequence[Scope], separate: Sequence[ast.stmt] = ()
    ) -> None:
        self._imports = imports
        self._scopes = list(scopes)
        self._separate = separate
        self._written: list[str] = []
        self._references: list[Reference] = []
        self._field_types: list[Reference] = []
        self._texts: list[str] | None = None
        """String constants of the innermost call; None outside of calls, where they are written in place."""
        self._in_error = False

    def piece(self, name: str, statement: ast.stmt) -> Piece:
        self._write(statement)
        syntax = hashlib.sha256(" ".join(self._written).encode("utf-8", "backslashreplace")).hexdigest()
        return Piece(name, syntax, tuple(self._references), tuple(self._field_types))

    def _write(self, value: Any) -> None:
        handler = self._HANDLERS.get(type(value))
        if handler is not None:
            handler(self, value)
        elif isinstance(value, ast.AST):
            self._open(value)
            for field in value._fields:
                if field not in _LEFT_OUT:
                    part = getattr(value, field, None)
                    if field in ("body", "orelse", "finalbody") and isinstance(part, list):
                        self._block(part)
                    else:
                        self._write(part)
            self._close()
        elif isinstance(value, list):
            self._written.append("[")
            for part in value:
                self._write(part)
            self._close()
        else:
            self._written.append(repr(value))

    def _open(self, node: ast.AST) -> None:
        self._written.append(f"{type(node).__name__}(")

    def _close(self) -> None:
        self._written.append(")")

    def _block(self, statements: Iterable[ast.stmt], *, in_class: bool = False) -> None:
        self._written.append("[")
        for statement in meaningful(statements, in_class=in_class):
            if statement in self._separate:
                self._written.append(f"method {statement.name}")  # type: ignore[attr-defined]  # these are functions
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                self._write(statement)
            if in_class and isinstance(statement, ast.AnnAssign):
                self._field_types += self._references_in(statement.annotation)
        self._close()

    # --- names --------------------------------------------------------------------------------------------------------

    def _name(self, node: ast.Name | ast.Attribute) -> None:
        reference = self._reference(node)
        if reference is not None:
            self._written.append("@")
            self._references.append(reference)
        elif isinstance(node, ast.Name):
            self._written.append(node.id)
        else:
            self._open(node)
            self._write(node.value)
            self._written.append(node.attr)
            self._close()

    def _reference(self, node: ast.expr) -> Reference | None:
        """A dotted name as a reference; None for a local name or any other expression."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        scope = next((scope for scope in reversed(self._scopes) if node.id in scope), None)
        if scope is None:
            is_global = isinstance(node.ctx, ast.Load)
            imports: tuple[Import, ...] = ()
        else:
            is_global = scope[node.id] != ()
            imports = scope[node.id] or ()
        return Reference((node.id, *attributes[::-1]), imports) if is_global else None

    def _references_in(self, annotation: ast.expr) -> list[Reference]:
        writer = _Writer(self._imports, self._scopes)
        writer._write(annotation)
        return writer._references

    # --- scopes -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _scope(self, scope: Scope) -> Iterator[None]:
        self._scopes.append(scope)
        yield
        self._scopes.pop()

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._open(node)
        self._written.append(node.name)
        self._write(node.decorator_list)
        self._write(node.args)
        with self._scope(dict.fromkeys(argument_names(node.args), ()) | bindings(node.body)):
            self._block(node.body)
        self._close()

    def _lambda(self, node: ast.Lambda) -> None:
        self._open(node)
        self._write(node.args)
        with self._scope(dict.fromkeys(argument_names(node.args), ())):
            self._write(node.body)
        self._close()

    def _class(self, node: ast.ClassDef) -> None:
        self._open(node)
        self._written.append(node.name)
        for part in (node.decorator_list, node.bases, node.keywords):
            self._write(part)
        for name, imports in bindings(node.body).items():
            if imports:  # binds an attribute whose uses cannot be followed
                self._references.append(Reference((name,), imports))
        self._block(node.body, in_class=True)
        self._close()

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self._open(node)
        first, *others = node.generators
        self._write(first.iter)  # evaluated outside the scope of the comprehension
        bound = bindings([generator.target for generator in node.generators])
        with self._scope(bound):
            for part in (first.target, first.ifs, first.is_async, others):
                self._write(part)
            for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self._write(part)
        self._close()

    # --- annotations and wording --------------------------------------------------------------------------------------

    def _annotated(self, node: ast.AnnAssign) -> None:
        """Written like an assignment without annotation; a field without value keeps its name."""
        self._written.append("Assign(" if node.value is not None else "Field(")
        self._write([node.target])
        self._write(node.value)
        self._close()

    def _call(self, node: ast.Call) -> None:
        reference = self._reference(node.func)
        if reference is not None and self._is_cast(reference) and len(node.args) == 2:
            self._write(node.args[1])
            return
        self._open(node)
        place = len(self._references)
        self._write(node.func)
        around = self._texts
        if reference is not None and not self._in_error:
            self._texts = []
        self._write(node.args)
        self._write(node.keywords)
        if reference is not None and not self._in_error:
            self._references[place] = reference._replace(texts=tuple(self._texts or ()))
        self._texts = around
        self._close()

    def _is_cast(self, reference: Reference) -> bool:
        first, *others = reference.names
        imports = reference.imports or self._imports.get(first, ())
        return any(
            imported.module in ("typing", "typing_extensions") and [imported.name, *others][-1] == "cast"
            for imported in imports
        )

    def _error(self, node: ast.Raise) -> None:
        self._open(node)
        with self._wording():
            self._write(node.exc)
        self._write(node.cause)
        self._close()

    def _assert(self, node: ast.Assert) -> None:
        self._open(node)
        self._write(node.test)
        if node.msg is not None and not isinstance(node.msg, ast.Constant):
            with self._wording():
                self._write(node.msg)
        self._close()

    @contextmanager
    def _wording(self) -> Iterator[None]:
        around = self._texts, self._in_error
        self._texts, self._in_error = [], True
        yield
        self._texts, self._in_error = around

    def _constant(self, node: ast.Constant) -> None:
        if self._texts is None or not isinstance(node.value, str):
            self._written.append(repr(node.value))
        else:
            self._written.append("$")
            self._texts.append(node.value)

    def _f_string(self, node: ast.JoinedStr) -> None:
        self._open(node)
        self._parts(node)
        self._close()

    def _parts(self, node: ast.JoinedStr) -> None:
        for number, part in enumerate(node.values):
            if self._texts is None or not isinstance(part, ast.Constant):
                self._write(part)
            else:
                self._texts.append(f"{number} {part.value!r}")

    def _formatted(self, node: ast.FormattedValue) -> None:
        self._open(node)
        self._write(node.value)
        if self._texts is None:
            self._write([node.conversion, node.format_spec])
        else:
            self._texts.append(f"!{node.conversion}")
            if isinstance(node.format_spec, ast.JoinedStr):
                self._parts(node.format_spec)
        self._close()

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        ast.Name: _name,
        ast.Attribute: _name,
        ast.FunctionDef: _function,
        ast.AsyncFunctionDef: _function,
        ast.Lambda: _lambda,
        ast.ClassDef: _class,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.DictComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.AnnAssign: _annotated,
        ast.Call: _call,
        ast.Raise: _error,
        ast.Assert: _assert,
        ast.Constant: _constant,
        ast.JoinedStr: _f_string,
        ast.FormattedValue: _formatted,
    }
