"""Our store of encoded examples compared with tables of `datasets`: speed, memory and handling of bad records."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from dependency_timing import imported, peak, seconds, table

from mtl.data.store import Store, StoredTable

EXAMPLES, BATCH, ROUNDS = 100_000, 32, 3

Record = dict[str, Any]
Source = Callable[[], Iterable[Record]]
Build = Callable[[Path, Source], Any]
"""Gives the table of some records that lies in a folder, and makes it where it is not there."""


def tables() -> list[str]:
    """The tables of speed, of memory and of behaviour."""
    from dependency_faults import behaviour

    return [
        table(["ms (times ours)", *BUILDS, "our file by pyarrow alone"], _speed_lines()),
        table(["memory", *BUILDS], _memory_lines()),
        table(["importing, one after the other", "seconds", "MiB"], _import_lines()),
        table(["case", *BUILDS], behaviour(BUILDS)),
    ]


# --- contestants ------------------------------------------------------------------------------------------------------


def _ours(folder: Path, source: Source) -> Any:
    return Store(folder).table("key", lambda: (source(), dict))[0]


def _arrow_writer(folder: Path, source: Source) -> Any:
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    path = folder / "key.arrow"
    if not path.exists():
        with ArrowWriter(path=str(path), on_mixed_types=None) as writer:
            for record in source():
                writer.write(record)
            writer.finalize()
    return Dataset.from_file(str(path)).with_format("arrow")


def _from_generator(folder: Path, source: Source) -> Any:
    from datasets import Dataset

    return Dataset.from_generator(source, cache_dir=str(folder), fingerprint="key").with_format("arrow")


BUILDS: dict[str, Build] = {
    "ours": _ours,
    "ArrowWriter": _arrow_writer,
    "Dataset.from_generator": _from_generator,
}


class _PyArrow:
    """Our file read by pyarrow alone, in batches so that taking a few records copies no whole column."""

    def __init__(self, path: Path) -> None:
        self._table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        self._batches = self._table.to_batches()
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def take(self, indices: Sequence[int]) -> list[Record]:
        wanted = np.asarray(indices, dtype=np.int64)
        places = np.searchsorted(self._starts, wanted, side="right") - 1
        offsets = wanted - self._starts[places]
        taken = [self._batches[p].slice(o, 1) for p, o in zip(places.tolist(), offsets.tolist(), strict=True)]
        records: list[Record] = pa.Table.from_batches(taken, self._table.schema).combine_chunks().to_pylist()
        return records

    def __iter__(self) -> Iterator[Record]:
        for batch in self._table.to_batches(max_chunksize=1_000):
            yield from batch.to_pylist()


def _over_our_file(folder: Path) -> _PyArrow:
    (ours,) = folder.rglob("??/*.arrow")
    return _PyArrow(ours)


def take(data: Any, places: Sequence[int]) -> list[Record]:
    """Some records of a table."""
    records: list[Record] = data.take(places) if isinstance(data, StoredTable | _PyArrow) else data[places].to_pylist()
    return records


def read_all(data: Any) -> Iterator[Record]:
    """All records of a table, a thousand at a time."""
    if isinstance(data, StoredTable | _PyArrow):
        return iter(data)
    return (record for batch in data.iter(1_000) for record in batch.to_pylist())


# --- speed and memory -------------------------------------------------------------------------------------------------


def _examples() -> Iterator[Record]:
    """Encoded examples: 20 to 60 tokens and five small columns."""
    rng = np.random.default_rng(0)
    for number in range(EXAMPLES):
        ids = rng.integers(0, 30_000, rng.integers(20, 61)).tolist()
        yield {"row": number, "part": 0, "input_ids": ids, "targets": 1, "truncated": False, "label": number % 3}


def _speed_lines() -> Iterator[list[object]]:
    examples = list(_examples())
    rounds = [_round(examples, seed) for seed in range(ROUNDS)]
    for step in ("write 100,000 examples", "open the table", "take 32 at random", "read all"):
        times = [median(times[contestant, step] for times in rounds) for contestant in (*BUILDS, "over our file")]
        yield [step, *(_beside(t, times[0]) for t in times)]


def _beside(found: float, ours: float) -> str:
    """A time in milliseconds, and how many times ours; both are given in seconds."""
    if not found:
        return "as ours"
    return f"{1000 * found:{'.0f' if found > 0.1 else '.2f'}} ({found / ours:.2f})"


def _round(examples: Sequence[Record], seed: int) -> dict[tuple[str, str], float]:
    """Seconds of each contestant, one after the other."""
    times: dict[tuple[str, str], float] = {}
    rng = np.random.default_rng(seed)
    batches = [rng.integers(0, EXAMPLES, BATCH).tolist() for _ in range(100)]
    with tempfile.TemporaryDirectory() as name:
        folders = {contestant: Path(name, contestant) for contestant in BUILDS}
        for contestant, build in BUILDS.items():
            folders[contestant].mkdir()
            writing = partial(build, folders[contestant], partial(iter, examples))
            times[contestant, "write 100,000 examples"] = seconds(writing)
            times |= _reading_times(contestant, partial(build, folders[contestant], list), batches)
        opened = partial(_over_our_file, folders["ours"])
        times["over our file", "write 100,000 examples"] = 0.0
        return times | _reading_times("over our file", opened, batches)


def _reading_times(
    contestant: str, opened: Callable[[], Any], batches: Sequence[Sequence[int]]
) -> dict[tuple[str, str], float]:
    data = opened()
    return {
        (contestant, "open the table"): seconds(opened),
        (contestant, "take 32 at random"): median(seconds(lambda: [take(data, b) for b in batches]) for _ in range(5))
        / len(batches),
        (contestant, "read all"): seconds(lambda: sum(1 for _ in read_all(data))),
    }


def _memory_lines() -> Iterator[list[object]]:
    found = [_in_new_process(_written_memory, name) for name in BUILDS]
    for number, what in enumerate(("MiB more at the peak of writing", "MiB of the file")):
        yield [what, *(f"{figures[number]:.0f}" for figures in found)]


def _written_memory(name: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        BUILDS[name](Path(small), lambda: itertools.islice(_examples(), 10))  # imports are not counted
        before = peak()
        BUILDS[name](Path(large), _examples)
        return peak() - before, max(path.stat().st_size for path in Path(large).rglob("*.arrow")) / 2**20


def _import_lines() -> Iterator[list[object]]:
    modules = ("pytorch_lightning", "datasets")
    found = [_in_new_process(imported, modules) for _ in range(3)]
    for number, module in enumerate(modules):
        yield [module, *(float(median(figures)) for figures in zip(*(steps[number] for steps in found), strict=True))]


def _in_new_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)
