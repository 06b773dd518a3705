"""What splits share, counted on rows made for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtl.check import check
from mtl.faults import Fault


def _checked(
    folder: Path, encoder: Path, splits: dict[str, list[dict[str, Any]]]
) -> tuple[list[Fault], dict[str, Any]]:
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": str(folder)}}
    return check({"name": "m", "encoder": {"name": str(encoder), "max_length": 32}, "tasks": {"t": task}})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_rows_and_documents_of_a_later_split_that_an_earlier_one_holds_are_counted(
    tmp_path: Path, tiny_encoder: Any
) -> None:
    def row(text: str, document: str | None = None) -> dict[str, Any]:
        return {"text": text, "label": "a"} | ({} if document is None else {"document": document})

    splits = {
        "train": [row("Aspirin helps.", "d1"), row("Fever fell.", "d2"), row("No change.")],
        "dev": [row("aspirin HELPS", "d3"), row("New text.", "d2")],
        "test": [row("Something else."), row("Another one.")],
    }
    faults, plan = _checked(tmp_path, tiny_encoder("bert"), splits)
    assert faults == []
    assert plan["tasks"]["t"]["shared"] == {"dev in train": {"documents": 1, "texts": 1}}


@pytest.mark.usefixtures("cache")
def test_ids_that_only_number_the_rows_are_no_documents(tmp_path: Path, tiny_encoder: Any) -> None:
    splits = {s: [{"id": "1", "text": f"Text of {s}.", "label": "a"}] for s in ("train", "dev", "test")}
    _, plan = _checked(tmp_path, tiny_encoder("bert"), splits)
    assert plan["tasks"]["t"]["shared"] == {}
