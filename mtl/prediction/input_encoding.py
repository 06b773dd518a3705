"""The encoding of an input: UTF-8 if the file is valid in it, else one that the file or the run names."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path

from mtl.problems import InputError
from mtl.readers import checked_encoding
from mtl.readers._storage import Storage

UTF_8 = "utf-8"

_BLOCK = 1 << 20
_DECLARED = re.compile(rb"\s*<\?xml[^>]*\bencoding\s*=\s*[\"']([\w.-]+)[\"']")


def find_encoding(storage: Storage, path: Path, named: Iterable[str]) -> str:
    """The first of UTF-8, the encoding that an XML file declares, and others, in which a file can be decoded.

    A file that can be decoded in none is taken for UTF-8, so that its reader reports where it cannot.

    Args:
        storage: Where the file is opened.
        path: The file.
        named: Other encodings to try, such as those of the run's own data.
    """
    try:
        others = dict.fromkeys([*_declared(storage, path), *named])
        if not set(others) - {UTF_8}:
            return UTF_8
        return next((name for name in (UTF_8, *others) if _can_decode(storage, path, name)), UTF_8)
    except OSError:  # which the reader reports
        return UTF_8


def _declared(storage: Storage, path: Path) -> list[str]:
    with storage.open(path) as file:
        match = _DECLARED.match(file.read(200).removeprefix(codecs.BOM_UTF8))
    try:
        return [checked_encoding(match[1].decode())] if match else []
    except InputError:  # one that does not exist, or does not extend ASCII, such as UTF-16
        return []


def _can_decode(storage: Storage, path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with storage.open(path) as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True
