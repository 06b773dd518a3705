import errno
import os
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.problems import InputError
from mtl.tracking.checkpoint_file import NOTE, damage, read_note, write_checkpoint

CONTENT = {"weights": torch.arange(2000.0), "steps": [1, 2], NOTE: {"scores": {"best": 0.5}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "a.ckpt", partial(torch.save, CONTENT))
    return tmp_path / "a.ckpt"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A checkpoint that was not written by this package, so without our checksum."""
    torch.save(CONTENT, tmp_path / "plain.ckpt")
    return tmp_path / "plain.ckpt"


def test_torch_and_other_programs_read_the_file(path: Path) -> None:
    assert damage(path) is None
    for mmap in (False, True):
        content = torch.load(path, weights_only=True, mmap=mmap)
        assert torch.equal(content["weights"], CONTENT["weights"])
    with zipfile.ZipFile(path) as archive:
        assert b"format 1" in archive.comment
        assert archive.testzip() is None
    assert read_note(path) == CONTENT[NOTE]
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("name", ["path", "plain"])
def test_every_truncated_file_is_damaged(name: str, request: pytest.FixtureRequest) -> None:
    file: Path = request.getfixturevalue(name)
    content = file.read_bytes()
    for size in [*range(0, len(content), 97), *range(len(content) - 300, len(content))]:
        file.write_bytes(content[:size])
        assert damage(file) is not None, size


def test_every_flipped_bit_is_damage(path: Path) -> None:
    content, rng = path.read_bytes(), random.Random(1)
    for place in [*range(0, len(content), 13), *range(len(content) - 300, len(content))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert damage(path) is not None, place


@pytest.mark.parametrize("name", ["path", "plain"])
def test_flipped_weights_that_torch_loads_without_an_error_are_damage(
    name: str, request: pytest.FixtureRequest
) -> None:
    file: Path = request.getfixturevalue(name)
    content = bytearray(file.read_bytes())
    start = bytes(content).index(torch.tensor([1.0, 2.0, 3.0]).numpy().tobytes())
    for place in range(start, start + 64 * 8, 8):
        content[place] ^= 0xFF
    file.write_bytes(content)
    assert not torch.equal(torch.load(file, weights_only=True)["weights"], CONTENT["weights"])
    assert damage(file) is not None


def test_a_newer_format_is_not_read(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"format 1", b"format 2"))
    assert "format 2" in str(damage(path))


def test_what_is_not_a_checkpoint_is_damage_and_has_no_note(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    assert damage(tmp_path / "text.ckpt") is not None
    assert damage(tmp_path / "missing.ckpt") == "does not exist"
    assert damage(tmp_path) is not None
    assert read_note(tmp_path / "text.ckpt") == {}


def test_the_temporary_folder_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    write_checkpoint(path, partial(torch.save, {"steps": [3]}))
    assert torch.load(path, weights_only=True) == {"steps": [3]}


class Full:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size

    def write(self, content: Any) -> int:
        self._left -= memoryview(content).nbytes
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("size", [0, 100, 5000, 8500])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(
    size: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    opened: Callable[..., Any] = Path.open

    class Opened(Full):
        def __enter__(self) -> "Opened":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    monkeypatch.setattr(Path, "open", lambda file, *words, **more: Opened(opened(file, *words, **more), size))
    with pytest.raises(InputError, match="No space left on device") as caught:
        write_checkpoint(path, partial(torch.save, CONTENT))
    monkeypatch.undo()
    assert [problem.key for problem in caught.value.problems] == [str(path)]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]
