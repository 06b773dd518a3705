from __future__ import annotations

import textwrap

import pytest

from mtl.code_identity.scopes import Import
from mtl.code_identity.syntax import ModuleSyntax, read


def syntax(source: str) -> ModuleSyntax:
    return read(textwrap.dedent(source).encode(), "source.py")


def test_a_module_gives_its_definitions_imports_and_statements() -> None:
    found = syntax(
        '''
        """A module."""
        from __future__ import annotations
        import a.b
        try:
            from c import d
        except ImportError:
            from e import d
        if TYPE_CHECKING:
            from g import hidden
        DECIDES_RESULTS = False
        x = y = 1
        z: int
        x.w = 2
        for i in x:
            v = i
        class K:
            def m(self): pass
        '''
    )
    assert list(found.definitions) == ["x", "y", "K"]
    assert [piece.name for piece in found.definitions["K"]] == ["K", "K.m"]
    assert set(found.imports) == {"annotations", "a", "a.b", "d"}
    assert found.imports["d"] == (Import("c", "d", 0), Import("e", "d", 0))
    assert len(found.statements) == 2
    assert found.statement_names == {"i", "v"}
    assert found.decides_results is False


def test_a_definition_that_is_made_twice_counts_with_both() -> None:
    once, twice = (syntax(source).definitions["f"] for source in ("f = 1", "f = 1\nf = g(f)"))
    assert twice[:1] == once
    assert len(twice) == 2


def test_a_syntax_error_names_the_file() -> None:
    with pytest.raises(SyntaxError) as found:
        read(b"def", "some/file.py")
    assert found.value.filename == "some/file.py"
