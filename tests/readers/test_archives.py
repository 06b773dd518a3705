from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mtl.readers import BadRow, _archives
from mtl.readers._limits import Budget
from mtl.readers._storage import Memory
from mtl.readers.brat import Brat
from tests.readers import fuzzing

TEXT, ANNOTATION = b"Aspirin helps.\n", b"T1\tDrug 0 7\tAspirin\n"


def tar_of(*members: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(TEXT[: member.size]))
    return packed.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = len(TEXT) if kind == tarfile.REGTYPE else 0
    return made


def bad_rows(name: str, content: bytes) -> list[BadRow]:
    reader = Brat(name, on_bad_row="skip")
    reader.storage = Memory({name: content})
    assert list(reader.read("train")) == []
    return reader.bad_rows


@pytest.mark.parametrize(
    "members",
    [
        (member("a.txt"), member("a.ann", tarfile.SYMTYPE, "a.txt")),
        (member("a.txt", tarfile.SYMTYPE, "nowhere"),),
        (member("a.txt", tarfile.SYMTYPE, "a.txt"),),
        (member("a.txt", tarfile.LNKTYPE, "/etc/passwd"),),
        (member("a.txt", tarfile.FIFOTYPE),),
        (member("../a.txt"),),
        (member("/a.txt"),),
        (member("b/../a.txt"),),
        (member("b\\..\\..\\a.txt"),),
    ],
)
def test_a_tar_archive_with_links_or_unsafe_names_is_refused(members: tuple[tarfile.TarInfo, ...]) -> None:
    bad = bad_rows("train.tar.gz", gzip.compress(tar_of(*members)))
    assert bad[0].file == "train.tar.gz"
    assert ("link" in bad[0].found) == any(one.type != tarfile.REGTYPE for one in members)


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "b/../a.txt"])
def test_a_zip_archive_with_unsafe_names_is_refused(name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, TEXT)
    assert bad_rows("train.zip", packed.getvalue())[0].file == "train.zip"


@pytest.mark.parametrize(("name", "found"), [("encrypted", "encrypted"), ("method_99", "method 99")])
def test_encrypted_files_and_unknown_methods_are_named(name: str, found: str) -> None:
    (bad,) = bad_rows("train.zip", (fuzzing.CORPUS / "brat_zip" / name).read_bytes())
    assert found in bad.found


def test_a_name_that_is_not_unicode_is_refused() -> None:
    raw = tar_of(member("a.txt")).replace(b"a.txt\0", b"\xff.txt\0", 1)
    fixed = bytearray(raw)
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed[:512])
    (bad,) = bad_rows("train.tar.gz", gzip.compress(bytes(fixed)))
    str(bad).encode()


def test_a_negative_size_does_not_read_for_ever() -> None:
    (bad,) = bad_rows("train.tar.gz", gzip.compress((fuzzing.CORPUS / "brat_tar" / "negative").read_bytes()))
    assert bad.file == "train.tar.gz"


def test_a_truncated_member_is_damage() -> None:
    packed = gzip.compress(tar_of(member("a.txt"))[:515])
    with pytest.raises(_archives.DamagedError):
        list(_archives.tar_gz_members(io.BytesIO(packed), lambda _: True, Budget(Path("a"), "A file")))


def test_folders_and_other_files_are_ignored() -> None:
    folder = member("b.txt", tarfile.DIRTYPE)
    packed = gzip.compress(tar_of(folder, member("link.pdf", tarfile.SYMTYPE, "x"), member("./a.txt")))
    found = list(
        _archives.tar_gz_members(io.BytesIO(packed), lambda n: n.endswith(".txt"), Budget(Path("a"), "A file"))
    )
    assert found == [("./a.txt", TEXT)]
