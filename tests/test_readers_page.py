"""The page on data: it names every reader, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.config.components import check_options, choices, find
from mtl.config.mixture import DataSpec

PAGE = (Path(__file__).parent.parent / "docs" / "readers.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [yaml.safe_load(text)["data"] for text in re.findall(r"^data: .*(?:\n .*)*", BLOCK, re.MULTILINE)]


@pytest.mark.parametrize("name", choices("reader"))
def test_every_reader_is_on_the_page(name: str) -> None:
    assert f"| `{name}`" in PAGE or f", `{name}`" in PAGE


@pytest.mark.parametrize("fields", EXAMPLES, ids=lambda fields: fields["reader"])
def test_an_example_is_valid_data_of_a_task(fields: dict[str, Any]) -> None:
    spec = DataSpec(**fields)
    reader = find("reader", spec.reader, "reader")
    options = {key: value for key, value in spec.reader_arguments.items() if key != "path"}
    assert check_options(reader, options, "data", frozenset({"path"})) == []


def test_all_examples_are_seen() -> None:
    assert len(EXAMPLES) == BLOCK.count("data: ") == 5
