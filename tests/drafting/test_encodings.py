from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from mtl.drafting.encodings import encoding_of, lines_of
from mtl.problems import InputError

PLAIN = b"note;label\nFever;yes\n"
UTF_8 = "Übelkeit;ja\n".encode()
WINDOWS = "Übelkeit bei 39 °C;ja\r\n".encode("cp1252")
UNDEFINED_IN_WINDOWS = b"Caf\x81;no\n"


def write(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / f"{number}.csv" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize(
    ("contents", "encoding"),
    [
        ([PLAIN], "utf-8"),
        ([PLAIN + UTF_8], "utf-8"),
        ([codecs.BOM_UTF8 + PLAIN], "utf-8"),
        ([PLAIN + WINDOWS], "cp1252"),
        ([PLAIN, PLAIN + WINDOWS], "cp1252"),
        ([PLAIN * 1000 + WINDOWS], "cp1252"),
        ([WINDOWS + UTF_8], "utf-8"),
        ([UTF_8, WINDOWS], "utf-8"),
        ([], "utf-8"),
    ],
)
def test_text_is_windows_only_if_none_of_it_is_utf_8(contents: list[bytes], encoding: str, tmp_path: Path) -> None:
    assert encoding_of(write(tmp_path, *contents)) == encoding


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF16_LE + "note;label".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "note;label".encode("utf-16-be"),
        PLAIN + UNDEFINED_IN_WINDOWS,
        b"PK\x03\x04\x14\x00\xe9\x00",
    ],
)
def test_what_no_reader_reads_is_a_problem_of_its_file(content: bytes, tmp_path: Path) -> None:
    paths = write(tmp_path, PLAIN, content, content)
    with pytest.raises(InputError) as caught:
        encoding_of(paths)
    assert [problem.key for problem in caught.value.problems] == [str(paths[1]), str(paths[2])]


def test_only_newlines_end_lines_and_marks_are_no_text(tmp_path: Path) -> None:
    path, damaged = write(tmp_path, codecs.BOM_UTF8 + "a\u2028b\x85\r\nc".encode(), b"\xff\nb")
    assert list(lines_of(path, "utf-8")) == ["a\u2028b\x85", "c"]
    assert list(lines_of(damaged, "utf-8")) == ["\ufffd", "b"]
