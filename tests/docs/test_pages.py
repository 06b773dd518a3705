"""The guides: their examples are read by the code, and every page has a place. `make docs` builds the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from reference_pages import GENERATED, MODULES, public_names, python_page

import mtl
from mtl.config.components import check_options, find
from mtl.config.loading import load_mixture
from mtl.config.mixture import DataSpec

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
OWN_DATA = (DOCS / "own_data.md").read_text(encoding="utf-8")
FILE = re.compile(
    r"`(?P<name>[\w./]+/[\w.]+)`[^`\n]*(?:\n[^`\n]+)?:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
DATA = re.compile(r"^```yaml\ndata: (\{.*?\})\n```$", re.MULTILINE)


def examples() -> list[dict[str, Any]]:
    """The `data` of the page whose files it shows."""
    return [fields for fields in map(yaml.safe_load, DATA.findall(OWN_DATA)) if "split" not in fields]


@pytest.mark.parametrize("fields", examples(), ids=lambda fields: fields["path"])
def test_the_files_of_the_page_on_data_are_read_as_it_says(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in FILE.finditer(OWN_DATA):
        place = tmp_path / found["name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(found["text"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    spec = DataSpec(**fields)
    cls = find("reader", spec.reader, "reader")
    arguments = spec.reader_arguments
    rows = list(cls(**arguments).read("train"))
    assert len(rows) == {"topics": 2, "pairs": 2, "findings": 2}.get(fields["path"], 1)
    first = rows[0]
    expected = {"topics": "label", "pairs": "text_pair", "findings": "entities"}.get(fields["path"], "relations")
    assert getattr(first, expected)


def test_all_examples_of_the_page_on_data_are_seen() -> None:
    assert [fields["path"] for fields in examples()] == ["topics", "pairs", "findings", "events", "abstracts", "brat"]
    divided = [fields for fields in map(yaml.safe_load, DATA.findall(OWN_DATA)) if "split" in fields]
    (fields,) = divided
    spec = DataSpec(**fields)
    options = {key: value for key, value in spec.reader_arguments.items() if key != "path"}
    assert check_options(find("reader", spec.reader, "reader"), options, "data", frozenset({"path"})) == []


def mixtures() -> dict[str, dict[str, Any]]:
    """The mixtures that the guides show as whole files, alone or in a config or a study, by page and name."""
    found = {}
    for path in sorted(DOCS.glob("*.md")):
        for text in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            fields = yaml.safe_load(text)
            fields = fields.get("mixture", fields) if isinstance(fields, dict) else fields
            if isinstance(fields, dict) and {"name", "tasks"} <= fields.keys():
                found[f"{path.stem}-{fields['name']}"] = fields
    return found


@pytest.mark.parametrize("fields", mixtures().values(), ids=list(mixtures()))
def test_the_mixtures_of_the_guides_are_valid(fields: dict[str, Any]) -> None:
    assert list(load_mixture(fields).tasks) == list(fields["tasks"])


def test_every_page_has_a_place_in_the_navigation() -> None:
    navigation = (DOCS / "navigation.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:.*<)?([\w./*]+?)>?$", navigation, re.MULTILINE)
    pages = {path.relative_to(REPOSITORY).with_suffix("") for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    pages -= {Path("docs/navigation"), Path("docs/paper")}
    assert [str(page) for page in sorted(pages) if not any(page.match(pattern) for pattern in listed)] == []
    assert [name for name in listed if "/" in name and not list(REPOSITORY.glob(f"{name}.*"))] == []


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = python_page()
    for module in MODULES:
        names = public_names(module)
        assert names
        assert [name for name in names if f":: {module}.{name}\n" not in page] == []
    assert public_names("mtl") == mtl.__all__
    assert {"Reader", "BadRow"} <= set(public_names("mtl.readers"))


def test_every_generated_part_has_its_page() -> None:
    assert [name for name in GENERATED if not (REPOSITORY / f"{name}.md").is_file()] == []


def test_every_issue_template_asks_for_a_check_and_warns_of_texts_of_patients() -> None:
    templates = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
    assert [path.stem for path in templates] == ["bug", "question", "task_or_data_set"]
    for path in templates:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))["body"]
        fields = {part.get("id"): part for part in body}
        assert body[0]["type"] == "markdown"
        assert "text of patients" in body[0]["attributes"]["value"]
        assert "mtl check" in fields["check"]["attributes"]["label"]
        assert fields["privacy"]["attributes"]["options"][0]["required"] is True
