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
from mtl.readers._parquet import Parquet
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


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_python_decompresses_without_a_limit_are_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", "Fever.")
        archive.writestr("a.ann", "")
    (problem,) = refused(Brat(str(path))).problems
    assert f"compression method {method}" in str(problem)


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


def parquet_bombs(folder: Path, num_rows: int, length: int) -> dict[str, Path]:
    """Small files whose texts have `num_rows` times `length` bytes together."""
    text = "x" * length
    rows = pa.array([text] * num_rows)
    tables = {
        "repeated": (pa.table({"text": rows}), {}),
        "plain": (pa.table({"text": rows}), {"use_dictionary": False}),
        "binary": (pa.table({"text": ["a"] * num_rows, "other": rows.cast(pa.binary())}), {}),
        "lists": (pa.table({"text": ["a"], "other": pa.array([[text] * num_rows])}), {}),
        "structs": (pa.table({"text": ["a"] * num_rows, "other": pa.array([{"a": text}] * num_rows)}), {}),
    }
    for name, (table, options) in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", **options)
    return {name: folder / f"{name}.parquet" for name in tables}


@pytest.mark.usefixtures("limit")
def test_every_kind_of_column_counts_with_what_it_expands_to(tmp_path: Path) -> None:
    for name, path in parquet_bombs(tmp_path, 4000, 10_000).items():
        assert path.stat().st_size < 200_000, name
        with path.open("rb") as file:
            table = Parquet(file, path)
            with pytest.raises(InputError) as caught:
                list(table.records(table.names))
        assert [problem.key for problem in caught.value.problems] == [str(path)], name
        assert VARIABLE in caught.value.problems[0].suggestion, name


def test_values_of_every_kind_of_column_are_those_that_were_written(tmp_path: Path) -> None:
    for name, path in parquet_bombs(tmp_path, 300, 1000).items():
        with path.open("rb") as file:
            table = Parquet(file, path)
            assert list(table.records(table.names)) == pq.read_table(path).to_pylist(), name


BOMB = """
import resource, sys
from pathlib import Path
from mtl.problems import InputError
from mtl.readers._parquet import Parquet
from mtl.readers.brat import Brat
import pyarrow.parquet

def read(path):
    if path.suffix == ".parquet":
        with path.open("rb") as file:
            table = Parquet(file, path)
            for _ in table.records(table.names):
                pass
    else:
        list(Brat(str(path)).read("train"))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(Path(sys.argv[1]))
except InputError as error:
    assert " MiB" in str(error)
else:
    raise SystemExit("no error")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_bomb_does_not_fill_the_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak is measured: 1 GiB in at most 1 MB, read with a limit of 64 MiB."""
    kib = 1 if sys.platform.startswith("linux") else 1024
    assert resource.RUSAGE_SELF == 0
    archives = (zipped(tmp_path / "a.zip", "a.txt", 1024), gzipped(tmp_path / "a.tar.gz", 1024))
    for path in (*archives, *parquet_bombs(tmp_path, 4096, 1 << 18).values()):
        assert path.stat().st_size <= 1 << 20
        done = subprocess.run(
            [sys.executable, "-c", BOMB, str(path)],
            env={**os.environ, VARIABLE: "64"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) // kib < 250 * 1024, path.name


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
