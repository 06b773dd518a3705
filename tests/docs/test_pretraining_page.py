"""The examples of the page on pretraining are valid files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.config.config_file import read_config
from mtl.config.curriculum import phases
from mtl.config.loading import load_mixture
from mtl.config.schema import checked
from mtl.study.design.study_file import load_study
from mtl.training.hyperparameters import Optimisation
from mtl.vocabulary.vocabulary_file import load_vocabulary

PAGE = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def written(tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, next to encoders with the names that they use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoders").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_text(content.replace("pubmedbert", "encoders/letters"), encoding="utf-8")
    (tmp_path / "encoders" / "letters").symlink_to(tiny_encoder("bert"))
    return tmp_path


def test_the_files_of_the_page_are_valid(written: Path) -> None:
    assert list(FILES) == ["corpus.yaml", "vocabulary.yaml", "letters.yaml", "gain.yaml", "mentions.yaml"]
    corpus = load_mixture(written / "corpus.yaml")
    assert corpus.tasks["mlm"].head == "masked_lm"
    spec = load_vocabulary(written / "vocabulary.yaml", [], "extend")
    config = read_config(written / "letters.yaml")
    assert isinstance(config.mixture, dict)
    letters = load_mixture(config.mixture, folder=written)
    study = load_study(written / "gain.yaml")
    read: list[dict[str, Any]] = [
        {key: task.data.reader_arguments.get(key) for key in ("blank_lines", "repeated")}
        for task in (letters.tasks["mlm"], study.mixture.tasks["mlm"])
    ]
    assert read == [{key: spec.data.reader_arguments[key] for key in read[0]}] * 2, "the same corpus everywhere"
    assert [phase.from_step for phase in phases(letters)] == [0, 1000, 2000]
    optimisation = checked(Optimisation, config.rest["model"], "model")
    assert optimisation.warmup_updates(3000) == 100
