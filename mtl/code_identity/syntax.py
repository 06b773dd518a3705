"""What a module's source says, without what has no effect on a result, and the names that each definition uses.

Docstrings, comments, annotations, imports and formatting are left out, and so is the wording of errors. Names that
the code itself doesn't bind are kept apart as references: what they stand for is for `mtl.code_identity.modules`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, NamedTuple


class Import(NamedTuple):
    """What a name is bound to by an import statement.

    Args:
        module: As written, without leading dots.
        name: What is imported from the module; None binds the module itself.
        level: Number of leading dots.
    """

    module: str
    name: str | None
    level: int


class Reference(NamedTuple):
    """A use of a name that the code doesn't bind itself.

    Args:
        names: The name and the attributes read off it: ``("components", "find")`` for ``components.find``.
        imports: What an import inside the function binds the name to; empty where the module binds it.
        texts: The string constants among the arguments, where it is called.
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
    """

    name: str
    syntax: str
    references: tuple[Reference, ...]


class ModuleSyntax(NamedTuple):
    """A module, as far as it can decide a result.

    Args:
        definitions: The functions, classes and assignments at the top level, by name.
        imports: What import statements bind, by name; `*` has the star imports, and ``import a.b`` has an entry
            ``a.b`` besides the one for ``a``.
        statements: Top-level statements that act on import.
        statement_names: The names that these bind.
        decides_results: The constant `DECIDES_RESULTS`; None where the module doesn't define it.
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
        source: Its text. Results are kept by content, so a file that changes is read again.
        path: Only for the message of a SyntaxError.
    """
    body = list(_meaningful(ast.parse(source, path).body))
    imports = {name: found for name, found in _bindings(body).items() if found}
    definitions: dict[str, tuple[Piece, ...]] = {}
    acting: list[ast.stmt] = []
    decides_results = None
    for statement in body:
        names = _defined(statement)
        if names == ["DECIDES_RESULTS"]:
            decides_results = _is_true(statement)
        elif names:
            for name in names:
                definitions[name] = (*definitions.get(name, ()), *_pieces(name, statement, imports))
        elif not _only_imports(statement):
            acting.append(statement)
    statements = tuple(piece for statement in acting for piece in _pieces("", statement, imports))
    return ModuleSyntax(definitions, imports, statements, frozenset(_bindings(acting)), decides_results)


# --- statements -------------------------------------------------------------------------------------------------------


def _meaningful(statements: Iterable[ast.stmt], *, in_class: bool = False) -> Iterator[ast.stmt]:
    """Statements without docstrings, `pass`, bare annotations, and blocks for type checkers or for scripts.

    Imports are among them still, as they bind names.
    """
    for statement in statements:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
            case ast.AnnAssign(value=None) if not in_class:
                continue
            case ast.If() if _is_type_checking(statement.test) or _is_main(statement.test):
                yield from _meaningful(statement.orelse, in_class=in_class)
            case _:
                yield statement


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _is_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
    return False


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines; none where it acts on something that is there."""
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
    """Names in the target of an assignment, with None for an item or an attribute of something."""
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
    """Whether a decorator such as ``@area.register`` adds the definition to something that is used by its own name."""
    called = (node.func if isinstance(node, ast.Call) else node for node in statement.decorator_list)
    return any("register" in (getattr(node, "id", None), getattr(node, "attr", None)) for node in called)


def _only_imports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.If() | ast.Try():
            handlers = [inner for handler in getattr(statement, "handlers", []) for inner in handler.body]
            inside = [*statement.body, *statement.orelse, *handlers, *getattr(statement, "finalbody", [])]
            return all(_only_imports(inner) for inner in _meaningful(inside))
    return False


def _is_true(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return not (isinstance(value, ast.Constant) and value.value is False)


def _pieces(name: str, statement: ast.stmt, imports: Mapping[str, tuple[Import, ...]]) -> Iterator[Piece]:
    """The statement, and each method of a class by itself."""
    scopes: list[_Scope] = []
    methods: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    if isinstance(statement, ast.ClassDef):
        body = list(_meaningful(statement.body, in_class=True))
        scopes = [{bound: found for bound, found in _bindings(body).items() if found}]
        methods = [inner for inner in body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)]
    yield _Writer(imports, scopes, apart=methods).piece(name, statement)
    for method in methods:
        yield _Writer(imports, scopes).piece(f"{name}.{method.name}", method)


# --- scopes -----------------------------------------------------------------------------------------------------------

_Scope = dict[str, tuple[Import, ...] | None]
"""The names that a function binds: what imports bind them to (empty without), or None for a `global` name."""

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _bindings(statements: Iterable[ast.AST]) -> _Scope:
    """The names that statements bind in their own scope."""
    scope: _Scope = {}
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
            case ast.If() if _is_type_checking(node.test):
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


def _arguments(arguments: ast.arguments) -> list[str]:
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in [*found, arguments.vararg, arguments.kwarg] if argument is not None]


# --- writing ----------------------------------------------------------------------------------------------------------

_LEFT_OUT = frozenset({"ctx", "annotation", "returns", "type_comment", "type_params"})


class _Writer:
    """Writes a statement as a flat text that is equal for statements of equal meaning.

    Args:
        imports: Of the module.
        scopes: Names that are bound around the statement.
        apart: Methods of the statement that are written by themselves.
    """

    def __init__(
        self, imports: Mapping[str, tuple[Import, ...]], scopes: Sequence[_Scope], apart: Sequence[ast.stmt] = ()
    ) -> None:
        self._imports = imports
        self._scopes = list(scopes)
        self._apart = apart
        self._written: list[str] = []
        self._references: list[Reference] = []
        self._texts: list[str] | None = None
        """Collects string constants of the innermost call; None leaves them where they stand."""
        self._in_error = False

    def piece(self, name: str, statement: ast.stmt) -> Piece:
        self._write(statement)
        syntax = hashlib.sha256(" ".join(self._written).encode("utf-8", "backslashreplace")).hexdigest()
        return Piece(name, syntax, tuple(self._references))

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
        for statement in _meaningful(statements, in_class=in_class):
            if statement in self._apart:
                self._written.append(f"method {statement.name}")  # type: ignore[attr-defined]
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                self._write(statement)
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
        """The reference that a dotted name is; None for a local name, and for anything else."""
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

    # --- scopes -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _scope(self, scope: _Scope) -> Iterator[None]:
        self._scopes.append(scope)
        yield
        self._scopes.pop()

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._open(node)
        self._written.append(node.name)
        self._write(node.decorator_list)
        self._write(node.args)
        with self._scope(dict.fromkeys(_arguments(node.args), ()) | _bindings(node.body)):
            self._block(node.body)
        self._close()

    def _lambda(self, node: ast.Lambda) -> None:
        self._open(node)
        self._write(node.args)
        with self._scope(dict.fromkeys(_arguments(node.args), ())):
            self._write(node.body)
        self._close()

    def _class(self, node: ast.ClassDef) -> None:
        self._open(node)
        self._written.append(node.name)
        for part in (node.decorator_list, node.bases, node.keywords):
            self._write(part)
        for name, imports in _bindings(node.body).items():
            if imports:  # an import in a class body binds an attribute, which is used where nothing shows it
                self._references.append(Reference((name,), imports))
        self._block(node.body, in_class=True)
        self._close()

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self._open(node)
        first, *others = node.generators
        self._write(first.iter)  # the only part that doesn't see the names of the comprehension
        bound = _bindings([generator.target for generator in node.generators])
        with self._scope(bound):
            for part in (first.target, first.ifs, first.is_async, others):
                self._write(part)
            for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self._write(part)
        self._close()

    # --- annotations and wording --------------------------------------------------------------------------------------

    def _annotated(self, node: ast.AnnAssign) -> None:
        """An assignment; the field of a class, where there is no value."""
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
        **dict.fromkeys(_COMPREHENSIONS, _comprehension),
        ast.AnnAssign: _annotated,
        ast.Call: _call,
        ast.Raise: _error,
        ast.Assert: _assert,
        ast.Constant: _constant,
        ast.JoinedStr: _f_string,
        ast.FormattedValue: _formatted,
    }
