"""The pages of the suites are those that the data give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtl.suites.suite_file import load_suite
from mtl.suites.suite_page import page
from tests.suites.toy import write_suite

DOCS = Path(__file__).parents[2] / "docs" / "suites"


@pytest.mark.parametrize("name", ["blue", "blurb", "encoders11"])
def test_the_committed_page_is_the_generated_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DATA", str(tmp_path))  # no path of a machine reaches a page
    written = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(load_suite(name)), f"run: mtl suite page {name} > docs/suites/{name}.md"


def test_there_is_a_page_for_every_suite_and_no_other() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == {"README", "blue", "blurb", "encoders11"}


def test_a_page_shows_every_task_count_difference_and_score(tmp_path: Path) -> None:
    lines = [
        "paper,theirs,toy_risk,f1_averaging_unclear,61.50,,,yes",
        "paper,theirs,toy_risk,accuracy_with_negative,90.4,0.3,5,",
        "paper,theirs,toy,mean_of_tasks,70.0,,,",
    ]
    path = write_suite(
        tmp_path,
        lines,
        tasks__toy_drugs__counts={"unit": "mentions", "train": 12345},
        tasks__toy_drugs__differences=[{"split": "train", "found": 12340, "because": "five | are lost"}],
        tasks__toy_drugs__data={"reader": "conll", "path": "${oc.env:MTL_DATA,data}/drugs"},
    )
    text = page(load_suite(path))
    assert "| `toy_drugs` | Drugs | `token_classification` | `strict_entity_f1` | mentions | 12,345 | - | - |" in text
    assert r"| `toy_drugs` | train | 12,345 | 12,340 | five \| are lost |" in text
    assert "`$MTL_DATA/drugs`" in text
    assert "| theirs | 61.50†‡, 90.4 ± 0.3 | 70.0 |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
