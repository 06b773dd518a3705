"""The reference of heads, readers, samplers, balancing methods and launchers."""

from __future__ import annotations

from typing import Any

import pytest
from reference_components import KINDS, components_page, options

from mtl.config.components import choices, find

PAGE = components_page()
COMPONENTS = [(kind, name) for kind in KINDS for name in choices(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[f"{kind}-{name}" for kind, name in COMPONENTS])
def test_every_option_of_a_component_is_on_the_page_with_its_meaning(kind: Any, name: str) -> None:
    chapter = f"\n{PAGE}".partition(f"\n## {KINDS[kind]}\n")[2].partition("\n## ")[0]
    table = chapter.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
    rows = [line.replace("\\|", "/").split("|") for line in table.splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == list(options(find(kind, name, kind)))
    assert [row for row in rows if not row[4].strip()] == []


def test_a_default_is_written_as_in_yaml() -> None:
    section = PAGE.partition("### `temperature`\n")[2].partition("\n### ")[0]
    assert "| `temperature` | number | `2.0` |" in section
    assert "| `max_examples` | integer or null | `null` |" in section
