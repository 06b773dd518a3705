"""Which reader fits XML, JSON, and folders or archives of documents, found from how they begin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mtl.config.components import find
from mtl.problems import InputError, Problem
from mtl.readers._archives import DamagedError, tar_gz_members, zip_members
from mtl.readers._limits import Budget

BEGINNING = 200_000
"""Number of characters of a document that are looked at."""

_ARCHIVES = (".tar.gz", ".tgz", ".zip")

_COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)
_ROOT = re.compile(r"<([A-Za-z_][\w.:-]*)")
_BIOC = (re.compile(r'"passages"\s*:\s*\['), re.compile(r'"offset"\s*:'))
_BIOASQ = (re.compile(r'"questions"\s*:\s*\['), re.compile(r'"body"\s*:'))


def archive_suffix(path: Path) -> str | None:
    """The suffix of an archive; None if a path is none."""
    return next((suffix for suffix in _ARCHIVES if path.name.endswith(suffix)), None)


def reader_of_xml(text: str) -> str | None:
    """The reader of an XML document; None if no reader knows it.

    >>> reader_of_xml('<?xml version="1.0"?><!-- <Label> --><collection><source>'), reader_of_xml("<html>")
    ('bioc', None)
    """
    root = _ROOT.search(_COMMENTS.sub("", text))
    if "<chq>" in text:
        return "rqe"
    if root is not None and root[1] == "document":
        return "ddi2013" if "<sentence" in text else None
    return {"collection": "bioc", "Label": "tac2017"}.get("" if root is None else root[1])


def reader_of_json(text: str) -> str | None:
    """The reader of a JSON document; None if no reader knows it, as with JSON lines of rows.

    >>> reader_of_json('{"documents": [{"id": "1", "passages": [{"offset": 0, '), reader_of_json('{"text": "')
    ('bioc', None)
    """
    for name, patterns in (("bioc", _BIOC), ("bioasq", _BIOASQ)):
        if all(pattern.search(text) for pattern in patterns):
            return name
    return None


def reader_of_documents(source: Path) -> str | None:
    """The reader of a folder or an archive of documents; None if no reader knows it.

    Raises:
        InputError: The archive is damaged, or a file cannot be read.
    """
    readers: dict[str, Callable[[str], str | None]] = {
        ".ann": lambda _: "brat",
        ".xml": reader_of_xml,
        ".json": reader_of_json,
    }
    suffix = archive_suffix(source) or ""
    for ending, reader_of in readers.items():
        first = _first(source, ending)
        name = None if first is None else reader_of(first)
        if name is not None and suffix in find("reader", name, "reader").suffixes:
            return name
    return None


def _first(source: Path, ending: str) -> str | None:
    """The beginning of the first file with a suffix in a folder or archive."""
    try:
        return next((raw.decode("utf-8", errors="replace") for raw in _contents(source, ending)), None)
    except DamagedError as error:
        raise InputError(Problem(str(source), f"The archive is damaged: {error}.", "Check the file.")) from None
    except OSError as error:
        raise InputError(Problem(str(source), f"It cannot be read: {error.strerror}.", "Check the path.")) from None


def _contents(source: Path, ending: str) -> Iterator[bytes]:
    def is_wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return path.suffix == ending and not path.name.startswith(".")

    if source.is_dir():
        for path in sorted(source.rglob(f"*{ending}")):
            if is_wanted(path.name) and path.is_file():
                with path.open("rb") as file:
                    yield file.read(BEGINNING)
        return
    read = zip_members if archive_suffix(source) == ".zip" else tar_gz_members
    with source.open("rb") as file:
        for _, content in read(file, is_wanted, Budget(source, "An archive, after decompression,")):
            yield content[:BEGINNING]
