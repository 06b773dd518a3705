from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.commands import run
from tests.masked_lm_models import masked_lm_folder
from tests.vocabulary.corpora import write_file


@pytest.fixture
def file(tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    base = masked_lm_folder(tmp_path / "base", tiny_encoder("bert"), tokenizer)[1]
    return write_file(tmp_path, base)


def test_extend_writes_the_folder_and_its_report(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["vocabulary", "extend", str(file), "add.min_documents=2", "--to", str(tmp_path / "out")]
    assert run([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out" / "vocabulary.json").read_text())
    assert run([*words[:-1], str(tmp_path / "again")]) == 0
    shown = capsys.readouterr().out
    assert f"{report['fertility']['after']['ratio']:.3f}" in shown
    assert run(words) == 2


def test_train_writes_a_folder(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vocabulary", "train", str(file), "size=120", "--to", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"]["after"] <= 120
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_compare_prints_a_row_for_each_method_and_writes_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["vocabulary", "extend", str(file), "add.min_documents=2", "--compare", "mean,random"]
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["method"] for one in found] == ["mean", "random"]
    assert run(words) == 0
    assert f"{found[0]['loss']:.4f}" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "cache", "corpus", "vocabulary.yaml"]


def test_a_folder_or_a_comparison_is_needed_but_not_both(file: Path, tmp_path: Path) -> None:
    assert run(["vocabulary", "extend", str(file)]) == 2
    assert run(["vocabulary", "extend", str(file), "--to", str(tmp_path / "out"), "--compare", "all"]) == 2
    assert not (tmp_path / "out").exists()


def test_problems_are_json_with_json(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["vocabulary", "extend", str(file), "init.method=contxt", "--to", str(tmp_path / "out"), "--json"]
    assert run(words) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["init.method"]
