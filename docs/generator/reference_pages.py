"""A Sphinx extension that completes the pages of the reference, and the navigation of the front page."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from reference_commands import commands_page
from reference_components import components_page
from reference_keys import keys_page
from sphinx.application import Sphinx
from sphinx.highlighting import lexer_classes
from sphinx.pycode import ModuleAnalyzer

NAVIGATION = Path(__file__).parents[1] / "navigation.md"

MODULES = ("mtl", "heads", "mtl.readers", "mtl.samplers", "mtl.balancing")
"""The modules whose public names are for code outside the repository."""


def python_page() -> str:
    """All public names: a heading per module, and the documentation of each name."""
    lines = []
    for module in MODULES:
        lines += [f"## `{module}`", "", "```{eval-rst}"]
        for name in public_names(module):
            lines += [f".. {_directive(getattr(importlib.import_module(module), name))}:: {module}.{name}", ""]
        lines += ["```", ""]
    return "\n".join(lines)


def public_names(module: str) -> list[str]:
    """The names of `__all__`; without one, those of the classes that the module defines."""
    found = importlib.import_module(module)
    if hasattr(found, "__all__"):
        return list(found.__all__)
    classes = inspect.getmembers(found, inspect.isclass)
    return [name for name, cls in classes if cls.__module__ == module and not name.startswith("_")]


def _directive(value: Any) -> str:
    if inspect.isclass(value):
        return "autoclass"
    return "autofunction" if inspect.isroutine(value) else "autodata"


GENERATED: dict[str, Callable[[], str]] = {
    "README": lambda: NAVIGATION.read_text(encoding="utf-8"),
    "docs/reference/keys": keys_page,
    "docs/reference/components": components_page,
    "docs/reference/commands": commands_page,
    "docs/reference/python": python_page,
}
"""What is added at the end of a page, by its name."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the extension with Sphinx."""

    def complete(_: Sphinx, page: str, source: list[str]) -> None:
        if page in GENERATED:
            source[0] = f"{source[0]}\n{GENERATED[page]()}"

    def always_read(_: Sphinx, *__: object) -> list[str]:
        return list(GENERATED)  # the code may have changed, not only the page

    def sign(*event: Any) -> tuple[str, None] | None:
        """No signature for what is made from a YAML file: its keys have a page of their own."""
        cls = event[3]
        return ("", None) if inspect.isclass(cls) and issubclass(cls, BaseModel) else None

    def describe(_: Sphinx, what: str, name: str, *event: Any) -> None:
        """The docstring of data that a package imports from a module of its own, where Sphinx does not look."""
        package, attribute = name.rsplit(".", 1)
        if what != "data":
            return
        for module in sorted(sys.modules):
            if module.startswith(f"{package}.") and hasattr(sys.modules[module], attribute):
                found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", attribute))
                if found is not None:
                    event[-1][:] = found

    app.add_lexer("csv", lexer_classes["none"])  # tables have nothing to highlight
    app.connect("source-read", complete)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-docstring", describe)
    app.connect("env-get-outdated", always_read)
    return {"parallel_read_safe": True}
