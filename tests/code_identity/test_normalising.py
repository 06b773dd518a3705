from __future__ import annotations

import textwrap

import pytest

from mtl.code_identity.scopes import Import
from mtl.code_identity.syntax import ModuleSyntax, read


def syntax(source: str) -> ModuleSyntax:
    return read(textwrap.dedent(source).encode(), "source.py")


def used(source: str, name: str = "f") -> list[str]:
    """The dotted names that a definition refers to."""
    pieces = syntax(source).definitions[name]
    return [".".join(reference.names) for piece in pieces for reference in piece.references]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x, *y, z=a, **w): return x, y, z, w, b", ["a", "b"]),
        ("def f(): x = a; return x.b.c, d.e.f", ["a", "d.e.f"]),
        ("def f(): return [a for a in b], a", ["b", "a"]),
        ("def f(a): return [a for a in a]", []),
        ("def f(): return {k: v for k, v in g for k in k(v)}", ["g"]),
        ("def f(): return [(x := y) for y in z], x", ["z"]),
        ("def f(): return lambda x, y=x: x + y + z", ["x", "z"]),
        ("def f():\n def g(y): return x + y\n x = 1\n return g", []),
        ("def f():\n global x\n x = 1", ["x"]),
        ("def f():\n def g():\n  nonlocal x\n  x = y\n x = 1\n return g", ["y"]),
        ("def f():\n try: a()\n except b as e: return e", ["a", "b"]),
        ("def f():\n with a() as x: return x", ["a"]),
        ("def f(x):\n match x:\n  case A(y=[1, *r]) | {'k': _, **s}: return r, s", ["A"]),
        ("def f():\n class C(a):\n  b = c\n  def d(self): return b\n return C", ["a", "c", "b"]),
        ("@a.b\ndef f(x: T) -> T: pass", ["a.b"]),
        ("class f(a, metaclass=b):\n @c\n def d(self, x=e): return g", ["a", "b", "c", "e", "g"]),
        ("async def f():\n async for x in a: await b(x)", ["a", "b"]),
        ("f: list[T] = a", ["a"]),
        ("f, g = a, b", ["a", "b"]),
        ("def f(): a.b = c; del d.e", ["a.b", "c", "d.e"]),
        ("def f(): return a().b.c", ["a"]),
        ("from typing import cast\ndef f(): return cast(T, a)", ["a"]),
        ("import typing as t\ndef f(): return t.cast(T, a)", ["a"]),
        ("def f(): raise a(b, 'text') from c", ["a", "b", "c"]),
        ("def f():\n if TYPE_CHECKING:\n  from a import b\n return b", ["b"]),
    ],
)
def test_references_are_the_names_that_code_does_not_bind(source: str, names: list[str]) -> None:
    assert used(source) == names


def test_an_import_in_a_function_binds_a_name_there() -> None:
    (piece,) = syntax("def f():\n    from .a import b as c\n    import d.e\n    return c.g, d.e.h").definitions["f"]
    assert [(reference.names, reference.imports) for reference in piece.references] == [
        (("c", "g"), (Import("a", "b", 1),)),
        (("d", "e", "h"), (Import("d", None, 0),)),
    ]


def test_an_import_in_a_class_counts_for_the_class() -> None:
    (piece,) = syntax("class f:\n    import a\n").definitions["f"]
    assert piece.references[0].imports == (Import("a", None, 0),)


def test_texts_belong_to_the_innermost_call() -> None:
    (piece,) = syntax("def f(x): return g('a', h('b'), f'c{x:d}', x.k('e')), 'i'").definitions["f"]
    assert {reference.names: reference.texts for reference in piece.references} == {
        ("g",): ("a", "0 'c'", "!-1", "0 'd'", "e"),
        ("h",): ("b",),
    }
