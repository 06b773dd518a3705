from pathlib import Path

import pytest

from mtl.commands import run
from mtl.commands.cache import cache_files
from mtl.data.store import Store, content_key


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two tables."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MTL_CACHE", str(folder))
    for number in range(2):
        Store().table(content_key(number), lambda: ([{"id": "a"}], lambda: {"rows": 1}))
    return folder


def test_only_the_owner_may_read_the_cache(cache: Path) -> None:
    places = [cache, *cache.rglob("*")]
    assert {place.stat().st_mode & 0o777 for place in places if place.is_dir()} == {0o700}
    assert {place.stat().st_mode & 0o777 for place in places if place.is_file()} == {0o600}


def test_a_table_of_an_older_version_is_closed_when_it_is_read(cache: Path) -> None:
    for place in cache.rglob("*"):
        place.chmod(0o755 if place.is_dir() else 0o644)
    for number in range(2):
        Store().table(content_key(number), lambda: ([], dict))
    read = [file for file in cache.rglob("*") if file.suffix in (".arrow", ".json")]
    assert len(read) == 4
    assert {file.stat().st_mode & 0o777 for file in read} == {0o600}


def test_a_folder_that_existed_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store(tmp_path).table(content_key(1), lambda: ([{"id": "a"}], dict))
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert {place.stat().st_mode & 0o777 for place in tmp_path.iterdir()} == {0o700}


def test_the_path_and_the_number_of_tables_are_shown(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache"]) == 0
    out = capsys.readouterr().out
    assert str(cache) in out
    assert " 2 tables" in out
    assert len(list(cache_files(cache))) >= 4


def test_clear_removes_the_files_of_the_cache_and_no_others(cache: Path, tmp_path: Path) -> None:
    (table,) = list(cache.rglob("*.arrow"))[:1]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / table.name).write_text("kept")
    (cache / "3" / "ff").mkdir(exist_ok=True)
    kept = [
        cache / "notes.txt",
        cache / "3" / "mine.arrow",
        table.with_name("thesis.arrow"),
        table.with_name(f"{table.stem}.docx"),
    ]
    for file in kept:
        file.write_text("kept")
    (cache / "4").symlink_to(outside, target_is_directory=True)
    (cache / "3" / "fe").symlink_to(outside, target_is_directory=True)
    (table.parent / ("0" * 64 + ".arrow")).symlink_to(outside / table.name)
    assert run(["cache", "clear"]) == 0
    assert list(cache_files(cache)) == []
    assert [file.read_text() for file in kept] == ["kept"] * 4
    assert (outside / table.name).read_text() == "kept"


def test_clear_leaves_an_empty_folder_and_works_without_one(cache: Path) -> None:
    assert run(["cache", "clear"]) == 0
    assert list(cache.iterdir()) == []
    cache.rmdir()
    assert run(["cache", "clear"]) == 0
    assert run(["cache"]) == 0
