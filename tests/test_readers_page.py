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
    assert len(EXAMPLES) == BLOCK.count("data: ") == 7


@pytest.mark.parametrize("reader", ["i2b2_2010", "share2013", "clinicalsts", "mednli", "ebm_nlp", "bioasq"])
def test_a_corpus_under_agreement_has_one_place_and_layout_on_the_page_in_suites_and_in_studies(reader: str) -> None:
    places = [place_of(fields) for fields in [*EXAMPLES, *task_data()] if fields.get("reader") == reader]
    assert len(places) > 1
    assert places == places[:1] * len(places)
    cuts = [
        fields["split"]["fractions"] for fields in task_data() if fields.get("reader") == reader and "split" in fields
    ]
    assert cuts == cuts[:1] * len(cuts)


def place_of(fields: dict[str, Any]) -> tuple[Any, ...]:
    """Where the files of a corpus are, below the folder of all data."""
    return Path(str(fields["path"])).name, fields.get("files"), fields.get("annotations")


def task_data() -> list[dict[str, Any]]:
    """The data of all tasks of suites and of the studies of published recipes."""
    experiments = Path(__file__).parent.parent / "experiments"
    files = [*experiments.glob("suites/*.yaml"), *experiments.glob("studies/mt_bluebert_*.yaml")]
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    tasks = [content.get("mixture", content)["tasks"] for content in contents]
    return [task["data"] for own in tasks for task in own.values() if isinstance(task.get("data"), dict)]
