"""A folder that is complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.files import whole_folder
from mtl.problems import InputError


def test_a_folder_appears_once_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with whole_folder(folder) as part:
        (part / "weights").write_text("1")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["weights"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        (part / "weights").write_text("1")
        raise KeyError

    with pytest.raises(KeyError), whole_folder(tmp_path / "model") as part:
        fill(part)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine").write_text("1")
    with pytest.raises(InputError) as caught, whole_folder(folder):
        pass
    assert [problem.key for problem in caught.value.problems] == [str(folder)]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in folder.iterdir()] == ["mine"]
