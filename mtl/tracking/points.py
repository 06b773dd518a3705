"""The points of a run's curves that an earlier process has written, so that a resumed run has each point once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mtl.tracking.mlflow_run import Number, allowed_name


class Points:
    """The points in a `metrics.jsonl`: one per metric and step.

    A point that was written several times counts with its first value. Lines that a kill has cut off do not count.

    Args:
        path: The file; without it there are no points.

    >>> Points(Path("missing")).new({"loss": 0.5}, step=1)
    {'loss': 0.5}
    """

    def __init__(self, path: Path) -> None:
        self._numbers: dict[tuple[str, int], Number] = {}
        for line in read_lines(path):
            for name, value in line.metrics.items():
                number = Number(name, math.nan if value is None else value, round(1000 * line.time), line.step)
                self._numbers.setdefault((name, line.step), number)

    def __iter__(self) -> Iterator[Number]:
        return iter(self._numbers.values())

    def __len__(self) -> int:
        return len(self._numbers)

    def new(self, metrics: Mapping[str, float], step: int, *, only_same: bool = False) -> dict[str, float]:
        """The metrics of a step without those whose point is already there.

        Args:
            metrics: Values by metric.
            step: Step of the values.
            only_same: Whether a point with another value counts as new, as of an evaluation of another checkpoint.
        """
        return {name: value for name, value in metrics.items() if not self._has(name, value, step, only_same)}

    def _has(self, name: str, value: float, step: int, only_same: bool) -> bool:
        known = self._numbers.get((name, step))
        if known is None:
            return False
        both_undefined = not math.isfinite(value) and not math.isfinite(known.value)
        return not only_same or known.value == value or both_undefined

    def after(self, latest: Mapping[str, int]) -> list[Number]:
        """The points that a store lacks. It has got them in order, so they are those after its latest ones.

        Args:
            latest: Latest step of each metric of the store, by its name there.
        """
        return [number for number in self if number.step > latest.get(allowed_name(number.name), -1)]


class MetricsLine(NamedTuple):
    """A line of `metrics.jsonl`.

    Args:
        step: Step of the values.
        time: Time of the measurement, in seconds since 1970.
        metrics: Values by metric; None for those that JSON cannot represent.
    """

    step: int
    time: float
    metrics: dict[str, float | None]


def read_lines(path: Path) -> Iterator[MetricsLine]:
    """The lines of a `metrics.jsonl`; those that are damaged are skipped, and without the file there are none."""
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with suppress(ValueError, TypeError, KeyError):
                line = json.loads(text)
                yield MetricsLine(int(line["step"]), float(line["time"]), dict(line["metrics"]))
