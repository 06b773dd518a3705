"""The keys of every YAML file as Markdown tables, from the classes that read these files."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import docstring_parser
from pydantic import BaseModel, TypeAdapter

from mtl.config.mixture import Mixture
from mtl.study.design.study_spec import StudySpec
from mtl.suites.suite_spec import SuiteSpec
from mtl.tuning.tuning_file import TuningSpec
from mtl.vocabulary.vocabulary_file import VocabularySpec

FILES: dict[str, type[BaseModel]] = {
    "Mixture": Mixture,
    "Study": StudySpec,
    "Search of settings": TuningSpec,
    "Vocabulary": VocabularySpec,
    "Suite": SuiteSpec,
}
"""The kinds of file, each with the class of its outermost keys."""


class Section(NamedTuple):
    """One mapping of a file.

    Args:
        path: Keys that lead to it, such as `tasks.NAME.data`; empty for the file itself.
        cls: The class that reads it.
    """

    path: str
    cls: type[Any]


class Key(NamedTuple):
    """One key of a mapping: its name, type, default and meaning, all as Markdown."""

    name: str
    type: str
    default: str
    meaning: str


def keys_page() -> str:
    """All keys of all kinds of file: a heading per file, and a table per mapping in it."""
    lines = []
    for title, root in FILES.items():
        lines += [f"## {title}", ""]
        for section in sections(root):
            lines += [f"### `{section.path}`" if section.path else "### Outermost keys", "", _about(section.cls), ""]
            lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
            lines += [f"| `{key.name}` | {key.type} | {key.default} | {key.meaning} |" for key in keys(section.cls)]
            lines += [""]
    return "\n".join(lines)


def sections(cls: type[Any], path: str = "") -> Iterator[Section]:
    """A mapping and all mappings inside it, the outer ones first."""
    yield Section(path, cls)
    for name, annotation in _fields(cls).items():
        for inner, below in _mappings(annotation):
            yield from sections(inner, ".".join(filter(None, (path, name, below))))


def keys(cls: type[Any]) -> list[Key]:
    """The keys of a mapping in the order of the class."""
    schema = TypeAdapter(cls).json_schema()
    meanings = described(cls)
    return [
        Key(name, type_words(schema["properties"][name], schema), _default(cls, name, schema), meanings.get(name, ""))
        for name in _fields(cls)
    ]


def described(cls: type[Any]) -> dict[str, str]:
    """The meaning of each argument, from the docstring of a class and of those it inherits from, on one line."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        params = docstring_parser.parse(one.__dict__.get("__doc__") or "").params
        found |= {param.arg_name: cell(param.description or "") for param in params}
        found |= {name: cell(text) for name, text in _attribute_docstrings(one).items()}
    return found


def cell(text: str) -> str:
    """A text in a cell of a Markdown table, with YAML's word for no value."""
    plain = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", " ".join(text.split()).replace("``", "`"))
    return re.sub(r"\bNone\b", "null", plain).replace("|", "\\|")


def default_words(value: Any) -> str:
    """A default as YAML writes it."""
    return "`" + json.dumps(value, default=dict, ensure_ascii=False).strip('"').replace("|", "\\|") + "`"


def type_words(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """A type of JSON's schema in words.

    Args:
        schema: The schema of a value.
        root: The schema that holds its definitions.
    """
    if "$ref" in schema:
        return type_words(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_words(one, root) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        parts = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {', '.join(type_words(part, root) for part in parts)}"
    if isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
        return f"mapping to {type_words(schema['additionalProperties'], root)}"
    word = {"object": "mapping", "boolean": "true or false"}.get(kind, str(kind))
    return word + "".join(f", {rule} {schema[name]:g}" for name, rule in _BOUNDS.items() if name in schema)


_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _about(cls: type[Any]) -> str:
    return cell(docstring_parser.parse(inspect.getdoc(cls) or "").short_description or "")


def _attribute_docstrings(cls: type[Any]) -> dict[str, str]:
    """The strings below the fields of a dataclass, which describe what it adds to an inherited one."""
    if not dataclasses.is_dataclass(cls):
        return {}
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def _fields(cls: type[Any]) -> dict[str, Any]:
    """The annotations of the fields of a pydantic model or dataclass."""
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return {name: field.annotation for name, field in cls.model_fields.items()}


def _mappings(annotation: Any, below: str = "") -> Iterator[tuple[type[Any], str]]:
    """The classes of mappings in an annotation, each with the key that stands for the names of a dictionary."""
    if inspect.isclass(annotation) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        yield annotation, below
        return
    is_dictionary = typing.get_origin(annotation) is dict
    for inner in typing.get_args(annotation):
        yield from _mappings(inner, "NAME" if is_dictionary else below)


def _default(cls: type[Any], name: str, schema: Mapping[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    value = schema["properties"][name].get("default", {})
    return default_words({} if isinstance(value, dict) and _has_mappings(cls, name) else value)


def _has_mappings(cls: type[Any], name: str) -> bool:
    """Whether a value has a table of its own, which shows its defaults."""
    return any(_mappings(_fields(cls)[name]))
