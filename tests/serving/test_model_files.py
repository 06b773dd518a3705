from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.problems import InputError
from mtl.serving.model_files import check_checksums, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model" / "encoder").mkdir(parents=True)
    for name in ("best.ckpt", "encoder/config.json"):
        (tmp_path / "model" / name).write_text(name)
    (tmp_path / "code.py").write_text("pass")
    write_checksums(tmp_path / "model", {"../code.py": tmp_path / "code.py"})
    return tmp_path / "model"


def test_an_unchanged_folder_passes(folder: Path) -> None:
    check_checksums(folder)


CHANGES: dict[str, Callable[[Path], object]] = {
    "best.ckpt": lambda path: path.write_text("best.ckpT"),
    "encoder/config.json": lambda path: path.unlink(),
    "encoder/more.json": lambda path: path.write_text("{}"),
    "../code.py": lambda path: path.write_text("print()"),
    "checksums.json": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_by_its_file(folder: Path, name: str) -> None:
    CHANGES[name](folder / name)
    with pytest.raises(InputError) as caught:
        check_checksums(folder)
    assert [problem.key for problem in caught.value.problems] == [str((folder / name).resolve())]


def test_all_changes_are_named_at_once(folder: Path) -> None:
    for name in ("best.ckpt", "encoder/config.json"):
        CHANGES[name](folder / name)
    with pytest.raises(InputError) as caught:
        check_checksums(folder)
    assert len(caught.value.problems) == 2
