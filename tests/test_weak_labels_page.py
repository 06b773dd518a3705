"""What docs/weak_labels.md says is so: its rows can be read, and its mixtures would run on such rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.planning.mixture_check import check
from mtl.readers.jsonl import Jsonl

PAGE = (Path(__file__).parent.parent / "docs" / "weak_labels.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_the_rows_of_the_page_can_be_read(tmp_path: Path) -> None:
    (text,) = blocks("json")
    (tmp_path / "rows.jsonl").write_text(text)
    rows = list(Jsonl(str(tmp_path / "rows.jsonl")).read("train"))
    assert [row.source for row in rows] == ["large_model", "large_model", "rules", "rules"]
    assert [row.score for row in rows] == [0.92, None, None, None]
    assert [row.annotated for row in rows if row.source == "rules"] == [("heart", "lung"), ("Drug",)]


def test_the_mixtures_of_the_page_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder: Callable[[str], Path]
) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    entity = {"type": "Drug", "start": 0, "end": 7, "text": "Aspirin"}
    gold = {"text": "Aspirin today.", "entities": [{"id": "T", "type": "Drug", "spans": [[0, 7]]}]}
    weak = [
        {"id": f"w{n}", "text": f"Aspirin {n}.", "predictions": {"findings": {"entities": [entity | {"score": score}]}}}
        for n, score in enumerate((0.9, 0.6, 0.8))
    ]
    lines: dict[str, list[dict[str, Any]]] = {"human": [gold], "weak": weak, "both": [gold, *weak]}
    lines |= {split: [gold | {"text": f"Aspirin of {split}."}] for split in ("dev", "test")}
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    human, weak_mixture = (yaml.safe_load(text) for text in blocks("yaml") if text.startswith("name:"))
    both = yaml.safe_load(json.dumps(weak_mixture).replace("weak", "both"))
    used = {}
    for mixture in (human, weak_mixture, both):
        path = tmp_path / f"{mixture['name']}.yaml"
        encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
        path.write_text(yaml.safe_dump(mixture | {"encoder": encoder, "leakage": {"sentences": "warn"}}))
        problems, plan = check(path)
        assert [str(problem) for problem in problems] == []
        train = plan["tasks"]["findings"]["splits"]["train"]
        used[mixture["name"]] = (train["used"], train["sources"], train["weighted"], train["left_out"])
    below = {"weak labels below the minimum score": 1}
    of_run = {"predictions": 2}
    assert used == {"human": (1, {}, 0, {}), "weak": (2, of_run, 2, below), "both": (3, of_run, 2, below)}
