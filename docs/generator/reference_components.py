"""The heads, readers, samplers, balancing methods and launchers as Markdown tables, from their signatures."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import docstring_parser
from pydantic import TypeAdapter
from reference_keys import cell, default_words, described, type_words

from mtl.config.components import choices, find

KINDS = {
    "head": "Heads",
    "reader": "Readers",
    "sampler": "Samplers",
    "balancing": "Balancing methods",
    "launcher": "Launchers of studies",
}


def components_page() -> str:
    """All components of all kinds: a heading per component, and a table of its options."""
    lines = []
    for kind, title in KINDS.items():
        lines += [f"## {title}", ""]
        for name in choices(kind):
            cls = find(kind, name, kind)
            about = docstring_parser.parse(inspect.getdoc(cls) or "").short_description or ""
            lines += [f"### `{name}`", "", cell(about), "", *_table(cls), ""]
    return "\n".join(lines)


def options(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """What YAML may set: the keyword-only arguments."""
    parameters = inspect.signature(cls).parameters
    return {name: found for name, found in parameters.items() if found.kind is inspect.Parameter.KEYWORD_ONLY}


def _table(cls: type[Any]) -> list[str]:
    found = options(cls)
    if not found:
        return ["It has no options."]
    hints, meanings = typing.get_type_hints(cls.__init__), described(cls)
    rows = [
        f"| `{name}` | {_type(hints.get(name, Any))} | {_default(parameter)} | {meanings.get(name, '')} |"
        for name, parameter in found.items()
    ]
    return ["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _type(hint: Any) -> str:
    schema = TypeAdapter(hint).json_schema()
    return type_words(schema, schema)


def _default(parameter: inspect.Parameter) -> str:
    return "required" if parameter.default is inspect.Parameter.empty else default_words(parameter.default)
