from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.masked_lm_models import masked_lm_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def mlm_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> Callable[[str], Path]:
    """A function that returns the folder of a tiny random model of a family, with its head and its pooler."""
    made: dict[str, Path] = {}

    def make(family: str = "bert") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(f"mlm-{family}")
            made[family] = masked_lm_folder(folder, tiny_encoder(family), tokenizer)[1]
        return made[family]

    return make
