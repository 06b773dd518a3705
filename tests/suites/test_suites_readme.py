"""What docs/suites/README says is so: its tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from mtl.commands.suite import main
from mtl.evaluation.metric_variants import VARIANTS
from mtl.suites.suite_file import known_suites, load_suite
from mtl.suites.suite_spec import (
    AccessSpec,
    AggregationSpec,
    CountsSpec,
    DifferenceSpec,
    RecipeSpec,
    SourceSpec,
    SuiteSpec,
    SuiteTaskSpec,
)
from mtl.suites.unit_counts import Unit

PAGE = (Path(__file__).parents[2] / "docs" / "suites" / "README.md").read_text(encoding="utf-8")


def table(before: str) -> list[list[str]]:
    """The lines of the first table after a text."""
    after = PAGE[PAGE.index(before) :]
    found = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in found[0].splitlines()[2:]]


@pytest.mark.parametrize(
    ("before", "spec"), [("A suite file has these keys", SuiteSpec), ("A task has these:", SuiteTaskSpec)]
)
def test_every_key_is_on_the_page_with_its_default(before: str, spec: type[BaseModel]) -> None:
    assert {key.strip("`"): default.strip("`") for key, default, _ in table(before)} == {
        name: "required" if field.is_required() else written(field.get_default(call_default_factory=True))
        for name, field in spec.model_fields.items()
    }


def written(default: Any) -> str:
    plain = {} if isinstance(default, BaseModel) else list(default) if isinstance(default, tuple) else default
    return "null" if plain is None else yaml.safe_dump(plain, default_flow_style=True).split("\n")[0]


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("aggregation", AggregationSpec),
        ("recipe", RecipeSpec),
        ("sources", SourceSpec),
        ("counts", CountsSpec),
        ("differences", DifferenceSpec),
        ("access", AccessSpec),
    ],
)
def test_the_keys_of_a_section_are_named(key: str, spec: type[BaseModel]) -> None:
    lines = table("A suite file has these keys") + table("A task has these:")
    meanings = " ".join(line[2] for line in lines if line[0] == f"`{key}`")
    assert [name for name in spec.model_fields if f"`{name}`" not in meanings] == []


def test_the_vocabulary_is_that_of_the_code() -> None:
    assert table("| variant | meaning") == [
        [f"`{name}`", one.definition, f"`{one.head}`, `{one.metric}`" if one.head else "none"]
        for name, one in VARIANTS.items()
    ]
    assert ", ".join(f"`{unit}`" for unit in get_args(Unit)) in PAGE


def test_the_suites_are_listed_with_their_number_of_tasks() -> None:
    listed = {re.findall(r"`(\w+)`", name)[0]: int(number) for name, number, _ in table("Three come with the project")}
    assert listed == {name: len(load_suite(name).spec.tasks) for name in known_suites()}


def test_its_commands_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert lines is not None
    commands = [shlex.split(line, comments=True) for line in lines[1].splitlines()]
    assert {tuple(command[:2]) for command in commands} == {("mtl", "suite")}
    assert [command[2] for command in commands] == ["check", "run", "run", "report", "page"]
    assert main(commands[-1][1:]) == 0
    assert capsys.readouterr().out.startswith("# BLURB")
