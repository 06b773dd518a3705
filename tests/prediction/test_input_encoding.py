"""The encoding of an input: UTF-8 first, then what the file and the run name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.prediction.input_encoding import find_encoding
from mtl.readers._storage import Disk, Memory

LATIN = '<?xml version="1.0" encoding="ISO-8859-1"?><collection>fièvre</collection>'


@pytest.mark.parametrize(
    ("content", "named", "expected"),
    [
        ("fièvre".encode(), ["cp1252"], "utf-8"),
        ("fièvre".encode("cp1252"), ["cp1252", "cp437"], "cp1252"),
        ("fièvre".encode("cp1252"), [], "utf-8"),  # not guessed: the reader reports it
        (b"\x81", ["cp1252"], "utf-8"),  # no character of cp1252
        (b"\x81", ["cp1252", "cp437"], "cp437"),
        (b"a" * (1 << 20) + "è".encode(), ["cp1252"], "utf-8"),
        (b"a" * ((1 << 20) - 1) + "è".encode(), ["cp1252"], "utf-8"),  # a character in two blocks
        ("fièvre".encode()[:3], ["cp1252"], "cp1252"),  # half a character
        (LATIN.encode("latin-1"), ["cp437"], "iso8859-1"),
        (LATIN.encode(), [], "utf-8"),
        (LATIN.replace("ISO-8859-1", "klingon").encode("latin-1"), [], "utf-8"),
        (b"", ["cp1252"], "utf-8"),
    ],
)
def test_the_first_encoding_in_which_a_file_can_be_decoded(content: bytes, named: list[str], expected: str) -> None:
    assert find_encoding(Memory({"x": content}), Path("x"), named) == expected


def test_a_file_that_cannot_be_opened_is_left_to_its_reader(tmp_path: Path) -> None:
    assert find_encoding(Disk(), tmp_path, ["cp1252"]) == "utf-8"
