from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl.problems import InputError
from mtl.readers import Reader
from mtl.readers._limits import DEFAULT, VARIABLE, Budget, read_limit
from mtl.readers.brat import Brat
from mtl.readers.ddi2013 import DDI2013
from mtl.readers.jsonl import Jsonl
from mtl.readers.pubmedqa import PubMedQA
from mtl.readers.table import Table

MIB = 1 << 20


def refused(reader: Reader) -> InputError:
    with pytest.raises(InputError) as caught:
        list(reader.read("train"))
    return caught.value


def zipped(path: Path, name: str, num_mib: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        for _ in range(num_mib):
            file.write(b" " * MIB)
    return path


def gzipped(path: Path, num_mib: int) -> Path:
    import gzip

    with gzip.open(path, "wb") as file:
        for _ in range(num_mib):
            file.write(b"\0" * MIB)
    return path


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "2")


def test_the_limit_is_a_number_of_mib_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_limit() == DEFAULT * MIB
    monkeypatch.setenv(VARIABLE, "3")
    assert read_limit() == 3 * MIB
    for wrong in ("0", "-1", "1.5", "", "x", "9" * 5000, "٣"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InputError) as caught:
            read_limit()
        assert caught.value.problems[0].key == VARIABLE


def test_reading_stops_at_the_limit() -> None:
    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(InputError) as caught:
        Budget(Path("a.gz"), "A file", 5 * MIB).read(endless)
    assert endless.given <= 7 * MIB
    (problem,) = caught.value.problems
    assert problem.key == "a.gz"
    assert "5 MiB" in problem.message
    assert VARIABLE in problem.suggestion


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_an_archive_that_expands_beyond_the_limit_is_an_error_with_the_limit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    zipped(path, "a.txt", 3) if suffix == "zip" else gzipped(path, 3)
    assert path.stat().st_size < 10_000
    (problem,) = refused(Brat(str(path))).problems
    assert problem.key == str(path)
    assert "2 MiB" in problem.message


@pytest.mark.usefixtures("limit")
def test_the_members_of_an_archive_count_together(tmp_path: Path) -> None:
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abc":
            archive.writestr(f"{name}.txt", b" " * MIB)
    assert "2 MiB" in refused(Brat(str(path))).problems[0].message


@pytest.mark.usefixtures("limit")
def test_other_readers_have_the_same_limit(tmp_path: Path) -> None:
    (tmp_path / "ddi").mkdir()
    zipped(tmp_path / "ddi" / "train.zip", "Train/a.xml", 3)
    assert "2 MiB" in refused(DDI2013(str(tmp_path / "ddi"))).problems[0].message
    (tmp_path / "ori_pqal.json").write_bytes(b" " * (3 * MIB))
    (tmp_path / "splits.json").write_bytes(b"{}")
    assert refused(PubMedQA(str(tmp_path))).problems[0].key == str(tmp_path / "ori_pqal.json")


@pytest.mark.usefixtures("limit")
def test_a_line_has_a_limit_and_a_file_of_lines_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = b'{"text": "a", "meta": {"b": "%s"}}\n' % (b"x" * (MIB - 100))
    path.write_bytes(line * 4)
    assert sum(1 for _ in Jsonl(str(path)).read("train")) == 4
    path.write_bytes(line + b" " * (2 * MIB + 1))
    assert refused(Jsonl(str(path))).problems[0].key == f"{path}:2"


@pytest.mark.usefixtures("limit")
def test_a_parquet_file_may_expand_a_hundredfold_or_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000] * 1000}), path, compression="none")
    assert path.stat().st_size < 300_000
    assert refused(Table(str(path))).problems[0].key == str(path)
    pq.write_table(pa.table({"text": [f"{n} " + "x" * 10_000 for n in range(300)]}), path, compression="none")
    assert sum(1 for _ in Table(str(path)).read("train")) == 300


@pytest.mark.slow
def test_a_bomb_does_not_fill_the_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak is measured: 1 GiB in 1 MB, read with a limit of 64 MiB."""
    script = (
        "import resource, sys\n"
        "from mtl.problems import InputError\n"
        "from mtl.readers.brat import Brat\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    list(Brat(sys.argv[1]).read('train'))\n"
        "except InputError as error:\n    assert '64 MiB' in str(error)\n"
        "else:\n    raise SystemExit('no error')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    kib = 1 if sys.platform.startswith("linux") else 1024
    assert resource.RUSAGE_SELF == 0
    for path in (zipped(tmp_path / "a.zip", "a.txt", 1024), gzipped(tmp_path / "a.tar.gz", 1024)):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            env={**os.environ, VARIABLE: "64"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) // kib < 200 * 1024


def test_a_file_that_cannot_be_opened_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").mkdir()
    assert refused(Jsonl(str(tmp_path))).problems[0].key == str(tmp_path / "train.jsonl")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError):
        Jsonl("").open(tmp_path / "pipe")
    with pytest.raises(InputError):
        Jsonl("").open(Path("a\0b"))


def test_a_budget_counts_what_is_read() -> None:
    budget = Budget(Path("a"), "A file", 10)
    assert budget.read(io.BytesIO(b"12345678")) == b"12345678"
    budget.take(2)
    with pytest.raises(InputError):
        budget.take(1)
