"""The page on vocabularies names the keys, methods and defaults of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from mtl.config import components
from mtl.vocabulary.vocabulary_file import AddSpec, BaseSpec, InitialiserSpec, VocabularySpec, load_vocabulary

PAGE = (Path(__file__).parents[2] / "docs" / "vocabulary.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> dict[str, list[str]]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_key_has_a_row_with_its_default() -> None:
    sections: dict[str, type[BaseModel]] = {"encoder": BaseSpec, "add": AddSpec, "init": InitialiserSpec}
    expected = {name: field.default for name, field in VocabularySpec.model_fields.items() if name not in sections}
    for section, spec in sections.items():
        expected |= {f"{section}.{name}": field.default for name, field in spec.model_fields.items()}
    found = rows_of("Keys")
    assert found.keys() == expected.keys()
    for key, default in expected.items():
        shown = {"data": "required", "size": "that of the encoder"}.get(
            key, "none" if default is None else str(default)
        )
        assert found[key][0].strip("`") == shown, key


def test_every_method_has_a_row_with_its_options() -> None:
    found = rows_of("Methods")
    assert sorted(found) == components.choices("initialiser")
    for name, (_, options) in found.items():
        parameters = inspect.signature(components.find("initialiser", name, "")).parameters
        shown = {key: yaml.safe_load(value) for key, value in re.findall(r"`(\w+): ([^`]+)`", options)}
        assert shown == {key: parameter.default for key, parameter in parameters.items()}


def test_the_vocabulary_file_of_the_page_is_valid(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "vocabulary.yaml").write_text(text, encoding="utf-8")
    spec, fields = load_vocabulary(tmp_path / "vocabulary.yaml", [], "extend"), yaml.safe_load(text)
    assert spec.model_fields_set == {"encoder", "data", "add", "init"}
    found = spec.encoder.name, spec.data.reader, spec.add.max, spec.init.method
    assert found == tuple(
        fields[a][b] for a, b in (("encoder", "name"), ("data", "reader"), ("add", "max"), ("init", "method"))
    )
    assert spec.init.method in rows_of("Methods")
