"""The draft of the paper: JOSS's sections and length, figures from committed results, references that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
_, HEADER, BODY = (REPOSITORY / "docs" / "paper.md").read_text(encoding="utf-8").split("---\n", 2)
RESULTS = REPOSITORY / "experiments" / "results"
MIN_WORDS, MAX_WORDS = 750, 1750
"""Of JOSS, without title and references."""

SECTIONS = [
    "Summary",
    "Statement of need",
    "State of the field",
    "Software design",
    "Research impact statement",
    "AI usage disclosure",
    "Acknowledgements",
    "References",
]


def section(title: str) -> str:
    return BODY.partition(f"# {title}\n")[2].partition("\n# ")[0].strip()


def test_the_paper_has_the_sections_of_the_journal_in_its_order() -> None:
    assert re.findall(r"^# (.*)$", BODY, re.MULTILINE) == SECTIONS
    header = yaml.safe_load(HEADER)
    assert {"title", "tags", "authors", "affiliations", "bibliography"} <= set(header)


def test_the_paper_has_the_length_of_the_journal() -> None:
    words = [word for title in SECTIONS for word in section(title).split()]
    assert MIN_WORDS <= len(words) <= MAX_WORDS


def test_what_only_the_authors_know_is_left_to_them() -> None:
    assert yaml.safe_load(HEADER)["authors"] == []
    for title in ("AI usage disclosure", "Acknowledgements"):
        assert len(section(title).split()) < 10


def test_every_figure_of_the_paper_is_in_a_committed_result() -> None:
    text = re.sub(r"version\s+\d[\d.]*\d", "", BODY)
    figures = set(re.findall(r"(?<![\w.])\d+\.\d+\b|\b\d+e-\d+\b|\b\d+ of \d+\b", text))
    assert {"9.10", "24.27", "0.885", "6e-6", "5 of 20"} <= figures
    results = "\n".join(path.read_text(encoding="utf-8") for path in RESULTS.glob("*.md"))
    assert [figure for figure in sorted(figures) if not re.search(rf"(?<![\d.]){re.escape(figure)}\b", results)] == []


def test_every_reference_is_in_the_bibliography_and_the_other_way_round() -> None:
    bibliography = (REPOSITORY / "docs" / "paper.bib").read_text(encoding="utf-8")
    assert set(re.findall(r"@(\w+\d{4})", BODY)) == set(re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE))
