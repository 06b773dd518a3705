"""The page of the catalogue is what its data gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from mtl.commands import run as run_mtl
from mtl.config.encoder_catalogue import catalogue
from mtl.config.encoder_terms import TERMS
from mtl.encoder.catalogue_page import COLUMNS, page

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "encoders.md").read_text(encoding="utf-8")


def pinned(package: str) -> str:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


@pytest.mark.skipif(
    transformers.__version__ != pinned("transformers"), reason="which families can be loaded depends on the version"
)
def test_the_committed_page_is_that_of_the_data() -> None:
    assert page(list(catalogue().values())) == PAGE, "run: mtl encoders --markdown > docs/encoders.md"


def test_the_page_has_every_entry_and_every_term() -> None:
    assert re.findall(r"^### (.*)$", PAGE, re.MULTILINE) == list(catalogue())
    rows = re.findall(r"^\| \[([^\]]+)\]\(#([^)]+)\) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(catalogue())
    assert all(anchor == re.sub(r"[^\w-]", "", name) for name, anchor in rows)
    terms = re.findall(r"^\| (\w+) \| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert terms == [(field, term) for field, known in TERMS.items() for term in known]


def test_every_source_is_on_the_page() -> None:
    for entry in catalogue().values():
        section = PAGE.partition(f"\n### {entry.name}\n")[2].partition("\n##")[0]
        assert [source.at for source in entry.sources if source.at not in section] == []
        assert entry.hub in section


def test_all_rows_have_as_many_cells_as_the_head() -> None:
    table = page([catalogue()["pubmedbert"], catalogue()["gliner-biomed-base"]]).partition("\n| encoder")[2]
    rows = f"| encoder{table}".partition("\n\n")[0].splitlines()
    assert [row.count(" | ") for row in rows] == [len(COLUMNS) - 1] * 4


def test_the_commands_on_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    block = PAGE.partition("```bash\n")[2].partition("```")[0]
    commands = [line.partition("#")[0].split()[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["encoders"] * 3
    assert [run_mtl(command) for command in commands] == [0] * 3
    printed = capsys.readouterr().out
    assert "bioclinical-modernbert-large" in printed
    assert "2007.15779" in printed
