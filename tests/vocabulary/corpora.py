"""A small corpus, a model with its head for masked language modelling, and vocabulary files that name both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DOCUMENTS = [
    "metformin reduces the risk of bleeding in patients with metformin",
    "aspirin is a drug and metformin is not a drug",
    "hypertension is a disease of patients with fever",
    "the treatment of hypertension with metformin was not a risk",
    "nausea and headache after aspirin",
    "hypertension in cancer",
    "metformin-induced headache , metformins",
    "the patient was treated with warfarin",
]
HELD_OUT = ["Metformin reduces hypertension in patients .", "no fever after metformin"]


def write_corpus(folder: Path, train: list[str] = DOCUMENTS, dev: list[str] = HELD_OUT) -> Path:
    """Writes a folder with the splits train and dev, for the reader `text`."""
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text("\n\n".join(train), encoding="utf-8")
    if dev:
        (folder / "dev.txt").write_text("\n\n".join(dev), encoding="utf-8")
    return folder


def write_file(folder: Path, encoder: Path, **fields: Any) -> Path:
    """Writes a vocabulary file in a folder, with a corpus next to it unless it is there."""
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
    written: Mapping[str, Any] = {
        "encoder": {"name": str(encoder), "max_length": 64},
        "data": {"reader": "text", "path": "corpus"},
        **fields,
    }
    path = folder / "vocabulary.yaml"
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return path
