"""What experiments/README says is there is there, and pages of old results say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "experiments"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
RESULTS = FOLDER / "results"
TRAINED = sorted({*RESULTS.glob("*.md")} - {RESULTS / "dependencies.md"})  # which compares libraries


def rows(title: str) -> list[str]:
    """The rows of the tables under a heading."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^(\| `.*)$", section, re.MULTILINE)


def names(text: str) -> set[str]:
    """The names in code that are no paths."""
    return set(re.findall(r"`(\w+)`", text))


def test_every_folder_is_on_the_page() -> None:
    listed = re.findall(r"`(\w+)/(?:\*\.yaml)?`", PAGE)
    assert set(listed) == {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"}


def test_every_mixture_and_config_is_on_the_page() -> None:
    listed = set().union(*(names(row.split("|")[1]) for row in rows("Mixtures")))
    files = [*FOLDER.glob("*.yaml"), *(FOLDER / "mixtures").glob("*.yaml")]
    assert listed == {path.stem for path in files}


def test_every_task_is_on_the_page_with_its_head() -> None:
    listed = {row.split("|")[1].strip(" `"): names(row.split("|")[2]) for row in rows("Tasks")}
    heads: dict[str, set[str]] = {}
    for path in (FOLDER / "tasks").glob("*.yaml"):
        heads.setdefault(yaml.safe_load(path.read_text(encoding="utf-8"))["head"], set()).add(path.stem)
    assert listed == heads


@pytest.mark.parametrize("page", TRAINED, ids=lambda page: page.name)
def test_a_page_of_results_that_version_0_1_trained_says_so(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert ("biomtl 0.1.0" in text) <= ("> **Old.**" in text)
