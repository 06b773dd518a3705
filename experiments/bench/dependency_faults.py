"""What our store and tables of `datasets` do with records that do not fit, damaged files and two processes at once."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dependency_store import Build, Record, read_all

FIRST = 1_000
"""Records that are written together."""

FIELDS: dict[str, tuple[Any, Any]] = {
    "a field is 1, later 1.5": (1, 1.5),
    "a field is 1, later '12'": (1, "12"),
    "a field is 1, later a text": (1, "SECRET"),
    "a field is true, later 7": (True, 7),
    "a field is a text, later 1": ("a", 1),
    "a field is [], later [1]": ([], [1]),
    "a field is null, later 1": (None, 1),
    "a field is an unknown object": (object(), object()),
}
"""The value in the first thousand records, and in the next."""


def behaviour(builds: Mapping[str, Build]) -> Iterator[list[object]]:
    """A line for each case with what each contestant does."""
    for case, (early, late) in FIELDS.items():
        records = [{"x": early}] * FIRST + [{"x": late}] * FIRST
        yield [case, *(_outcome(build, records) for build in builds.values())]
    late_field = [{"x": 1}] * (FIRST + 1) + [{"x": 1, "y": 2}]
    yield ["a field that comes late", *(_outcome(build, late_field) for build in builds.values())]
    yield ["no records", *(_outcome(build, []) for build in builds.values())]
    yield ["the source raises ZeroDivisionError", *map(_broken_source, builds.values())]
    yield ["who may read the file", *map(_mode, builds.values())]
    yield ["the file lost its end", *(_damaged(build, _cut) for build in builds.values())]
    yield ["a byte of the file changed", *(_damaged(build, _flip) for build in builds.values())]
    yield ["two processes want one table", *map(_twice, builds.values())]


def _outcome(build: Build, records: list[Record]) -> str:
    """Whether the last record comes back as it went in."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = list(read_all(build(Path(folder), lambda: iter(records))))
        except Exception as error:  # each contestant has its own
            return _told(error)
    if len(found) < len(records):
        return f"{len(found)} of {len(records)} records"
    return "kept" if repr(found[-1:]) == repr(records[-1:]) else f"stored as {found[-1]}"


def _told(error: BaseException) -> str:
    """The class of an error, and whether it shows the data."""
    texts = [str(error), str(error.__cause__ or "")]
    return f"{type(error).__name__}{' with the text' if any('SECRET' in text for text in texts) else ''}"


def _broken_source(build: Build) -> str:
    def source() -> Iterable[Record]:
        yield {"x": 1}
        raise ZeroDivisionError

    with tempfile.TemporaryDirectory() as folder:
        try:
            build(Path(folder), source)
        except Exception as error:
            left = [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".lock"]
            again = _outcome_again(build, Path(folder))
            return f"{type(error).__name__}, {len(left)} files left, next time {again}"
    return "nothing"


def _outcome_again(build: Build, folder: Path) -> str:
    try:
        return f"{len(list(read_all(build(folder, lambda: [{'x': 1}]))))} record"
    except Exception as error:
        return type(error).__name__


def _mode(build: Build) -> str:
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), lambda: [{"x": 1}])
        path = next(Path(folder).rglob("*.arrow"))
        return "everybody" if path.stat().st_mode & 0o004 else "the owner"


def _damaged(build: Build, damage: Any) -> str:
    records = [{"x": number} for number in range(2 * FIRST)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build(Path(folder), lambda: iter(records))
        damage(next(Path(folder).rglob("*.arrow")))
        try:
            found = list(read_all(build(Path(folder), lambda: iter(records))))
        except Exception as error:
            return _told(error)
        return "built again" if found == records else "not noticed"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1_500])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _twice(build: Build) -> str:
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with torch's threads: nothing here uses them
        barrier, started = context.Barrier(2), context.Value("i", 0)
        workers = [context.Process(target=_build_slowly, args=(build, folder, barrier, started)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        failed = sum(worker.exitcode != 0 for worker in workers)
        return f"{started.value} built, {2 - failed} of 2 read it"


def _build_slowly(build: Build, folder: str, barrier: Any, started: Any) -> None:
    def source() -> Iterable[Record]:
        with started.get_lock():
            started.value += 1
        for number in range(100):
            time.sleep(0.005)
            yield {"x": number}

    barrier.wait()
    try:
        count = len(list(read_all(build(Path(folder), source))))
    except Exception:  # what the other process left half done
        raise SystemExit(1) from None
    raise SystemExit(count != 100)
