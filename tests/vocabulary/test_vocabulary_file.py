from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.problems import InputError
from mtl.vocabulary.vocabulary_file import Action, VocabularySpec, load_vocabulary
from tests.vocabulary.corpora import write_file


def keys(path: Path, *overrides: str, action: Action = "extend") -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load_vocabulary(path, overrides, action)
    return {problem.key.removeprefix(f"{path}."): str(problem) for problem in caught.value.problems}


@pytest.fixture
def file(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> Path:
    return write_file(tmp_path, tiny_encoder("bert"))


def test_defaults_and_paths(file: Path, tmp_path: Path) -> None:
    found = load_vocabulary(file, ["init.method=context", "init.layer=0"], "extend")
    assert found.data.path == str(tmp_path / "corpus")
    assert found.init.options == {"layer": 0}
    plain = VocabularySpec(data=found.data)
    assert (plain.add.max, plain.add.min_pieces, plain.add.min_documents, plain.size) == (10_000, 2, 5, None)
    assert plain.init.method == "pieces_mean"


def test_an_unknown_method_is_reported_with_the_nearest(file: Path) -> None:
    assert "'context'" in keys(file, "init.method=contxt")["init.method"]
    assert "'distill'" in keys(file, "init.method=token_distillation")["init.method"]


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("add.max=0", "add.max"),
        ("add.min_documents=1", "add.min_documents"),
        ("add.min_pieces=1", "add.min_pieces"),
        ("add.wrds=x", "add.wrds"),
        ("add.words=missing.txt", "add.words"),
        ("size=100", "size"),
        ("init.layers=1", "init.layers"),
        ("encoder.num_layers=1", "encoder.num_layers"),
        ("data.reader=txt", "data.reader"),
        ("data.chunks=stream", "data.chunks"),
    ],
)
def test_every_wrong_key_is_named(override: str, key: str, file: Path) -> None:
    assert list(keys(file, override)) == [key]


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("context", "texts_per_token=0"),
        ("context", "text_length=0"),
        ("context", "pieces=all"),
        ("distill", "batch_size=0"),
        ("distill", "epochs=0"),
        ("distill", "learning_rate=0"),
        ("random", "std=0"),
    ],
)
def test_options_of_methods_are_checked(method: str, option: str, file: Path) -> None:
    assert list(keys(file, f"init.method={method}", f"init.{option}")) == [f"init.{option.partition('=')[0]}"]


def test_a_size_below_1_and_words_of_the_other_action_are_refused(file: Path) -> None:
    assert list(keys(file, "size=0", action="train")) == ["size"]
    assert list(keys(file, "add.max=9", action="train")) == ["add"]


def test_all_problems_are_reported_at_once(file: Path) -> None:
    found = keys(file, "size=9", "init.method=contxt", "data.chunks=stream", "add.words=missing.txt")
    assert set(found) == {"size", "init.method", "data.chunks", "add.words"}


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert list(keys(tmp_path / "none.yaml")) == [str(tmp_path / "none.yaml")]


def test_a_file_that_is_no_vocabulary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.yaml"
    path.write_text("note: fever", encoding="utf-8")
    assert list(keys(path)) == [str(path)]
