"""`mtl cache`: shows the cache of rows and encoded examples, which holds text of the data, or clears it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mtl.messages import counted
from mtl.private_files import cache_folder

_VERSION, _GROUP = re.compile(r"\d+"), re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{64}\.(arrow|json|arrow\.lock)|tmp\w+\.(part|summary)")


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl cache [clear]`; returns 1 if a file could not be removed."""
    parser = argparse.ArgumentParser(
        "mtl cache", description="Shows the cache of rows and examples, which holds text of the data, or clears it."
    )
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show", help="default: show")
    options = parser.parse_args(arguments[1:])
    folder = cache_folder()
    files = list(cache_files(folder))
    sizes = [file.stat().st_size for file in files if file.exists()]
    tables = sum(file.suffix == ".arrow" for file in files)
    print(f"{folder}: {counted(tables, 'table')}, {sum(sizes) / 1e6:.1f} MB")
    if options.action == "show":
        return 0
    kept = clear(folder)
    print(f"Removed {len(files) - kept} of {len(files)} files.")
    return 1 if kept else 0


def cache_files(folder: Path) -> Iterator[Path]:
    """The files of a cache, by their names and places; any other file in the folder is not one of ours."""
    for version in _folders(folder, _VERSION):
        for group in _folders(version, _GROUP):
            yield from (file for file in sorted(group.iterdir()) if _FILE.fullmatch(file.name) and _is_plain(file))


def clear(folder: Path) -> int:
    """Removes the files of a cache and the folders that are then empty; returns the number of files that remain."""
    kept = 0
    for file in list(cache_files(folder)):
        try:
            file.unlink(missing_ok=True)
        except OSError:
            kept += 1
    for version in _folders(folder, _VERSION):
        for place in (*_folders(version, _GROUP), version):
            with suppress(OSError):  # it holds a file that is not ours
                place.rmdir()
    return kept


def _folders(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """The folders of this form of name in a folder, without links."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if name.fullmatch(p.name) and p.is_dir() and not p.is_symlink())


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
