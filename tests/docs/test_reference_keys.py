"""The reference of YAML keys: every key of every file, with its type, default and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from reference_keys import FILES, Section, keys, keys_page, sections

from mtl.config import mixture as specs
from mtl.config.mixture import Mixture
from mtl.suites.suite_spec import SuiteSpec

PAGE = keys_page()


class Inner(BaseModel):
    """What is inside.

    Args:
        depth: How deep it goes; None goes all the way | or not.
    """

    depth: Annotated[int, Field(ge=1)] | None = None


class Outer(BaseModel):
    """What is outside.

    Args:
        kind: Which of two.
        parts: Parts by name.
    """

    kind: Literal["a", "b"]
    parts: dict[str, Inner] = Field(default_factory=dict)


@dataclass
class Narrow:
    """What is narrow.

    Args:
        deep: How deep it is.
    """

    deep: int = 3


def test_a_key_has_its_type_default_and_meaning_as_yaml_writes_them() -> None:
    assert [tuple(key) for key in keys(Outer)] == [
        ("kind", "`a`, `b`", "required", "Which of two."),
        ("parts", "mapping to mapping", "`{}`", "Parts by name."),
    ]
    assert [tuple(key) for key in keys(Inner)] == [
        ("depth", "integer, at least 1 or null", "`null`", "How deep it goes; null goes all the way \\| or not.")
    ]


def test_a_mapping_inside_another_is_a_section_with_its_path() -> None:
    assert list(sections(Outer)) == [Section("", Outer), Section("parts.NAME", Inner)]


def test_every_class_of_keys_of_a_mixture_is_a_section() -> None:
    there = {
        value
        for name, value in vars(specs).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and name[0] != "_"
    } - {BaseModel, specs.Section}
    assert {section.cls for section in sections(Mixture)} == there
    assert "tasks.NAME.data.split" in {section.path for section in sections(Mixture)}


@pytest.mark.parametrize("title", FILES)
def test_every_key_of_a_file_is_on_the_page_in_its_section_with_a_meaning(title: str) -> None:
    chapter = f"\n{PAGE}".partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    seen = 0
    for section in sections(FILES[title]):
        heading = f"### `{section.path}`" if section.path else "### Outermost keys"
        table = chapter.partition(f"{heading}\n")[2].partition("\n### ")[0]
        for key in keys(section.cls):
            assert f"| `{key.name}` | {key.type} | {key.default} | {key.meaning} |" in table
            assert key.meaning, f"{title}: {section.path}.{key.name} has no meaning"
            seen += 1
    assert chapter.count("\n| `") == seen > 5


@dataclass
class Wider(Narrow):
    """What is wider."""

    broad: str = "b"
    """What it adds; None adds nothing."""


def test_a_dataclass_is_read_like_a_model_and_keys_that_it_adds_too() -> None:
    assert [tuple(key) for key in keys(Wider)] == [
        ("deep", "integer", "`3`", "How deep it is."),
        ("broad", "string", "`b`", "What it adds; null adds nothing."),
    ]
    sections_of_studies = {section.path: section.cls for section in sections(FILES["Study"])}
    names = {key.name: key for key in keys(sections_of_studies["model"])}
    assert names["learning_rate"].type == "number, above 0 or null"
    assert names["stages"].type.startswith("mapping")
    assert {"tasks.NAME.recipe", "recipe"} <= {section.path for section in sections(SuiteSpec)}
