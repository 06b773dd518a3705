"""A stopwatch, the peak of memory and a Markdown table for the scripts that measure dependencies."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

REPEATS, ENOUGH = 7, 1.0
"""Calls that are timed, and seconds after which fewer will do."""


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of a call, after one that is not counted."""
    work()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


def seconds(work: Callable[[], object]) -> float:
    """The time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak() -> float:
    """Peak memory of this process in MiB. The kernel's own figure, since `ru_maxrss` begins at that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10


def imported(modules: Sequence[str]) -> list[tuple[float, float]]:
    """Seconds and MiB of each import, one after the other."""
    steps = []
    for module in modules:
        before = peak()
        duration = seconds(partial(importlib.import_module, module))
        steps.append((duration, peak() - before))
    return steps


def table(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers that are not whole have three significant digits.

    >>> print(table(["a", "b"], [["x", 1234.5678]]))
    | a | b |
    |---|---|
    | x | 1230 |
    """
    rows = [" | ".join(map(_cell, line)) for line in (header, *lines)]
    return "\n".join([f"| {rows[0]} |", f"|{'---|' * len(header)}", *(f"| {row} |" for row in rows[1:])])


def _cell(value: object) -> str:
    return f"{float(f'{value:.3g}'):g}" if isinstance(value, float) else str(value)
