from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from heads.rows import Entity, SpanRow, TextRow, row_to_dict
from mtl.data import store as module
from mtl.data.store import CHUNK, FieldError, RowTable, Store, StoredTable, content_key

KEY = content_key("a table")
RECORDS = [
    {"row": n, "input_ids": list(range(n % 5)), "score": n / 2, "name": f"n{n}", "truncated": n % 2 == 0}
    for n in range(3 * CHUNK // 2)
]


def build(records: Any = RECORDS, summary: Any = None) -> Any:
    return lambda: (iter(records), lambda: {"count": len(records)} if summary is None else summary)


def refuse() -> Any:
    raise AssertionError("it must be found, not built")


def test_a_table_returns_its_records_in_order(tmp_path: Path) -> None:
    table, summary = Store(tmp_path).table(KEY, build())
    assert (len(table), summary) == (len(RECORDS), {"count": len(RECORDS)})
    assert list(table) == RECORDS
    assert table.take([5, 2, 1200]) == [RECORDS[5], RECORDS[2], RECORDS[1200]]
    assert table.column("row").tolist() == [record["row"] for record in RECORDS]
    assert table.lengths("input_ids").tolist() == [len(record["input_ids"]) for record in RECORDS]


def test_an_index_out_of_range_is_an_error(tmp_path: Path) -> None:
    table, _ = Store(tmp_path).table(KEY, build())
    for index in (-1, len(RECORDS)):
        with pytest.raises(IndexError, match=rf"below {len(RECORDS)}, got {index} to {index}"):
            table.take([index])
    assert table.take([]) == []


def test_codes_number_the_values_of_a_column_in_order_of_first_occurrence(tmp_path: Path) -> None:
    names = [f"d{n * n % 700}" for n in range(2 * CHUNK + 7)]  # some values again in later chunks
    table, _ = Store(tmp_path).table(KEY, build([{"document": name} for name in names]))
    numbers: dict[str, int] = {}
    assert table.codes("document").tolist() == [numbers.setdefault(name, len(numbers)) for name in names]


def test_a_pickled_table_is_opened_again_and_not_copied(tmp_path: Path) -> None:
    records = [{"row": number, "name": "aspirin" * 10} for number in range(5_000)]
    table, _ = Store(tmp_path).table(KEY, build(records))
    pickled = pickle.dumps(table)
    assert len(pickled) < 10_000
    assert pickle.loads(pickled).take([4_999, 0]) == [records[4_999], records[0]]


def test_columns_are_compared_value_by_value(tmp_path: Path) -> None:
    def made(*changes: tuple[int, dict[str, Any]], length: int = len(RECORDS)) -> StoredTable:
        records = [dict(record) for record in RECORDS[:length]]
        for place, change in changes:
            records[place] |= change
        return Store(tmp_path).table(content_key(*changes, length), build(records))[0]

    names = ("row", "input_ids")
    table = made()
    assert table.equals(made((3, {"name": "another"})), names)
    assert not table.equals(made((1400, {"row": 7})), names)
    assert not table.equals(made((1404, {"input_ids": [0, 1, 2, 4]})), names)
    assert not table.equals(made((1404, {"input_ids": [0, 1, 2]})), names)
    assert not table.equals(made(length=1499), names)
    assert made(length=0).equals(made(length=0), names)
    more = made(*((place, {"extra": place}) for place in range(len(RECORDS))))
    assert table.equals(made((3, {"name": "another"})), (*names, "extra"))
    assert more.equals(more, (*names, "extra"))
    assert not table.equals(more, (*names, "extra"))
    assert not more.equals(table, (*names, "extra"))


def arrow_peak(work: Callable[[], Any]) -> int:
    """The peak memory of Arrow during some work, in bytes."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        work()
        return int(pool.max_memory())
    finally:
        pa.set_memory_pool(before)
        POOLS.append(pool)  # memory from a pool must be returned to it


POOLS: list[Any] = []


def test_memory_for_a_batch_does_not_grow_with_the_table(tmp_path: Path) -> None:
    def table(size: int) -> StoredTable:
        records = ({"row": n, "input_ids": [n % 90] * 10} for n in range(size))
        return Store(tmp_path).table(content_key(size), lambda: (records, dict))[0]

    small, large = table(2_000), table(200_000)
    places = np.linspace(0, 1, 32)
    peaks = [arrow_peak(lambda t=t: t.take((places * (len(t) - 1)).astype(int))) for t in (small, large)]
    assert peaks[1] < peaks[0] + 50_000
    assert arrow_peak(lambda: large.equals(table(200_000), ("row", "input_ids"))) < 50_000
    naive = arrow_peak(lambda: large._data.table.take(pa.array([0, 100_000, 199_999])))
    assert naive > 5_000_000  # the test can detect it: Arrow's `take` copies the column of lists


def test_a_table_is_built_once_and_found_by_its_key(tmp_path: Path) -> None:
    Store(tmp_path).table(KEY, build())
    table, summary = Store(tmp_path).table(KEY, refuse)
    assert (list(table), summary) == (RECORDS, {"count": len(RECORDS)})


def test_another_key_is_another_table(tmp_path: Path) -> None:
    Store(tmp_path).table(KEY, build())
    table, _ = Store(tmp_path).table(content_key("another"), build(RECORDS[:3]))
    assert len(table) == 3


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    table, summary = Store(tmp_path).table(KEY, build([]))
    assert (len(table), list(table), summary) == (0, [], {"count": 0})
    assert len(RowTable(table)) == 0


LATER = ".* first 1000, got"


@pytest.mark.parametrize(
    ("early", "late", "message"),
    [
        (1, 1.5, rf"The field 'x' must be int32 {LATER} float and int\."),
        (1, 2.0, rf"must be int32 {LATER} float and int\."),
        (1, 3_000_000_000, rf"must be int32 {LATER} a number outside int32\."),
        (1, True, rf"must be int32 {LATER} bool and int\."),
        (1, "12", rf"must be int32 {LATER} int and str\."),
        (1.5, "12", rf"must be float {LATER} float and str\."),
        ("a", 1, rf"must be string {LATER} int and str\."),
        (True, 1, rf"must be bool {LATER} bool and int\."),
        ([1], [2, 1.5], rf"must be list<item: int32> {LATER} list of \(float and int\) and list of \(int\)\."),
        ([1], [[1]], rf"must be list<item: int32> {LATER} list of \(int\) and list of \(list of \(int\)\)\."),
        ([], [[1]], rf"must be list<item: int32> {LATER} list of \(list of \(int\)\) and list of \(nothing\)\."),
        ([1], [[]], rf"{LATER} list of \(int\) and list of \(list of \(nothing\)\)\."),
        ([1], 1, rf"must be list<item: int32> {LATER} int and list of \(int\)\."),
        (None, "a", rf"must be int32 {LATER} str\."),
    ],
)
def test_a_later_value_that_does_not_fit_its_column_is_an_error_and_is_not_truncated(
    tmp_path: Path, early: Any, late: Any, message: str
) -> None:
    records = [{"x": early} for _ in range(CHUNK + 3)] + [{"x": late}]
    with pytest.raises(FieldError, match=message):
        Store(tmp_path).table(KEY, build(records))
    assert not list(tmp_path.rglob("*.arrow"))


def test_a_field_that_is_missing_from_the_first_records_is_an_error(tmp_path: Path) -> None:
    records = [{"x": 1} for _ in range(CHUNK)] + [{"x": 1, "y": 2}]
    with pytest.raises(FieldError, match="'y' must occur in the first 1000"):
        Store(tmp_path).table(KEY, build(records))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, "secret"], "int and str"),
        ([True, 1], "bool and int"),
        ([[1], 2], r"int and list of \(int\)"),
        ([{"a": 1}], "dict"),
        ([b"secret"], "bytes"),
        ([object()], "object"),
        ([2**70], "int"),
        ([3_000_000_000], "a number outside int32"),
    ],
)
def test_unsupported_values_are_reported_by_type_without_the_values(
    tmp_path: Path, values: list[Any], found: str
) -> None:
    with pytest.raises(FieldError, match=rf"'x' must contain .*, got {found}\."):
        Store(tmp_path).table(KEY, build([{"x": value} for value in values]))


@pytest.mark.parametrize(
    ("early", "late"),
    [(1.5, 2), ([1.5], [2, 3]), (1, None), ([], [1]), ([1], []), ([[1]], [[], [2]]), (None, 1), ((1,), [2])],
)
def test_a_field_whose_values_fit_one_column_keeps_them(tmp_path: Path, early: Any, late: Any) -> None:
    table, _ = Store(tmp_path).table(KEY, build([{"x": early}] * CHUNK + [{"x": late}]))
    assert [record["x"] for record in table.take([0, CHUNK])] == [list(early) if early == (1,) else early, late]


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    values = [np.float32(1.5), np.float64(2.5), np.int64(3)]
    table, _ = Store(tmp_path).table(KEY, build([{"x": value, "y": np.array([1, 2])} for value in values]))
    assert list(table) == [{"x": 1.5, "y": [1, 2]}, {"x": 2.5, "y": [1, 2]}, {"x": 3.0, "y": [1, 2]}]


def test_the_summary_is_computed_after_the_last_record(tmp_path: Path) -> None:
    seen: list[int] = []

    def records() -> Iterator[dict[str, int]]:
        for n in range(3):
            seen.append(n)
            yield {"n": n}

    _, summary = Store(tmp_path).table(KEY, lambda: (records(), lambda: list(seen)))
    assert summary == [0, 1, 2]


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def records() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        Store(tmp_path).table(KEY, lambda: (records(), dict))
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] in ([], [".lock"])
    table, _ = Store(tmp_path).table(KEY, build(RECORDS[:2]))
    assert len(table) == 2


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrow, summary: arrow.write_bytes(arrow.read_bytes()[:-200]),
        lambda arrow, summary: arrow.write_bytes(b""),
        lambda arrow, summary: arrow.write_bytes(b"no table"),
        lambda arrow, summary: flip(arrow, arrow.stat().st_size // 3),  # which Arrow itself does not detect
        lambda arrow, summary: summary.write_text('{"count": 1'),
        lambda arrow, summary: summary.write_text("[1500]"),
        lambda arrow, summary: summary.write_text('{"count": 1500}'),
        lambda arrow, summary: summary.write_text(summary.read_text().replace("1500", "1501")),
    ],
)
def test_a_damaged_table_is_rebuilt_with_a_warning(tmp_path: Path, damage: Any) -> None:
    Store(tmp_path).table(KEY, build())
    (arrow,) = tmp_path.rglob("*.arrow")
    damage(arrow, arrow.with_suffix(".json"))
    with pytest.warns(UserWarning, match=r"\.arrow cannot be read"):
        table, summary = Store(tmp_path).table(KEY, build())
    assert (list(table), summary) == (RECORDS, {"count": len(RECORDS)})
    table, _ = Store(tmp_path).table(KEY, refuse)
    assert len(table) == len(RECORDS)


def test_damage_at_the_ends_or_over_a_long_run_of_a_large_table_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)
    Store(tmp_path).table(KEY, build())
    (arrow,) = tmp_path.rglob("*.arrow")
    whole = arrow.read_bytes()
    size = len(whole)
    assert size > 200 * 64
    apart = (size - 64) // 63

    def is_noticed(start: int, length: int) -> bool:
        arrow.write_bytes(
            whole[:start] + bytes(255 - byte for byte in whole[start : start + length]) + whole[start + length :]
        )
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            found = module._read(arrow)
        assert bool(raised) == (found is None)
        return found is None

    assert not is_noticed(0, 0)
    assert is_noticed(0, 1)
    assert is_noticed(size - 1, 1)
    assert all(is_noticed(start, apart) for start in range(0, size - apart, apart // 3))
    assert not is_noticed((size - 64) * 30 // 63 + 64 + 8, 1)  # as the docstring says


@pytest.mark.parametrize("lost", [".arrow", ".json"])
def test_a_table_with_a_missing_file_is_rebuilt(tmp_path: Path, lost: str) -> None:
    Store(tmp_path).table(KEY, build())
    next(tmp_path.rglob(f"*{lost}")).unlink()
    assert len(Store(tmp_path).table(KEY, build())[0]) == len(RECORDS)


def _build_slowly(folder: Path, place: Any, built: Any) -> None:
    def records() -> Iterator[dict[str, Any]]:
        with built.get_lock():
            built.value += 1
        for record in RECORDS[:50]:
            time.sleep(0.01)
            yield record

    place.wait()
    table, summary = Store(folder).table(KEY, lambda: (records(), lambda: {"count": 50}))
    assert list(table) == RECORDS[:50]
    assert summary == {"count": 50}


def test_two_processes_that_need_the_same_table_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    place, built = context.Barrier(2), context.Value("i", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with torch's threads, which nothing here uses
        workers = [context.Process(target=_build_slowly, args=(tmp_path, place, built)) for _ in range(2)]
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert built.value == 1


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A path where even root cannot create a folder, because its parent is a file."""
    (tmp_path / "file").touch()
    module._temporary.cache_clear()
    yield tmp_path / "file" / "cache"
    module._temporary.cache_clear()


def test_a_folder_that_is_not_writable_is_replaced_by_a_temporary_one_with_a_warning(unwritable: Path) -> None:
    with pytest.warns(UserWarning, match=rf"{unwritable} .*\(Not a directory\)"):
        assert len(Store(unwritable).table(KEY, build())[0]) == len(RECORDS)
    # The process uses one temporary folder, and warns only once: a warning would be an error here.
    assert len(Store(unwritable).table(KEY, refuse)[0]) == len(RECORDS)


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a table under `KEY`, on a disk that has become read-only, even for root."""
    folder = tmp_path / "cache"
    Store(folder).table(KEY, build())

    def refusing(call: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(path: Any, *arguments: Any, **named: Any) -> Any:
            if not isinstance(path, int) and Path(path).is_relative_to(folder) and writes(*arguments):
                raise OSError(errno.EROFS, "Read-only file system")
            return call(path, *arguments, **named)

        return wrapped

    monkeypatch.setattr(os, "open", refusing(os.open, lambda flags, *_: bool(flags & (os.O_CREAT | os.O_RDWR))))
    monkeypatch.setattr(os, "mkdir", refusing(os.mkdir, lambda *_: True))
    module._temporary.cache_clear()
    yield folder
    module._temporary.cache_clear()


def test_a_table_in_a_folder_that_is_not_writable_is_read_without_a_warning(read_only: Path) -> None:
    table, summary = Store(read_only).table(KEY, refuse)  # a warning would be an error here
    assert (list(table), summary) == (RECORDS, {"count": len(RECORDS)})


def test_only_the_missing_tables_of_such_a_folder_are_built_in_a_temporary_one(read_only: Path) -> None:
    store, other = Store(read_only), content_key("another")
    with pytest.warns(UserWarning, match=r"\(Read-only file system\)"):
        assert len(store.table(other, build(RECORDS[:3]))[0]) == 3
    for again in (store, Store(read_only)):
        assert len(again.table(other, refuse)[0]) == 3
        assert len(again.table(KEY, refuse)[0]) == len(RECORDS)


def test_a_folder_that_becomes_full_is_replaced_by_a_temporary_one_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module._temporary.cache_clear()
    write_arrow = module._write_arrow

    def full(path: Path, records: Any) -> None:
        if path.is_relative_to(tmp_path):
            raise OSError(28, "No space left on device")
        write_arrow(path, records)

    monkeypatch.setattr(module, "_write_arrow", full)
    store = Store(tmp_path / "cache")
    with pytest.warns(UserWarning, match=r"\(No space left on device\)"):
        assert len(store.table(KEY, build())[0]) == len(RECORDS)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    started: list[str] = []
    other = build(RECORDS[:3])
    store.table(content_key("another"), lambda: (started.append("once"), other())[1])
    assert started == ["once"], "the full folder is not tried again"
    module._temporary.cache_clear()


@pytest.mark.parametrize("at_once", [True, False])
def test_an_unreadable_source_is_not_a_problem_of_the_cache_folder(tmp_path: Path, at_once: bool) -> None:
    def broken() -> Any:
        if at_once:
            raise PermissionError(13, "Permission denied")

        def records() -> Any:
            yield RECORDS[0]
            raise PermissionError(13, "Permission denied")

        return records(), dict

    store = Store(tmp_path)
    with pytest.raises(PermissionError):  # and no warning, which would be an error here
        store.table(KEY, broken)
    assert store.folder == tmp_path


def test_the_temporary_folder_is_removed_when_the_process_ends(unwritable: Path) -> None:
    script = f"""
from mtl.data.store import Store
store = Store({str(unwritable)!r})
store.table("key", lambda: (iter([{{"x": 1}}]), dict))
print(store._written)
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    folder = Path(run.stdout.strip())
    assert folder.name.startswith("biomtl-")
    assert not folder.exists()


def test_an_environment_variable_sets_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "deep" / "cache"))
    assert Store().folder == tmp_path / "deep" / "cache"
    monkeypatch.delenv("MTL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Store().folder == tmp_path / "home" / ".cache" / "biomtl"


def test_only_the_owner_can_read_the_tables(tmp_path: Path) -> None:
    Store(tmp_path).table(KEY, build())
    (arrow,) = tmp_path.rglob("*.arrow")
    assert arrow.stat().st_mode & 0o077 == 0


def test_rows_survive_a_round_trip(tmp_path: Path) -> None:
    rows = [
        TextRow("1", "d1", "Aspirin helps.", label=("a", "b"), meta={"site": "x"}),
        TextRow("2", "d1", "naïve β-blocker 💊", text_pair="two", label=2.5),
        SpanRow("3", "d2", "Aspirin", entities=(Entity("T1", "Drug", ((0, 7),), ("D001241",)),), words=((0, 7),)),
        SpanRow("4", "d2", "Nothing", entities=()),
    ]
    records = [{"id": r.id, "document": r.document, "json": json.dumps(row_to_dict(r))} for r in rows]
    table = RowTable(Store(tmp_path).table(KEY, build(records))[0])
    assert list(table) == rows
    assert [table[0], table[-1], *table[1:3]] == [rows[0], rows[3], rows[1], rows[2]]
    with pytest.raises(IndexError):
        table[4]
    assert table.documents().tolist() == ["d1", "d1", "d2", "d2"]
    assert table.document_numbers().tolist() == [0, 0, 1, 1]
    assert table.num_pairs == 1


def test_a_text_that_looks_like_a_pair_is_not_one(tmp_path: Path) -> None:
    rows = [TextRow("1", "1", '{"text_pair": "x"}'), TextRow("2", "2", "a", text_pair="b"), TextRow("3", "3", "c")]
    records = [{"id": r.id, "document": r.document, "json": json.dumps(row_to_dict(r))} for r in rows]
    assert RowTable(Store(tmp_path).table(KEY, build(records))[0]).num_pairs == 1
    assert RowTable(Store(tmp_path).table(content_key(0), build(records[:1]))[0]).num_pairs == 0


def test_a_key_depends_on_every_part_and_not_on_the_order_of_keys() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    others = [content_key({"a": 1, "b": [3]}), content_key({"a": 1}), content_key([{"a": 1, "b": [2]}]), content_key()]
    assert len({content_key({"a": 1, "b": [2]}), *others}) == 5
    assert content_key("ab", "c") != content_key("a", "bc")
